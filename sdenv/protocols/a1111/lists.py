"""What a server says it has: models, samplers, schedulers, settings; and all the lists that stay empty."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sdenv import __version__
from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import Capabilities, SizeRule
from sdenv.core.errors import PeerBrokeProtocol, SdenvError
from sdenv.core.request import MAX_COUNT, Task
from sdenv.core.samplers import (
    AUTOMATIC,
    LOCAL_SAMPLERS,
    LOCAL_SCHEDULES,
    SAMPLERS,
    find_sampler,
    find_schedule,
)
from sdenv.protocols.a1111.names import model_title, sampler_alias, scheduler_name
from sdenv.protocols.a1111.options import Options
from sdenv.protocols.a1111.telling import CARRIES
from sdenv.protocols.native import status_of, status_record

OURS: Final = "sdenv_status"
"""Key of cmd-flags under which our server tells our client everything that it can do."""

MULTIPLE_PX: Final = 8
MAX_PX: Final = 2048  # of AUTOMATIC1111's own sliders

DECLARED: Final = Capabilities(
    tasks=frozenset(Task),
    carries=CARRIES,
    size=SizeRule(multiple_px=MULTIPLE_PX, min_px=64, max_px=8192),
    progress="phases",  # polled: some steps are seen, others are not
    previews=True,
    cancel="between-steps",
    concurrency=1,
)
"""What any server of this kind can do; AUTOMATIC1111 itself makes one request at a time."""

EMPTY_LISTS: Final = (
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "prompt-styles",
    "extensions",
    "script-info",
    "sd-vae",
    "loras",
)
"""GET routes that answer an empty list."""


def models_record(status: BackendStatus) -> list[dict[str, Any]]:
    """GET sd-models. File names are names, never places."""
    return [
        {
            "title": title_of(model),
            "model_name": model.name,
            "hash": _hash(model) or None,
            "sha256": None,
            "filename": f"{model.name}.safetensors",
            "config": None,
        }
        for model in status.models
    ]


def title_of(model: ModelInfo) -> str:
    """What clients show and send back."""
    return model_title(model.name, _hash(model))


def _hash(model: ModelInfo) -> str:
    return model.detail.get("hash", "")


def samplers_record(status: BackendStatus) -> list[dict[str, Any]]:
    """GET samplers: those that the default model can run."""
    names = status.capabilities_for(None).samplers
    return [
        {"name": name, "aliases": _aliases(name), "options": {}}
        for name in (LOCAL_SAMPLERS if names is None else names)
    ]


def _aliases(name: str) -> list[str]:
    known = SAMPLERS.get(name)
    return [sampler_alias(name), *(known.aliases if known is not None else ())]


def schedulers_record(status: BackendStatus) -> list[dict[str, Any]]:
    """GET schedulers, the model's own first."""
    names = status.capabilities_for(None).schedules
    labels = dict.fromkeys((AUTOMATIC, *(LOCAL_SCHEDULES if names is None else names)))
    return [
        {
            "name": scheduler_name(label),
            "label": label,
            "aliases": None,
            "default_rho": -1.0,
            "need_inner_model": False,
        }
        for label in labels
    ]


def options_record(options: Options, status: BackendStatus) -> dict[str, Any]:
    """GET options; clients send the whole object back."""
    model = next((each for each in status.models if each.name == options.model), None)
    if model is None and options.model is None:
        model = next(iter(status.models), None)
    return {
        "sd_model_checkpoint": title_of(model) if model is not None else options.model,
        "sd_checkpoint_hash": _hash(model) if model is not None else "",
        "sd_vae": options.vae or "Automatic",
        "CLIP_stop_at_last_layers": options.clip_skip,
        "samples_format": options.samples_format,
        "live_previews_enable": options.previews,
        "show_progress_every_n_steps": options.preview_steps,
        "return_grid": False,
        "enable_pnginfo": True,
    }


def flags_record(status: BackendStatus) -> dict[str, Any]:
    """GET cmd-flags."""
    return {"api": True, "nowebui": True, "sdenv_version": __version__, OURS: status_record(status)}


def upscalers_record() -> list[dict[str, Any]]:
    """GET upscalers: the one that does nothing."""
    return [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 4}]


def latent_modes_record() -> list[dict[str, Any]]:
    """GET latent-upscale-modes."""
    return [{"name": "Latent"}]


def embeddings_record() -> dict[str, Any]:
    """GET embeddings."""
    return {"loaded": {}, "skipped": {}}


def scripts_record() -> dict[str, Any]:
    """GET scripts."""
    return {"txt2img": [], "img2img": []}


# The client's side


def status_from(
    models: Any, samplers: Any, schedulers: Any, options: Any, flags: Any, *, name: str
) -> BackendStatus:
    """What a server can do, from its answers to GET sd-models, samplers, schedulers, options, cmd-flags.

    Args:
        models: As it came; the current one becomes the default.
        samplers: As it came; None = the server does not tell.
        schedulers: As it came; None = the server is older than 1.9 and has none.
        options: As it came.
        flags: As it came; a server of ours tells everything there. None = it has no such route.
        name: Of the backend.

    Raises:
        PeerBrokeProtocol: One cannot be read.
    """
    if isinstance(flags, Mapping) and isinstance(flags.get(OURS), Mapping):
        return _narrowed(status_of(flags[OURS]), name)
    try:
        found = [ModelInfo(str(each["model_name"]), summary=str(each["title"])) for each in models]
        current = str((options or {}).get("sd_model_checkpoint") or "")
        found.sort(key=lambda model: current not in (model.summary, model.name))
        known = None if samplers is None else _samplers(each["name"] for each in samplers)
        schedules = None if schedulers is None else _schedules(each["label"] for each in schedulers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PeerBrokeProtocol("The server's lists cannot be read.", why=f"{error!r}."[:200]) from error
    capabilities = Capabilities(
        tasks=DECLARED.tasks,
        carries=CARRIES if schedules is not None else CARRIES - {"schedule"},
        samplers=known,
        schedules=schedules,
        size=DECLARED.size,
        max_count=MAX_COUNT,
        progress="phases",
        cancel="between-steps",
    )
    return BackendStatus(name, "AUTOMATIC1111", tuple(found), capabilities)


def _narrowed(behind: BackendStatus, name: str) -> BackendStatus:
    offered = behind.capabilities.over(CARRIES)
    narrowed = Capabilities(
        tasks=offered.tasks,
        carries=offered.carries,
        samplers=offered.samplers,
        schedules=offered.schedules,
        size=offered.size.narrowed(DECLARED.size),
        max_count=offered.max_count,
        max_batch=offered.max_batch,
        progress="none" if offered.progress == "none" else "phases",
        previews=offered.previews,
        cancel=offered.cancel,
        concurrency=max(1, offered.concurrency),
    )
    return BackendStatus(name, behind.version, behind.models, narrowed)


def _samplers(names: Iterable[Any]) -> tuple[str, ...]:
    """Under their public names where they have one; the server's own names else."""
    return tuple(dict.fromkeys(_public(str(each)) for each in names))


def _public(name: str) -> str:
    try:
        return find_sampler(name)[0].name
    except SdenvError:
        return name


def _schedules(labels: Iterable[Any]) -> tuple[str, ...]:
    found: list[str] = []
    for label in map(str, labels):
        try:
            found.append(find_schedule(label).name)
        except SdenvError:
            found.append(label)
    return tuple(dict.fromkeys(found))


def names_of(status: BackendStatus) -> Sequence[str]:
    """Names of the models."""
    return [model.name for model in status.models]

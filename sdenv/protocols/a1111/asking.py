"""A txt2img or img2img body as the request that it stands for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from sdenv.core.errors import InvalidRequest
from sdenv.core.request import MAX_COUNT, MAX_SEED, GenerationRequest
from sdenv.protocols.a1111.extra_arguments import with_extra_arguments
from sdenv.protocols.a1111.fields import IMG2IMG, TXT2IMG, echo, ignored_names
from sdenv.protocols.a1111.inputs import pictures_of
from sdenv.protocols.a1111.names import sampler_and_schedule
from sdenv.protocols.a1111.options import Options, overridden
from sdenv.protocols.a1111.values import Body, WrongFields, number, table, text, truth, whole
from sdenv.protocols.parameters import decode_parameters, request_values

MULTIPLE_PX: Final = 8
_LORA: Final = re.compile(r" ?<lora:([^:<>]{1,1024})(?::(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?))?(?::[^<>]*)?>")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a body asks for.

    Attributes:
        request: What is wanted.
        notes: What was changed on the way, one sentence each.
        ignored: Names of fields that asked for something that is not done.
        parameters: The body as the answer echoes it.
        options: The settings for this job.
        send_images: Whether the pictures go into the answer.
        task: What the client calls it; "" = nothing.
        exact: Refuse what cannot be done.
    """

    request: GenerationRequest
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    send_images: bool = True
    task: str = ""
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """Names that the backend has.

    Attributes:
        models: All of them; empty = it does not tell.
        samplers: None = any.
    """

    models: Sequence[str] = ()
    samplers: Sequence[str] | None = None


def ask_of(
    body: Body,
    *,
    img2img: bool,
    exact: bool = False,
    options: Options = Options(),  # noqa: B008 - frozen
    known: Known = Known(),
) -> Ask:
    """What a body asks for.

    Args:
        body: As it came.
        img2img: Whether it was posted there.
        exact: Refuse what cannot be done, and change nothing on the way.
        options: The settings in force.
        known: Names that the backend has.

    Raises:
        WrongFields: Values of the wrong type or outside of their range.
        InitImageMissing: There is no init image.
        UnknownSampler: There is no such sampler.
        BadImage: The init image or the mask is no picture, or a URL.
        InvalidRequest: A script is asked for.
    """
    body = with_extra_arguments(body)
    if script := text(body, "script_name"):
        raise InvalidRequest(f"Script '{script[:60]}' not found", why="This server runs no scripts.")
    settings, left_out = overridden(options, table(body, "override_settings"), known.models)
    fields = IMG2IMG if img2img else TXT2IMG
    values, notes = _values(body, settings, known, img2img=img2img, exact=exact)
    if exact and "CLIP_stop_at_last_layers" in table(body, "override_settings"):
        values["clip_skip"] = settings.clip_skip
    if img2img:
        strength = values.pop("strength")
        _checked(values)  # before a picture is brought to a size that may be far too large
        size = (values["width"], values["height"])
        values |= {"strength": strength, **pictures_of(body, size, exact=exact)}
    ignored = (*ignored_names(body, fields), *left_out, *_scripts(table(body, "alwayson_scripts")))
    return Ask(
        request=_checked(values),
        notes=notes,
        ignored=tuple(dict.fromkeys(ignored)),
        parameters=echo(body, fields),
        options=settings,
        send_images=truth(body, "send_images", True),
        task=text(body, "force_task_id"),
        exact=exact,
    )


def _values(
    body: Body, options: Options, known: Known, *, img2img: bool, exact: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The request's fields but the pictures, and what was changed on the way."""
    base = request_values(decode_parameters(text(body, "infotext"))) if body.get("infotext") else {}
    if not img2img:
        base.pop("strength", None)
    said = _Said(body, base)
    width, height, notes = _size(said, exact)
    batch = whole(body, "batch_size", 1)
    count = batch * whole(body, "n_iter", 1)
    if batch < 1 or not 1 <= count <= MAX_COUNT:
        raise WrongFields(("n_iter", f"batch_size times n_iter must be from 1 to {MAX_COUNT}"))
    prompt, loras = said.text("prompt", "prompt"), base.get("loras", [])
    if body.get("prompt") is not None and not truth(body, "disable_extra_networks", False):
        loras = [{"name": name, "weight": weight or 1} for name, weight in _LORA.findall(prompt)]
        prompt = _LORA.sub("", prompt)
    sampler, schedule = _sampler(body, base, known)
    values: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": said.text("negative_prompt", "negative_prompt"),
        "model": options.model or base.get("model"),
        "width": width,
        "height": height,
        "steps": said.whole("steps", "steps", TXT2IMG["steps"]),
        "guidance_scale": said.number("cfg_scale", "guidance_scale", TXT2IMG["cfg_scale"]),
        "seed": _seed(said),
        "sampler": sampler,
        "schedule": schedule,
        "count": count,
        "batch_size": batch,
        "loras": loras,
        "clip_skip": options.clip_skip if options.clip_skip > 1 else base.get("clip_skip"),
        "vae": options.vae or base.get("vae"),
        "hires": base.get("hires"),
    }
    if img2img:
        values["strength"] = number(body, "denoising_strength", float(base.get("strength", 0.75)))
    elif truth(body, "enable_hr", False):
        values["hires"], more = _hires(body, width, height)
        notes = (*notes, *more)
    return values, notes


@dataclass(frozen=True, slots=True)
class _Said:
    """Explicit fields of the body first, then those of its `infotext`, then the default."""

    body: Body
    base: Mapping[str, Any]

    def text(self, name: str, ours: str) -> str:
        return text(self.body, name, str(self.base.get(ours, "")))

    def whole(self, name: str, ours: str, default: int) -> int:
        return whole(self._source(name, ours), name, default)

    def number(self, name: str, ours: str, default: float) -> float:
        return number(self._source(name, ours), name, default)

    def _source(self, name: str, ours: str) -> Body:
        return self.body if self.body.get(name) is not None else {name: self.base.get(ours)}


def _size(said: _Said, exact: bool) -> tuple[int, int, tuple[str, ...]]:
    """Both sides, rounded down to a multiple of 8 (OURS-16), and a note where they were."""
    width = said.whole("width", "width", TXT2IMG["width"])
    height = said.whole("height", "height", TXT2IMG["height"])
    rounded = tuple(side - side % MULTIPLE_PX if side >= MULTIPLE_PX else side for side in (width, height))
    if exact or rounded == (width, height):
        return width, height, ()
    note = f"The size {width}x{height} is rounded down to {rounded[0]}x{rounded[1]}."
    return rounded[0], rounded[1], (note,)


def _seed(said: _Said) -> int | None:
    """-1 and absent = random (OURS-17)."""
    seed = said.whole("seed", "seed", -1)
    if seed == -1:
        return None
    if not 0 <= seed <= MAX_SEED:
        raise WrongFields(("seed", f"must be -1 or from 0 to {MAX_SEED} (given: {seed})"))
    return seed


def _sampler(body: Body, base: Mapping[str, Any], known: Known) -> tuple[str | None, str | None]:
    said = text(body, "sampler_name") or text(body, "sampler_index") or str(base.get("sampler", ""))
    return sampler_and_schedule(said, text(body, "scheduler", str(base.get("schedule", ""))), known.samplers)


def _hires(body: Body, width: int, height: int) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The second pass, or why there is none."""
    scale = number(body, "hr_scale", 2.0)
    across, down = whole(body, "hr_resize_x", 0), whole(body, "hr_resize_y", 0)
    notes: tuple[str, ...] = ()
    if across or down:
        scale = max(across / width, down / height)
        if (across and across != round(width * scale)) or (down and down != round(height * scale)):
            notes = (f"The second pass keeps the shape: {scale:.3g} times the size.",)
    if scale <= 1.0:
        return None, (*notes, "The second pass is left out: it would not make the picture larger.")
    steps = whole(body, "hr_second_pass_steps", 0)
    strength = number(body, "denoising_strength", 0.75)
    return {"scale": scale, "steps": steps or None, "strength": strength}, notes


def _scripts(scripts: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the always-on scripts that are asked to do something."""
    return tuple(f"alwayson_scripts.{name}" for name, each in scripts.items() if _is_busy(each))


def _is_busy(script: Any) -> bool:
    arguments = script.get("args") if isinstance(script, Mapping) else script
    if not isinstance(arguments, (list, tuple)):
        return _asks(arguments)
    if arguments and arguments[0] is False:  # how the usual ones are switched off
        return False
    return any(map(_asks, arguments))


def _asks(argument: Any) -> bool:
    """Whether an argument asks for something; a unit that is switched off does not."""
    return bool(argument) and not (isinstance(argument, Mapping) and argument.get("enabled") is False)


BODY_NAMES: Final[Mapping[str, str]] = {
    "guidance_scale": "cfg_scale",
    "strength": "denoising_strength",
    "count": "n_iter",
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "model": "override_settings.sd_model_checkpoint",
    "vae": "override_settings.sd_vae",
    "clip_skip": "override_settings.CLIP_stop_at_last_layers",
    "init_image": "init_images",
    "loras": "prompt",
    "hires": "hr_scale",
}
"""How a field of the request is called in a body, where it has another name."""


def _checked(values: Mapping[str, Any]) -> GenerationRequest:
    """The request; what pydantic finds wrong is said under the names of the body."""
    try:
        return GenerationRequest.model_validate(
            {name: each for name, each in values.items() if each is not None}
        )
    except ValidationError as error:
        raise WrongFields(*(_fault(each["loc"], each["msg"]) for each in error.errors())) from error


def _fault(location: tuple[int | str, ...], message: str) -> tuple[str, str]:
    ours = str(location[0]) if location else "width"  # of the rules over several fields, that of the area
    return BODY_NAMES.get(ours, ours), message.removeprefix("Value error, ")

"""The backend `local`: text-to-image, image-to-image and inpainting through diffusers' auto pipelines.

Importing this module, building the backend and probing it need neither torch nor diffusers: what a model
can do is read from its configuration files, and what does not fit is refused by arithmetic. Both are
imported in the device's thread, with the first picture.
"""

import hashlib
import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from pydantic import Field

import sdenv
from sdenv.backends.local.memory import free_bytes, likely_element_bytes, max_pixels
from sdenv.backends.local.plan import Plan, make_plan
from sdenv.backends.local.relay import Relay
from sdenv.checkpoints.facts import ModelFacts, facts_of
from sdenv.checkpoints.folder import ModelFolder, read_folder
from sdenv.core.backend import IDENTITY, Backend, BackendSettings, BackendStatus, JobContext, ModelInfo
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import UnknownModel
from sdenv.core.events import PhaseStarted
from sdenv.core.registry import extra_missing
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.core.samplers import LOCAL_SAMPLERS, LOCAL_SCHEDULES, with_public_names

if TYPE_CHECKING:
    from sdenv.backends.local.painter import Painted, Painter

_CARRIES: Final = frozenset(
    {
        "prompt",
        "negative_prompt",
        "model",
        "width",
        "height",
        "steps",
        "guidance_scale",
        "seed",
        "sampler",
        "schedule",
        "count",
        "batch_size",
        "init_image",
        "mask",
        "strength",
    }
)


class LocalSettings(BackendSettings):
    """How the local backend works.

    Attributes:
        models: Paths of model folders by name; the first is the default.
        device: `cuda`, `mps`, `cpu`, or `auto` = the best there is.
        precision: `float32`, `float16`, `bfloat16`, or `auto` = what is fast on the device without spoiling
            pictures.
        noise_device: Where noise is drawn: `cpu`, where a seed means the same everywhere, or the `device`.
    """

    models: dict[str, str] = Field(default_factory=dict)
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    noise_device: Literal["cpu", "device"] = "cpu"


@final
class LocalBackend(Backend):
    """Makes pictures on this machine."""

    Settings: ClassVar[type[BackendSettings]] = LocalSettings
    declared: ClassVar[Capabilities] = Capabilities(
        carries=_CARRIES, samplers=LOCAL_SAMPLERS, schedules=LOCAL_SCHEDULES
    )

    def __init__(self, settings: BackendSettings) -> None:
        assert isinstance(settings, LocalSettings)
        self._settings = settings
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sdenv-device")
        self._painter: Painter | None = None
        self._running: Relay | None = None
        self._closed = False
        self._known: dict[Path, tuple[ModelFolder, tuple[tuple[int, int], ...]]] = {}

    def probe(self) -> BackendStatus:
        """Reads the configurations of the models; loads none.

        Raises:
            ExtraMissing: torch, diffusers or transformers is not installed.
            UnsafeWeights, ModelIncomplete: A model cannot be used; see `read_folder`.
        """
        _check_installed()
        models = tuple(self._info(name) for name in self._settings.models)
        return BackendStatus("local", sdenv.__version__, models, self.declared)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Makes the pictures; the model stays loaded for the next request."""
        _check_installed()
        name, folder = self._folder(request.model)
        facts = self._facts(folder, free_bytes(self._settings.device))
        plan = make_plan(with_public_names(request), name, folder, facts, context.preview_every)
        for notice in plan.notices:
            context.emit(notice)
        relay = self._running = Relay()
        painted = relay.run(self._device, lambda each: self._paint(plan, each), context)
        return GenerationResult(
            images=tuple(relay.pictures),
            resolved=plan.resolved,
            backend="local",
            model_hash=painted.model_hash,
            made_with=painted.made_with,
            seconds=painted.seconds,
        )

    def close(self) -> None:
        """Lets the device go; a running job stops at its next step first."""
        if self._running is not None:
            self._running.stop()
        if not self._closed:
            self._closed = True
            self._device.submit(self._release)
            self._device.shutdown(wait=True)

    @cached_property
    def _room_bytes(self) -> int:
        """Free memory at the first probe: later ones say the same, and `generate` looks again."""
        return free_bytes(self._settings.device)

    def _paint(self, plan: Plan, relay: Relay) -> "Painted":
        if self._painter is None or not self._painter.is_warm(plan):
            relay.put(PhaseStarted("loading"))
        from sdenv.backends.local.quiet import quieten

        quieten()
        from sdenv.backends.local.painter import Painter

        if self._painter is None:
            settings = self._settings
            self._painter = Painter(settings.device, settings.precision, settings.noise_device == "device")
        return self._painter.paint(plan, relay)

    def _release(self) -> None:
        if self._painter is not None:
            self._painter.release()
            self._painter = None

    def _folder(self, name: str | None) -> tuple[str, ModelFolder]:
        models = self._settings.models
        chosen = next(iter(models), "") if name is None else name
        if chosen not in models:
            raise UnknownModel(f"The local backend has no model {chosen!r}.", hint="sdenv models list")
        return chosen, self._read(Path(models[chosen]))

    def _read(self, path: Path) -> ModelFolder:
        """The folder, read again only when it has changed: headers of large models take a while."""
        known = self._known.get(path)
        if known is None or not _is_as_it_was(*known):
            folder = read_folder(path)
            known = self._known[path] = (folder, folder.stamp())
        return known[0]

    def _facts(self, folder: ModelFolder, room_bytes: int) -> ModelFacts:
        """What a model can do in so much memory."""
        facts = facts_of(folder)
        limit = max_pixels(folder, facts, likely_element_bytes(self._settings.precision), room_bytes)
        return replace(facts, size=replace(facts.size, max_pixels=limit))

    def _info(self, name: str) -> ModelInfo:
        folder = self._folder(name)[1]
        facts = self._facts(folder, self._room_bytes)
        family = facts.family
        return ModelInfo(
            name,
            family.name,
            facts.size,
            facts.default_size,
            facts.summary,
            {IDENTITY: self._identity(folder)},
            steps=family.steps,
            guidance_scale=family.guidance_scale,
            sampler=family.sampler,
            tasks=facts.tasks,
            samplers=facts.samplers,
        )

    def _identity(self, folder: ModelFolder) -> str:
        """What decides about pixels here: the folder's place and state, and the settings."""
        settings = self._settings.model_dump(exclude={"models"})
        told = json.dumps([str(folder.path.resolve()), folder.stamp(), settings])
        return hashlib.sha256(told.encode()).hexdigest()[:32]


def _is_as_it_was(folder: ModelFolder, stamp: tuple[tuple[int, int], ...]) -> bool:
    try:
        return folder.stamp() == stamp
    except OSError:  # a file is gone; reading the folder says which
        return False


def _check_installed() -> None:
    for package in ("torch", "diffusers", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise extra_missing("The local backend", "local", package)

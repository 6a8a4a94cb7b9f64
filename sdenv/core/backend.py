"""What can make a picture: three methods, blocking, and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from sdenv.core.capabilities import Capabilities, SizeRule
from sdenv.core.errors import UnknownModel, did_you_mean
from sdenv.core.events import Event
from sdenv.core.request import GenerationRequest, Task
from sdenv.core.result import GenerationResult


@runtime_checkable
class JobContext(Protocol):
    """What a backend is given besides the request: where to report, and when to stop."""

    preview_every: int
    """Make a preview every so many steps; 0 = none, they cost device time."""

    def emit(self, event: Event) -> None:
        """Reports an event; only from the thread that runs `generate`.

        Raises:
            Cancelled: The job was cancelled; let it pass through.
        """

    def check(self) -> None:
        """Raises `Cancelled` if the job was cancelled; for places where nothing is to be reported."""

    def on_cancel(self, unblock: Callable[[], None]) -> AbstractContextManager[None]:
        """While the context is open, a cancel calls `unblock` from another thread.

        It ends what blocks (closes the socket, ends the call), at once if the job is cancelled already, and
        does not wait for the thread that it frees.
        """


IDENTITY: Final = "identity"
"""Key in `ModelInfo.detail` of a text that two backends share only if they make the same pixels with it."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a backend can use.

    Attributes:
        name: What the user types after `-m`.
        family: A name in `core.families.FAMILIES`.
        size: Which sizes it makes.
        default_size: Width and height in pixels when the user says nothing.
        summary: One line for people.
        detail: More facts, as text by name (precision, parameters, where it lies).
        steps: Steps when the user says nothing; None = as its family.
        guidance_scale: Guidance when the user says nothing; None = as its family.
        sampler: Sampler when the user says nothing; None = as its family.
        tasks: What it can do; None = all that the backend can.
        samplers: Which samplers can run it; None = all that the backend has.
    """

    name: str
    family: str = "other"
    size: SizeRule = field(default_factory=SizeRule)
    default_size: tuple[int, int] = (512, 512)
    summary: str = ""
    detail: dict[str, str] = field(default_factory=dict)
    steps: int | None = None
    guidance_scale: float | None = None
    sampler: str | None = None
    tasks: frozenset[Task] | None = None
    samplers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """What a backend says of itself.

    Attributes:
        name: Its name in the registry.
        version: Its version, or that of the server it talks to.
        models: What it can use; the first is the default. Empty = the backend does not tell, any name is
        passed on.
        capabilities: What it can do, before the rules of a single model.
    """

    name: str
    version: str
    models: tuple[ModelInfo, ...]
    capabilities: Capabilities

    def model(self, name: str | None) -> ModelInfo | None:
        """The model of this name, by default the first; None where the backend does not tell its models.

        Raises:
            UnknownModel: The backend tells its models, and this is not one of them.
        """
        if not self.models:
            return None
        if name is None:
            return self.models[0]
        for model in self.models:
            if model.name == name:
                return model
        raise UnknownModel(
            f"The backend {self.name!r} has no model {name!r}.",
            why=did_you_mean(name, [model.name for model in self.models]),
            hint=f"sdenv backends {self.name}",
        )

    def capabilities_for(self, model_name: str | None) -> Capabilities:
        """What can be done with one model."""
        model = self.model(model_name)
        if model is None:
            return self.capabilities
        narrowed = self.capabilities.with_size(model.size)
        tasks = narrowed.tasks if model.tasks is None else narrowed.tasks & model.tasks
        return replace(narrowed, tasks=tasks, samplers=_both(narrowed.samplers, model.samplers))


def _both(these: tuple[str, ...] | None, those: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names in both lists; None = any name."""
    if these is None or those is None:
        return those if these is None else these
    return tuple(name for name in these if name in those)


@runtime_checkable
class HoldsMemory(Protocol):
    """A backend that can tell what it holds of the memory of devices; most cannot."""

    def memory_bytes(self) -> Mapping[str, int]:
        """Bytes by device (`cpu`, `cuda:0`), as they are now; asks nobody and costs nothing."""


class BackendSettings(BaseModel):
    """Base of every backend's own settings: what `-O key=value` and `[backends.NAME]` may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(ABC):
    """Makes pictures. Built from its Settings, probed, used, closed.

    `generate` may be called from several threads at once, as many as `capabilities.concurrency` says.
    """

    Settings: ClassVar[type[BackendSettings]] = BackendSettings
    declared: ClassVar[Capabilities] = Capabilities()
    """What the class can do at most, known without a connection."""

    @abstractmethod
    def __init__(self, settings: BackendSettings) -> None:
        """Keeps the settings; opens and loads nothing."""

    @abstractmethod
    def probe(self) -> BackendStatus:
        """Looks what is there, quickly and without side effects.

        Raises:
            UnavailableError: There is nothing to talk to, or an extra is not installed.
        """

    @abstractmethod
    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Makes the pictures of one request, blocking until they are done.

        Emits `RequestResolved` once, then steps and `PictureReady` for each picture as it is finished, and
        returns all of them.

        Raises:
            Cancelled: The job was cancelled.
            SdenvError: Anything else that went wrong; foreign exceptions are translated.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees what `probe` and `generate` took. May be called twice."""

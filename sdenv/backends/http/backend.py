"""A server as a backend: sdenv's own API, or the seed dialect where the server has nothing better."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, final

from sdenv.backends.http.native_job import NativeJob
from sdenv.backends.http.settings import HttpBackendSettings
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.events import Notice
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.net.interrupt import Interrupt
from sdenv.net.native_client import NativeClient, NotNative
from sdenv.net.session import Session

if TYPE_CHECKING:
    from sdenv.backends.http.seed import SeedClient

_CONTROLS: Final = frozenset(
    {"canny", "depth", "inpaint", "ip-adapter", "lineart", "mlsd", "normal", "openpose", "pose", "recolor"}
    | {"reference", "scribble", "segmentation", "shuffle", "sketch", "softedge", "tile"}
)
"""The kinds of control that are passed on: the published ControlNet types, and ours."""


@final
class HttpBackend(Backend):
    """Has a server make the pictures. What the server can do is what this backend can do."""

    Settings: ClassVar[type[BackendSettings]] = HttpBackendSettings
    declared: ClassVar[Capabilities] = Capabilities(controls=_CONTROLS, cancel="at-once", concurrency=64)

    def __init__(self, settings: BackendSettings) -> None:
        assert isinstance(settings, HttpBackendSettings)
        self._settings = settings
        self._is_seed: bool | None = None  # None = the server has not been asked
        self._greeting = settings.greeting

    @cached_property
    def _session(self) -> Session:
        return Session(self._settings.access())

    def client(self) -> NativeClient:
        """A client of the server's jobs, over the same connections; asks nothing."""
        return NativeClient(self._session, reconnect_s=self._settings.reconnect_s)

    def probe(self) -> BackendStatus:
        """Asks the server.

        Raises:
            ConnectionFailed: Nothing listens there, or what listens is no server of sdenv or its seed.
            Denied: The token is missing or wrong, or the certificate has changed.
        """
        status = self._asked(self._session)
        can = status.capabilities
        can = replace(can, controls=can.controls & _CONTROLS)
        return replace(status, name=self._settings.shown_as, capabilities=can)

    def _asked(self, session: Session) -> BackendStatus:
        """What the server says of itself, in the better dialect that it speaks."""
        try:
            status = NativeClient(session).status().backend
        except NotNative as error:
            status = self._seed(session).status(error)
            self._is_seed = True
        else:
            self._is_seed = False
        return status

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Submits the request, passes on what happens to it, and fetches the pictures."""
        context.check()
        if self._is_seed is None:
            interrupt = Interrupt()
            with context.on_cancel(interrupt.ask):
                self._asked(self._session.interruptible(interrupt))
        for notice in self._take_notices():
            context.emit(notice)
        if self._is_seed:
            return self._seed(self._session).generate(request, context)
        settings = self._settings
        return NativeJob(
            self.client(),
            request,
            context,
            shown_as=settings.shown_as,
            busy_s=settings.busy_s or 0.0,
            forget=settings.forget,
        ).result()

    def _take_notices(self) -> tuple[Notice, ...]:
        """What a person should know before the first job."""
        greeting, self._greeting = self._greeting, ""
        greetings = (Notice("warm", greeting),) if greeting else ()
        return (*greetings, *self._session.notices())

    def _seed(self, session: Session) -> "SeedClient":
        from sdenv.backends.http.seed import SeedClient  # few servers need it

        return SeedClient(session, self._settings.shown_as, self._settings.busy_s)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

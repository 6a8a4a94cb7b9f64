"""A server of AUTOMATIC1111's API as a backend.

Written for the original, whose answer comes when all pictures are made and whose progress is polled beside
it; a server of ours tells exactly what it can do and refuses what it cannot.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, final

from ulid import ULID

from sdenv.backends.a1111.decided import decided, refused
from sdenv.backends.a1111.making import NAME, Making
from sdenv.backends.a1111.settings import A1111Settings
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import PeerBrokeProtocol, SdenvError
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.net.answers import retry_after_s
from sdenv.net.exchange import Answer
from sdenv.protocols import a1111
from sdenv.protocols.a1111 import lists

_PROBE_S: Final = 10.0


@final
class A1111Backend(Backend):
    """Makes pictures through AUTOMATIC1111's API."""

    Settings: ClassVar[type[BackendSettings]] = A1111Settings
    declared: ClassVar[Capabilities] = replace(lists.DECLARED, concurrency=64)

    def __init__(self, settings: A1111Settings) -> None:
        self._settings = settings
        self._session = settings.session()
        self._met: BackendStatus | None = None
        self._is_sdenv = False

    def probe(self) -> BackendStatus:
        """Asks for the lists.

        Raises:
            PeerBrokeProtocol: What listens there does not speak this API.
            Denied: It wants a user and a password.
            ConnectionFailed: It cannot be reached.
        """
        flags = self._list("cmd-flags")
        self._is_sdenv = isinstance(flags, Mapping) and lists.OURS in flags
        if self._is_sdenv:
            status = lists.status_from(None, None, None, None, flags, name=NAME)
        else:
            status = self._of_another()
        if not self._settings.previews:
            status = replace(status, capabilities=replace(status.capabilities, previews=False))
        self._met = status
        return status

    def _of_another(self) -> BackendStatus:
        models, options = self._list("sd-models"), self._list("options")
        if models is None and options is None:
            what = f"{self._session.url} does not speak AUTOMATIC1111's API."
            raise PeerBrokeProtocol(what, hint="Start it with --api, or check the port.")
        samplers, schedulers = self._list("samplers"), self._list("schedulers")
        return lists.status_from(models or [], samplers, schedulers, options, None, name=NAME)

    def _list(self, name: str) -> Any:
        """An answer to a question about the server; None = it has no such route."""
        answer = self._session.get(f"{a1111.PREFIX}/{name}", answer_s=_PROBE_S)
        if answer.status in (404, 405):
            return None
        if answer.status != 200:
            raise error_in(answer)
        return answer.json()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Has the server make the pictures, and polls how far it is.

        A cancel interrupts the job, if it is the one that runs, and hangs up.
        """
        context.check()
        status = self._met or self.probe()
        for notice in self._session.notices():
            context.emit(notice)
        refused(request, status)
        wanted = decided(request, status, name_model=self._is_sdenv)
        making = Making(self._session, context, self._settings, is_sdenv=self._is_sdenv)
        for part in a1111.parts_of(wanted):
            answer = making.answered(part, task=f"task({ULID()})")
            if answer.status != 200:
                raise error_in(answer)
            making.take(part, a1111.answer_of(answer.json()), of=wanted)
        return making.result()

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()


def error_in(answer: Answer) -> SdenvError:
    """The error that an answer stands for."""
    try:
        record = answer.json()
    except PeerBrokeProtocol:
        record = None
    return a1111.error_in(answer.status, record, retry_after_s(answer))

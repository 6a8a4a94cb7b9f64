"""A server as a backend: sdenv's own API, or the seed dialect where the server has nothing better."""

from typing import ClassVar, final

from sdenv.backends.http.settings import HttpBackendSettings
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.net.native_client import NativeClient


@final
class HttpBackend(Backend):
    """Makes pictures on a server."""

    Settings: ClassVar[type[BackendSettings]] = HttpBackendSettings
    declared: ClassVar[Capabilities] = Capabilities()

    def __init__(self, settings: BackendSettings) -> None:
        assert isinstance(settings, HttpBackendSettings)
        self._settings = settings

    def probe(self) -> BackendStatus:
        """Asks the server."""
        raise NotImplementedError

    def client(self) -> NativeClient:
        """A client of the server's jobs, over the same connections."""
        raise NotImplementedError

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Has the server make the pictures."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the connections."""

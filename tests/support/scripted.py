"""A backend that does what a function of the test says."""

from collections.abc import Callable
from typing import final

from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.testing.fakes import resolved


@final
class Scripted(Backend):
    def __init__(
        self, script: Callable[[JobContext], object], capabilities: Capabilities | None = None
    ) -> None:
        self._script = script
        self._capabilities = capabilities or Capabilities()

    def probe(self) -> BackendStatus:
        return BackendStatus("scripted", "1", (), self._capabilities)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        self._script(context)
        return GenerationResult(images=(), resolved=resolved(request), backend="scripted", seconds=0)

    def close(self) -> None:
        pass

"""The local backend is held to what every backend promises, on a tiny model in float32."""

from pathlib import Path
from typing import ClassVar

import pytest

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.backend import Backend
from sdenv.testing.contracts import BackendContract


class TestLocalBackend(BackendContract):
    pixel_tolerance: ClassVar[int] = (
        2  # convolutions of a batch add in another order than those of one picture
    )

    @pytest.fixture
    def backend(self, backend: LocalBackend) -> Backend:
        return backend

    @pytest.fixture
    def disposable(self, models: dict[str, Path]) -> Backend:
        paths = {"sd1": str(models["sd1"])}
        return LocalBackend(LocalSettings(models=paths, device="cpu", precision="float32"))

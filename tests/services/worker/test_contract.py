"""A supervised backend is a backend: it passes the contract, over the fake one and over torch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sdenv.backends.fake import FakeSettings
from sdenv.backends.local import LocalSettings
from sdenv.core.backend import Backend
from sdenv.services.worker import SupervisedBackend
from sdenv.testing.contracts import BackendContract
from tests.support.tiny_models import make_sd1, make_sd2


@pytest.fixture(scope="module")
def over_fake() -> Iterator[Backend]:
    backend = SupervisedBackend("fake", FakeSettings(concurrency=4))
    yield backend
    backend.close()


class TestOverFake(BackendContract):
    @pytest.fixture
    def backend(self, over_fake: Backend) -> Backend:
        return over_fake

    @pytest.fixture
    def disposable(self) -> Backend:
        return SupervisedBackend("fake", FakeSettings())


@pytest.fixture(scope="module")
def over_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("models")
    models = {"sd1": str(make_sd1(folder / "sd1")), "sd2": str(make_sd2(folder / "sd2"))}
    backend = SupervisedBackend("local", LocalSettings(models=models, device="cpu", precision="float32"))
    yield backend
    backend.close()


@pytest.mark.slow
class TestOverLocal(BackendContract):
    @pytest.fixture
    def backend(self, over_local: Backend) -> Backend:
        return over_local

    @pytest.fixture
    def disposable(self, tmp_path: Path) -> Backend:
        models = {"sd1": str(make_sd1(tmp_path))}
        return SupervisedBackend("local", LocalSettings(models=models, device="cpu", precision="float32"))

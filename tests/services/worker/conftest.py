"""Backends in children, closed at the end whatever happens."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import pytest

from sdenv.services.worker import SupervisedBackend
from tests.support.misbehaving import KIND, MisbehavingSettings, install_misbehaving

SHORT_S: Final = 0.6
BEAT_S: Final = 0.1

Supervise = Callable[..., SupervisedBackend]


@pytest.fixture
def supervise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervise]:
    """Builds a supervised backend that misbehaves as its prompts say."""
    install_misbehaving(tmp_path / "site", monkeypatch)
    with ExitStack() as opened:

        def supervised(settings: MisbehavingSettings | None = None, **timing: Any) -> SupervisedBackend:
            backend = SupervisedBackend(KIND, settings or MisbehavingSettings(), **timing)
            return opened.enter_context(closing(backend))

        yield supervised


@pytest.fixture
def backend(supervise: Supervise) -> SupervisedBackend:
    """With everything as it is in a server."""
    return supervise()


@pytest.fixture(autouse=True)
def replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost children are replaced at once; the tests of the back-off say otherwise."""
    monkeypatch.setattr("sdenv.services.worker.backend.FIRST_BACK_OFF_S", 0.001)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Installs the backend that misbehaves."""
    with pytest.MonkeyPatch.context() as patches:
        install_misbehaving(tmp_path_factory.mktemp("shared") / "site", patches)
        yield


@pytest.fixture(scope="module")
def running(installed: None) -> Iterator[SupervisedBackend]:
    """One whose child runs already, for all tests of a module: to start one takes a third of a second."""
    with closing(SupervisedBackend(KIND, MisbehavingSettings())) as backend:
        backend.probe()
        yield backend


@pytest.fixture(scope="module")
def impatient(installed: None) -> Iterator[SupervisedBackend]:
    """As `running`, and its child is lost when it says nothing for SHORT_S."""
    settings = MisbehavingSettings()
    with closing(SupervisedBackend(KIND, settings, heartbeat_s=BEAT_S, patience_s=SHORT_S)) as backend:
        backend.probe()
        yield backend

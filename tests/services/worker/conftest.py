"""Backends in children, closed at the end whatever happens."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from sdenv.services.worker import SupervisedBackend
from tests.support.misbehaving import KIND, MisbehavingSettings, install_misbehaving

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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedBackend]:
    """One whose child runs already, for the tests of a module that leave it as it is."""
    with pytest.MonkeyPatch.context() as patches:
        install_misbehaving(tmp_path_factory.mktemp("shared") / "site", patches)
        with closing(SupervisedBackend(KIND, MisbehavingSettings())) as backend:
            backend.probe()
            yield backend

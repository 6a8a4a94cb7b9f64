"""How the tests build each backend of the table. A new row in the table needs one function here."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from tests.support.a1111_servers import a1111_backend
from tests.support.http_servers import http_backend
from tests.support.openai_servers import openai_backend


@contextmanager
def make_fake(folder: Path) -> Iterator[Backend]:
    """It needs nothing."""
    with closing(FakeBackend(FakeSettings())) as backend:
        yield backend


@contextmanager
def make_local(folder: Path) -> Iterator[Backend]:
    """With tiny models of the true structure, in float32 on the CPU, where sums repeat bit for bit."""
    from sdenv.backends.local import LocalBackend, LocalSettings
    from sdenv.backends.local.quiet import quieten
    from tests.support.tiny_models import make_sd1, make_sd2

    quieten()
    models = {"sd1": str(make_sd1(folder / "sd1")), "sd2": str(make_sd2(folder / "sd2"))}
    with closing(LocalBackend(LocalSettings(models=models, device="cpu", precision="float32"))) as backend:
        yield backend


FACTORIES: Final[Mapping[str, Callable[[Path], AbstractContextManager[Backend]]]] = {
    "a1111": a1111_backend,
    "fake": make_fake,
    "http": http_backend,
    "local": make_local,
    "openai": openai_backend,
}
"""By name in the table: builds the backend, with an empty folder to put models into, and closes it."""

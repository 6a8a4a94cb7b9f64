"""How the tests build each backend of the table. A new row in the table needs one function here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend


def make_fake(folder: Path) -> Backend:
    """It needs nothing."""
    return FakeBackend(FakeSettings())


def make_local(folder: Path) -> Backend:
    """With tiny models of the true structure, in float32 on the CPU, where sums repeat bit for bit."""
    from sdenv.backends.local import LocalBackend, LocalSettings
    from sdenv.backends.local.quiet import quieten
    from tests.support.tiny_models import make_sd1, make_sd2

    quieten()
    models = {"sd1": str(make_sd1(folder / "sd1")), "sd2": str(make_sd2(folder / "sd2"))}
    return LocalBackend(LocalSettings(models=models, device="cpu", precision="float32"))


FACTORIES: Final[Mapping[str, Callable[[Path], Backend]]] = {"fake": make_fake, "local": make_local}
"""By name in the table: builds the backend, with an empty folder to put models into."""

"""The tiny models and a backend that has them all, made once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.backends.local.quiet import quieten
from tests.support.tiny_models import make_sd1, make_sd2, make_sdxl


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by name; read them, never write to them."""
    quieten()
    home = tmp_path_factory.mktemp("models")
    return {
        "sd1": make_sd1(home / "sd1"),
        "wide": make_sd1(home / "wide", latents=16),
        "inpainting": make_sd1(home / "inpainting", takes_mask=True),
        "sd2": make_sd2(home / "sd2"),
        "sdxl": make_sdxl(home / "sdxl"),
    }


@pytest.fixture(scope="session")
def backend(models: dict[str, Path]) -> Iterator[LocalBackend]:
    """In float32 on the CPU, where equal settings give equal bits whatever the processor."""
    paths = {name: str(path) for name, path in models.items()}
    made = LocalBackend(LocalSettings(models=paths, device="cpu", precision="float32"))
    yield made
    made.close()

"""The facts of this machine for `sdenv probe local`: what the local backend says, and the models found."""

import importlib
from typing import Any

from sdenv.backends import BACKENDS
from sdenv.core.registry import extra_missing
from sdenv.services.models import find_models
from sdenv.services.settings import Settings


def machine_record(settings: Settings) -> dict[str, Any]:
    """Devices, precisions, memory, versions, models, and what would be chosen and why; as JSON values.

    Takes as long as importing torch.

    Args:
        settings: Where models lie.

    Raises:
        ExtraMissing: The optional part `local` is not installed.
    """
    entry = BACKENDS.entry("local")
    package = entry.target.partition(":")[0]
    try:
        report: dict[str, Any] = importlib.import_module(f"{package}.machine").describe_machine().as_record()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("sdenv."):
            raise
        raise extra_missing("Making pictures on this machine", entry.extra, error.name) from error
    models = [
        {"name": each.name, "family": each.family, "source": each.source, "problem": each.problem}
        for each in find_models(settings.models_dirs)
    ]
    return {**report, "models": models}

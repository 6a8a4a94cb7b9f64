"""The few settings of AUTOMATIC1111 that mean something here (OURS-19)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sdenv.core.request import MAX_STEPS
from sdenv.protocols.a1111.names import model_named
from sdenv.protocols.a1111.values import WrongFields, text, truth, whole

FORMATS: Final[Mapping[str, str]] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
HONOURED: Final = (
    "sd_model_checkpoint",
    "sd_vae",
    "CLIP_stop_at_last_layers",
    "samples_format",
    "live_previews_enable",
    "show_progress_every_n_steps",
)
"""Settings that mean something here."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of AUTOMATIC1111 that mean something here; POST options changes them for later jobs.

    Attributes:
        model: Name of the model; None = the backend's default.
        vae: Name of another autoencoder; None = the model's own.
        clip_skip: Which of the text encoder's last layers; 1 = the last.
        samples_format: A key of FORMATS.
        previews: Whether pictures so far are made during the work.
        preview_steps: Every how many steps; 0 = none.
    """

    model: str | None = None
    vae: str | None = None
    clip_skip: int = 1
    samples_format: str = "png"
    previews: bool = True
    preview_steps: int = 5

    @property
    def preview_every(self) -> int:
        """As `Engine.submit` takes it."""
        return self.preview_steps if self.previews else 0


def overridden(
    options: Options, settings: Mapping[str, Any], models: Sequence[str]
) -> tuple[Options, tuple[str, ...]]:
    """Options with those of a body put in, and the names of those that mean nothing here.

    Args:
        options: Those in force.
        settings: `override_settings`, or the body of POST options.
        models: Names of the models that there are.

    Raises:
        WrongFields: A value of the wrong type.
    """
    found = options
    if model := text(settings, "sd_model_checkpoint"):
        found = replace(found, model=model_named(model, models))
    if "sd_vae" in settings:
        vae = text(settings, "sd_vae")
        found = replace(found, vae=None if vae.casefold() in ("", "automatic", "none") else vae)
    skip = whole(settings, "CLIP_stop_at_last_layers", found.clip_skip)
    if not 1 <= skip <= 24:
        raise WrongFields(("CLIP_stop_at_last_layers", "must be from 1 to 24"))
    kind = text(settings, "samples_format", found.samples_format).casefold()
    if kind not in FORMATS:
        raise WrongFields(("samples_format", f"must be one of {', '.join(FORMATS)}"))
    every = whole(settings, "show_progress_every_n_steps", found.preview_steps)
    if not -1 <= every <= MAX_STEPS:
        raise WrongFields(("show_progress_every_n_steps", f"must be from -1 to {MAX_STEPS}"))
    previews = truth(settings, "live_previews_enable", found.previews)
    found = replace(
        found, clip_skip=skip, samples_format=kind, previews=previews, preview_steps=max(0, every)
    )
    return found, tuple(f"override_settings.{name}" for name in settings if name not in HONOURED)

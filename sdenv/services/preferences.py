"""What may be configured: the shape of config.toml, the variables, and which values are secrets.

The descriptions of the fields are the documentation: `sdenv config show` and the reference page read them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo

from sdenv.core.privacy import is_secret, without_user
from sdenv.core.request import MAX_SIDE_PX, Guidance, Name, Prompt, Steps

MachineSize = Literal["big", "medium", "little", "tiny"]
MACHINE_SIDES_PX: Final[Mapping[MachineSize, int]] = {"big": 1024, "medium": 512, "little": 384, "tiny": 256}
"""Default side of a square picture in pixels, for models that have no native size of their own."""

HIDDEN: Final = "(hidden)"


def parse_size(text: str) -> tuple[int, int]:
    """`512x768`, or `512` for a square, as width and height in pixels; ValueError for anything else."""
    found = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX]\s*(\d{1,5}))?\s*", text, re.ASCII)
    if found is None:
        raise ValueError("a size is WIDTHxHEIGHT in pixels, for example 512x768")
    width_px, height_px = int(found[1]), int(found[2] or found[1])
    if not (1 <= width_px <= MAX_SIDE_PX and 1 <= height_px <= MAX_SIDE_PX):
        raise ValueError(f"a side of a picture is 1 to {MAX_SIDE_PX} pixels")
    return width_px, height_px


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _path(value: object, info: ValidationInfo) -> object:
    """A path with `~` replaced; a relative one is taken from the folder of the file that it stands in."""
    if not isinstance(value, str):
        return value
    folder = (info.context or {}).get("folder")
    expanded = Path(value).expanduser()
    return folder / expanded if folder else expanded


def _paths(value: object, info: ValidationInfo) -> object:
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return parts
    return tuple(_path(part, info) for part in parts if part != "")


def _template(value: object) -> object:
    """An output template with `~` replaced, which no shell does inside a file; its last `/` is kept."""
    if not (isinstance(value, str) and value.startswith("~")):
        return value
    head, slash, rest = value.partition("/")
    return f"{Path(head).expanduser()}{slash}{rest}"


def _user_data_path() -> Path:
    import platformdirs

    return platformdirs.user_data_path("sdenv", appauthor=False)


def _machine_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    lowered = value.strip().casefold()
    return "tiny" if lowered == "baby" else lowered


Size = Annotated[
    tuple[int, int],
    BeforeValidator(_size),
    PlainSerializer(lambda size: f"{size[0]}x{size[1]}", return_type=str),
]


class Preferences(BaseModel):
    """What may stand in config.toml and in a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backend: Name = Field("local", description="Which backend makes pictures: a name or a URL.")
    model: Name | None = Field(None, description="Model to use; unset = the backend's default.")
    models_dirs: Annotated[tuple[Path, ...], BeforeValidator(_paths)] = Field(
        (), description="Folders with models; unset = `models` in `data_dir`."
    )
    data_dir: Annotated[Path, BeforeValidator(_path)] = Field(
        default_factory=_user_data_path,
        description="Where results, history and models are kept; unset = the system's place for user data.",
    )
    runtime_dir: Annotated[Path, BeforeValidator(_path)] | None = Field(
        None,
        description="Where a server listens for the other programs of its user (`http.sock`); "
        "unset = the system's place, else `runtime` in `data_dir`.",
    )
    output: Annotated[str, BeforeValidator(_template)] | None = Field(
        None,
        description="Where pictures go: a file, a folder, a template such as `{date}/{prompt}-{seed}.png`.",
    )
    size: Size | None = Field(
        None, description="Picture size in pixels, WIDTHxHEIGHT; unset = the model's own."
    )
    steps: Steps | None = Field(None, description="Denoising steps, 1 to 1000; unset = what suits the model.")
    guidance_scale: Guidance | None = Field(
        None, description="Classifier-free guidance, 0 to 100; 1 = off; unset = what suits the model."
    )
    sampler: Name | None = Field(None, description="Sampler by AUTOMATIC1111's name, for example `DPM++ 2M`.")
    schedule: Name | None = Field(None, description="Noise schedule, for example `Karras`.")
    negative_prompt: Prompt | None = Field(None, description="What to avoid in every picture.")
    progress: Literal["auto", "bar", "plain", "json", "off"] = Field(
        "auto", description="How progress is shown: auto, bar, plain, json or off."
    )
    preview: Literal["auto", "kitty", "iterm", "sixel", "blocks", "off"] = Field(
        "auto",
        description="How pictures are shown in the terminal: auto, kitty, iterm, sixel, blocks or off.",
    )
    color: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether output is coloured: auto, always or never."
    )
    history: bool = Field(
        True,
        description="Whether `sdenv generate` keeps in the history what it has made; see `sdenv history`.",
    )
    machine_size: Annotated[MachineSize, BeforeValidator(_machine_size)] | None = Field(
        None,
        description="big (1024 px), medium (512), little (384) or tiny, also called baby (256): "
        "side of a picture where the model has no size of its own.",
    )


class NamedBackend(BaseModel):
    """A `[backends.NAME]` table: a URL, or the name of a backend, and that backend's own options."""

    model_config = ConfigDict(frozen=True, extra="allow")

    url: str | None = Field(
        None, description="Address whose scheme names the backend, for example `http://gpu:9090`."
    )
    backend: Name | None = Field(None, description="Name of a backend; unset = the table's own name.")
    model: Name | None = Field(None, description="Model to use with it when none is said.")

    @property
    def options(self) -> dict[str, Any]:
        """Everything else: what the backend's own Settings will check."""
        return dict(self.model_extra or {})


class ConfigFile(Preferences):
    """The shape of config.toml."""

    profile: Name | None = Field(None, description="Profile that applies when none is chosen.")
    profiles: dict[str, Preferences] = Field(
        default_factory=dict, description="Sets of values, chosen by name."
    )
    backends: dict[str, NamedBackend] = Field(
        default_factory=dict, description="Backends under a name of your own."
    )


VARIABLES: Final[Mapping[str, str]] = {
    "MACHINE_SIZE": "machine_size",  # without prefix: scripts of earlier tools set it so
    **{f"SDENV_{name.upper()}": name for name in Preferences.model_fields if name != "models_dirs"},
    "SDENV_MODELS_DIR": "models_dirs",
}
"""The setting that each environment variable sets; of two for one setting the later row wins."""


def without_secrets(name: str, value: object) -> object:
    """The value, or a stand-in where it is a secret; users and passwords in URLs are cut out."""
    if is_secret(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: without_secrets(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(name, each) for each in value]
    return without_user(value) if isinstance(value, str) else value

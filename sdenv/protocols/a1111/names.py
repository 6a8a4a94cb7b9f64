"""Names of models, samplers and schedules, as this dialect writes them and as its clients type them."""

import re
from collections.abc import Sequence
from typing import Final

from sdenv.core.errors import UnknownSampler
from sdenv.core.privacy import name_only
from sdenv.core.samplers import find_sampler, find_schedule

_HASH: Final = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]$")
_SUFFIX: Final = re.compile(r"\.(?:safetensors|ckpt|gguf|pt|sft)$", re.IGNORECASE)
_SAME: Final = frozenset({"", "automatic", "none", "default"})


def model_title(name: str, model_hash: str = "") -> str:
    """What clients show and send back: `name [hash]`; without the hash where it is not known."""
    return f"{name} [{model_hash}]" if model_hash else name


def model_named(said: str, known: Sequence[str]) -> str:
    """The model that a client means by a title, a file name or a name; what it said where none fits.

    Args:
        said: As it came.
        known: Names of the models that there are.
    """
    bare = _HASH.sub("", said.strip())
    stem = _SUFFIX.sub("", name_only(bare))
    for wanted in (said, bare, stem):
        for name in known:
            if wanted.casefold() in {name.casefold(), _SUFFIX.sub("", name).casefold()}:
                return name
    return bare


def sampler_and_schedule(
    sampler: str, schedule: str, known: Sequence[str] | None
) -> tuple[str | None, str | None]:
    """Public names for what a client has sent; None = the model's own (OURS-3).

    Args:
        sampler: Display name, alias, or name of stable-diffusion.cpp; may end with a schedule.
        schedule: Name, label or alias.
        known: Samplers of the backend, of which one may have a name of its own.

    Raises:
        UnknownSampler: There is no such sampler.
    """
    found, own = _sampler(sampler, known)
    if schedule.strip().casefold() in _SAME:
        return found, own
    try:
        return found, find_schedule(schedule).name
    except UnknownSampler:
        return found, schedule  # admission says what becomes of it


def _sampler(said: str, known: Sequence[str] | None) -> tuple[str | None, str | None]:
    if said.strip().casefold() in _SAME:
        return None, None
    for name in known or ():
        if name.casefold() == said.casefold():
            return name, None
    sampler, schedule = find_sampler(said)
    return sampler.name, None if schedule is None else schedule.name


def scheduler_name(label: str) -> str:
    """The name of a schedule in bodies: `SGM Uniform` is `sgm_uniform`."""
    return label.casefold().replace(" ", "_")


def sampler_alias(name: str) -> str:
    """The name of a sampler in k-diffusion's style: `DPM++ 2M` is `k_dpmpp_2m`."""
    return "k_" + name.casefold().replace("++", "pp").replace(" ", "_")

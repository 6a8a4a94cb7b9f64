"""Finding samplers and schedules by any of their names, and saying which can run a model.

The table itself is in `core.sampler_table`. Names are matched whatever their case and separators, so that
`DPM++ 2M`, `dpmpp_2m`, `k_dpmpp_2m` and `dpm++2m` are one sampler, and a trailing schedule word is split off
("DPM++ 2M Karras", `euler_a_trailing`).
"""

import re
from collections.abc import Mapping
from typing import Final

from sdenv.core.errors import UnknownSampler, did_you_mean
from sdenv.core.request import GenerationRequest
from sdenv.core.sampler_table import AUTOMATIC, SAMPLERS, SCHEDULES, Sampler, Schedule

__all__ = ["AUTOMATIC", "SAMPLERS", "SCHEDULES", "Sampler", "Schedule"]

LOCAL_SAMPLERS: Final = tuple(name for name, sampler in SAMPLERS.items() if sampler.scheduler is not None)
"""What diffusers can run, in the order of the table."""

LOCAL_SCHEDULES: Final = tuple(name for name, schedule in SCHEDULES.items() if schedule.options is not None)
"""Schedules that diffusers has."""

DRAW_THINGS: Final[dict[str, tuple[str, str]]] = {
    enum_name: (sampler.name, schedule_name)
    for sampler in SAMPLERS.values()
    for schedule_name, enum_name in sampler.draw_things.items()
}
"""Draw Things' enum name -> (sampler, schedule): with `Sampler.draw_things` a bijection on its 20 names."""

FLOW_SAMPLER: Final = "Euler"
"""The only sampler for flow-matching models (SD3, Flux and later): the scheduler that they come with."""


def _squashed(name: str) -> str:
    """Equal for all spellings of a name: case, separators, `++` or `pp`, `ancestral` or `a`, a leading k."""
    plain = re.sub(r"[\s_\-.]+", "_", name.strip().casefold()).removeprefix("k_").removeprefix("sample_")
    return plain.replace("++", "pp").replace("ancestral", "a").replace("_", "")


def _sampler_names() -> dict[str, tuple[str, str | None]]:
    names: dict[str, tuple[str, str | None]] = {}
    for enum_name, pair in DRAW_THINGS.items():
        names[_squashed(enum_name)] = pair
    for sampler in SAMPLERS.values():
        if sampler.scheduler is not None:
            names.setdefault(_squashed(sampler.scheduler), (sampler.name, None))
        for name in (sampler.name, *sampler.aliases):
            names[_squashed(name)] = (sampler.name, None)
    return names


_SAMPLER_BY_NAME: Final = _sampler_names()
_SCHEDULE_BY_NAME: Final = {
    _squashed(name): schedule
    for schedule in SCHEDULES.values()
    for name in (schedule.name, *schedule.aliases)
}
_SUFFIXES: Final = sorted(_SCHEDULE_BY_NAME, key=len, reverse=True)


def find_sampler(name: str) -> tuple[Sampler, Schedule | None]:
    """The sampler of this name or alias, and the schedule where the name ends with one.

    Raises:
        UnknownSampler: There is none; the error names the nearest.
    """
    squashed = _squashed(name)
    if (found := _SAMPLER_BY_NAME.get(squashed)) is not None:
        return SAMPLERS[found[0]], None if found[1] is None else SCHEDULES[found[1]]
    for suffix in _SUFFIXES:
        if (
            squashed.endswith(suffix)
            and (found := _SAMPLER_BY_NAME.get(squashed.removesuffix(suffix))) is not None
        ):
            return SAMPLERS[found[0]], _SCHEDULE_BY_NAME[suffix]
    raise UnknownSampler(f"There is no sampler {name!r}.", why=did_you_mean(name, list(SAMPLERS)))


def find_schedule(name: str) -> Schedule:
    """The schedule of this name or alias.

    Raises:
        UnknownSampler: There is none; the error names the nearest.
    """
    found = _SCHEDULE_BY_NAME.get(_squashed(name))
    if found is None:
        raise UnknownSampler(f"There is no schedule {name!r}.", why=did_you_mean(name, list(SCHEDULES)))
    return found


def with_public_names(request: GenerationRequest) -> GenerationRequest:
    """The request with sampler and schedule under their public names; unknown names stay as they are.

    "DPM++ 2M Karras" becomes the sampler "DPM++ 2M" with the schedule "Karras", unless a schedule is
    named as well.
    """
    changes: dict[str, str] = {}
    if request.sampler is not None:
        changes |= _public_sampler(request.sampler)
    if request.schedule is not None and (schedule := _SCHEDULE_BY_NAME.get(_squashed(request.schedule))):
        changes["schedule"] = schedule.name
    elif request.schedule is not None:
        changes["schedule"] = request.schedule
    return request.model_copy(update=changes) if changes else request


def _public_sampler(name: str) -> dict[str, str]:
    try:
        sampler, schedule = find_sampler(name)
    except UnknownSampler:
        return {}
    return {"sampler": sampler.name} | ({} if schedule is None else {"schedule": schedule.name})


def draw_things_name(sampler: str, schedule: str = AUTOMATIC) -> str | None:
    """Draw Things' enum name for a pair of public names; None where it has none."""
    return SAMPLERS[sampler].draw_things.get(schedule)


def scheduler_options(sampler: Sampler, schedule: Schedule) -> dict[str, bool | int | str]:
    """What to change in the model's scheduler configuration to get this sampler and schedule."""
    return {**sampler.options, **(schedule.options or {})}


def is_flow(scheduler_config: Mapping[str, object]) -> bool:
    """Whether a scheduler configuration belongs to a flow-matching model."""
    return "Flow" in str(scheduler_config.get("_class_name", "")) or bool(
        scheduler_config.get("use_flow_sigmas")
    )


def runnable_samplers(scheduler_config: Mapping[str, object]) -> tuple[str, ...]:
    """Public names of the samplers that can run a model with this `scheduler_config.json`."""
    if is_flow(scheduler_config):
        return (FLOW_SAMPLER,)
    return tuple(name for name in LOCAL_SAMPLERS if _objection(SAMPLERS[name], scheduler_config) is None)


def check_runnable(sampler: Sampler, schedule: Schedule, scheduler_config: Mapping[str, object]) -> None:
    """Refuses a sampler or schedule that cannot run a model, before any work.

    Args:
        sampler: Which sampler.
        schedule: Which schedule.
        scheduler_config: The model's `scheduler/scheduler_config.json`.

    Raises:
        UnknownSampler: With the reason, and the nearest that can.
    """
    if sampler.scheduler is None:
        raise UnknownSampler(
            f"The sampler {sampler.name!r} does not run here.",
            why=f"diffusers has no counterpart of it. {did_you_mean(sampler.name, LOCAL_SAMPLERS)}",
        )
    objection = _objection(sampler, scheduler_config)
    if objection is not None:
        raise UnknownSampler(
            f"The sampler {sampler.name!r} cannot run this model.",
            why=f"{objection} {did_you_mean(sampler.name, runnable_samplers(scheduler_config))}",
        )
    possible = (AUTOMATIC,) if is_flow(scheduler_config) else (AUTOMATIC, *sorted(sampler.schedules))
    if schedule.name not in possible:
        why = f"Its schedules are: {', '.join(possible)}."
        raise UnknownSampler(f"The sampler {sampler.name!r} has no schedule {schedule.name!r} here.", why=why)


def _objection(sampler: Sampler, scheduler_config: Mapping[str, object]) -> str | None:
    """Why a sampler cannot run a noise schedule; None = it can."""
    if is_flow(scheduler_config):
        return None if sampler.name == FLOW_SAMPLER else "The model was trained with flow matching."
    prediction = str(scheduler_config.get("prediction_type", "epsilon"))
    if prediction not in sampler.predictions:
        return f"The model predicts {prediction!r}, and it takes {' or '.join(sorted(sampler.predictions))}."
    if scheduler_config.get("rescale_betas_zero_snr") and not sampler.zero_snr:
        return "The model's noise schedule ends in pure noise (zero terminal SNR), and it cannot start there."
    return None

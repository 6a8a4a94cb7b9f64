"""The rows behind `core.samplers`: samplers and noise schedules, and what runs them. Pure data.

AUTOMATIC1111's display names are the public ones (`/sdapi/v1/samplers` and `/sdapi/v1/schedulers` of its HTTP
API). A sampler is a diffusers scheduler class with options; a schedule is further options on it. Draw Things
names pairs of the two (`SamplerType` of its `config.fbs`), so its column hangs on both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

Options = Mapping[str, bool | int | str]

AUTOMATIC: Final = "Automatic"
"""The schedule that changes nothing: spacing and sigmas as the model's own configuration has them."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the steps are spread over the noise levels.

    Attributes:
        name: AUTOMATIC1111's label.
        options: Keyword arguments of a diffusers scheduler; None = diffusers has no counterpart.
        aliases: Other names, in any spelling.
    """

    name: str
    options: Options | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampler:
    """How each step is taken.

    Attributes:
        name: AUTOMATIC1111's display name.
        scheduler: Name of the diffusers scheduler class; None = diffusers has no counterpart.
        options: Keyword arguments that make the class this sampler.
        schedules: Names of the schedules that the class can follow, beside `Automatic`.
        predictions: What the model may predict (`prediction_type` of its scheduler configuration).
        zero_snr: Whether the class can start from pure noise (`rescale_betas_zero_snr` of the configuration).
        aliases: Other names, in any spelling.
        draw_things: Draw Things' enum name by name of the schedule.
    """

    name: str
    scheduler: str | None = None
    options: Options = field(default_factory=dict)
    schedules: frozenset[str] = frozenset()
    predictions: frozenset[str] = frozenset()
    zero_snr: bool = False
    aliases: tuple[str, ...] = ()
    draw_things: Mapping[str, str] = field(default_factory=dict)


def _frozen(**options: bool | int | str) -> Options:
    return MappingProxyType(options)


def _sigmas(which: str, **spacing: int | str) -> Options:
    flags = {f"use_{name}_sigmas": name == which for name in ("karras", "exponential", "beta")}
    return MappingProxyType({**flags, **spacing})


SCHEDULES: Final[dict[str, Schedule]] = {
    schedule.name: schedule
    for schedule in (
        Schedule(AUTOMATIC, _frozen(), ("discrete", "default", "model")),
        Schedule("Karras", _sigmas("karras"), ("k",)),
        Schedule("Exponential", _sigmas("exponential")),
        Schedule("Beta", _sigmas("beta")),
        Schedule("Uniform", _sigmas("", timestep_spacing="linspace")),
        Schedule("Normal", _sigmas("", timestep_spacing="linspace")),
        Schedule("SGM Uniform", _sigmas("", timestep_spacing="trailing"), ("sgm", "trailing")),
        Schedule("Simple", _sigmas("", timestep_spacing="trailing")),
        Schedule("DDIM", _sigmas("", timestep_spacing="leading", steps_offset=1), ("leading",)),
        Schedule("Polyexponential", None),
        Schedule("KL Optimal", None),
        Schedule("Align Your Steps", None, ("ays",)),
        Schedule("Substep", None),
    )
}
"""By name. `Uniform` and `Normal` give the same numbers here, and so do `SGM Uniform` and `Simple` (both
start at the last training step and go down evenly). `Substep` exists in Draw Things only."""

_SIGMAS: Final = frozenset({"Karras", "Exponential", "Beta"})
_SPACING: Final = frozenset({"Uniform", "Normal", "SGM Uniform", "Simple", "DDIM"})
_ALL: Final = _SIGMAS | _SPACING
_EPSILON_V: Final = frozenset({"epsilon", "v_prediction"})
_EPSILON_V_X: Final = _EPSILON_V | {"sample"}


def _multistep(order: int, algorithm: str, solver: str = "midpoint") -> Options:
    return _frozen(solver_order=order, algorithm_type=algorithm, solver_type=solver)


def _draws(**names: str) -> Mapping[str, str]:
    labels = {"automatic": AUTOMATIC, "trailing": "SGM Uniform", "ays": "Align Your Steps"}
    return MappingProxyType({labels.get(word, word.capitalize()): name for word, name in names.items()})


_MULTI: Final = "DPMSolverMultistepScheduler"
_SINGLE: Final = "DPMSolverSinglestepScheduler"
_SINGLE_SDE: Final = _frozen(solver_order=2, algorithm_type="sde-dpmsolver++", lower_order_final=True)
_DRAW_2M: Final = _draws(karras="DPMPP2MKarras", trailing="DPMPP2MTrailing", ays="DPMPP2MAYS")
_DRAW_SDE: Final = _draws(
    karras="DPMPPSDEKarras", trailing="DPMPPSDETrailing", ays="DPMPPSDEAYS", substep="DPMPPSDESubstep"
)
_DRAW_A: Final = _draws(
    automatic="EulerA", trailing="EulerATrailing", ays="EulerAAYS", substep="EulerASubstep"
)
_DRAW_UNI: Final = _draws(automatic="UniPC", trailing="UniPCTrailing", ays="UniPCAYS")

SAMPLERS: Final[dict[str, Sampler]] = {
    sampler.name: sampler
    for sampler in (
        Sampler(
            "DPM++ 2M", _MULTI, _multistep(2, "dpmsolver++"), _ALL, _EPSILON_V_X, True, draw_things=_DRAW_2M
        ),
        Sampler("DPM++ SDE", _SINGLE, _SINGLE_SDE, _SIGMAS, _EPSILON_V_X, draw_things=_DRAW_SDE),
        Sampler("DPM++ 2M SDE", _MULTI, _multistep(2, "sde-dpmsolver++"), _ALL, _EPSILON_V_X, True),
        Sampler(
            "DPM++ 2M SDE Heun", _MULTI, _multistep(2, "sde-dpmsolver++", "heun"), _ALL, _EPSILON_V_X, True
        ),
        Sampler("DPM++ 2S a"),
        Sampler("DPM++ 3M SDE", _MULTI, _multistep(3, "sde-dpmsolver++"), _ALL, _EPSILON_V_X, True),
        Sampler(
            "Euler a", "EulerAncestralDiscreteScheduler", {}, _SPACING, _EPSILON_V, True, draw_things=_DRAW_A
        ),
        Sampler("Euler", "EulerDiscreteScheduler", {}, _ALL, _EPSILON_V_X, True),
        Sampler("LMS", "LMSDiscreteScheduler", {}, _ALL, _EPSILON_V_X),
        Sampler("Heun", "HeunDiscreteScheduler", {}, _ALL, _EPSILON_V_X),
        Sampler("DPM2", "KDPM2DiscreteScheduler", {}, _ALL, _EPSILON_V, aliases=("kdpm2",)),
        Sampler("DPM2 a", "KDPM2AncestralDiscreteScheduler", {}, _ALL, _EPSILON_V, aliases=("kdpm2a",)),
        Sampler("DPM fast"),
        Sampler("DPM adaptive", aliases=("dpm_ad",)),
        Sampler("Restart"),
        Sampler(
            "DDIM",
            "DDIMScheduler",
            {},
            _SPACING,
            _EPSILON_V_X,
            True,
            draw_things=_draws(automatic="DDIM", trailing="DDIMTrailing"),
        ),
        Sampler("DDIM CFG++"),
        Sampler(
            "PLMS",
            "PNDMScheduler",
            _frozen(skip_prk_steps=True),
            _SPACING,
            _EPSILON_V,
            aliases=("pndm",),
            draw_things=_draws(automatic="PLMS"),
        ),
        Sampler(
            "UniPC",
            "UniPCMultistepScheduler",
            {},
            _ALL,
            _EPSILON_V_X,
            True,
            aliases=("uni_pc_bh2",),
            draw_things=_DRAW_UNI,
        ),
        Sampler(
            "LCM", "LCMScheduler", {}, frozenset(), _EPSILON_V_X, True, draw_things=_draws(automatic="LCM")
        ),
        Sampler(
            "TCD",
            "TCDScheduler",
            {},
            frozenset(),
            _EPSILON_V_X,
            True,
            draw_things=_draws(automatic="TCD", trailing="TCDTrailing"),
        ),
        Sampler("DEIS", "DEISMultistepScheduler", {}, _ALL, _EPSILON_V_X),
        Sampler("DDPM", "DDPMScheduler", {}, _SPACING, _EPSILON_V_X, True),
    )
}
"""By AUTOMATIC1111's name; TCD, DEIS and DDPM have none there and carry the name that other programs give.
LCM and TCD take their steps from their distillation schedule whatever is asked for: `Automatic` only."""

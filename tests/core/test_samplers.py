"""One table of samplers between AUTOMATIC1111, diffusers and Draw Things."""

from typing import Any

import pytest

from sdenv.core.errors import UnknownSampler
from sdenv.core.request import GenerationRequest
from sdenv.core.samplers import (
    AUTOMATIC,
    DRAW_THINGS,
    LOCAL_SAMPLERS,
    LOCAL_SCHEDULES,
    SAMPLERS,
    SCHEDULES,
    check_runnable,
    draw_things_name,
    find_sampler,
    find_schedule,
    runnable_samplers,
    scheduler_options,
    with_public_names,
)

AUTOMATIC1111 = (
    *("DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a"),
    *("Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++"),
    *("PLMS", "UniPC", "LCM"),
)
SCHEDULE_LABELS = {
    "automatic": "Automatic",
    "uniform": "Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
    "sgm_uniform": "SGM Uniform",
    "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
    "simple": "Simple",
    "normal": "Normal",
    "ddim": "DDIM",
    "beta": "Beta",
}
"""Name and label, as AUTOMATIC1111's HTTP API lists them."""

DRAW_THINGS_LABELS = {
    "DPM++ 2M Karras": "DPMPP2MKarras",
    "Euler a": "EulerA",
    "DDIM": "DDIM",
    "PLMS": "PLMS",
    "DPM++ SDE Karras": "DPMPPSDEKarras",
    "UniPC": "UniPC",
    "LCM": "LCM",
    "Euler A Substep": "EulerASubstep",
    "DPM++ SDE Substep": "DPMPPSDESubstep",
    "TCD": "TCD",
    "Euler A Trailing": "EulerATrailing",
    "DPM++ SDE Trailing": "DPMPPSDETrailing",
    "DPM++ 2M AYS": "DPMPP2MAYS",
    "Euler A AYS": "EulerAAYS",
    "DPM++ SDE AYS": "DPMPPSDEAYS",
    "DPM++ 2M Trailing": "DPMPP2MTrailing",
    "DDIM Trailing": "DDIMTrailing",
    "UniPC Trailing": "UniPCTrailing",
    "UniPC AYS": "UniPCAYS",
    "TCD Trailing": "TCDTrailing",
}
"""Label and enum name, from the configuration schema of Draw Things."""


def test_every_sampler_and_schedule_of_automatic1111_is_known_by_its_name() -> None:
    assert set(AUTOMATIC1111) <= set(SAMPLERS)
    assert set(SCHEDULE_LABELS.values()) <= set(SCHEDULES)
    assert {name: find_schedule(name).name for name in SCHEDULE_LABELS} == SCHEDULE_LABELS


def test_draw_things_and_pairs_of_sampler_and_schedule_are_a_bijection() -> None:
    assert set(DRAW_THINGS) == set(DRAW_THINGS_LABELS.values())
    assert len(set(DRAW_THINGS.values())) == len(DRAW_THINGS) == 20
    for enum_name, (sampler, schedule) in DRAW_THINGS.items():
        assert draw_things_name(sampler, schedule) == enum_name


@pytest.mark.parametrize("label", DRAW_THINGS_LABELS)
def test_every_label_and_enum_name_of_draw_things_is_found(label: str) -> None:
    enum_name = DRAW_THINGS_LABELS[label]
    for name in (label, enum_name):
        sampler, schedule = find_sampler(name)
        assert draw_things_name(sampler.name, schedule.name if schedule else AUTOMATIC) == enum_name


def test_no_two_samplers_are_the_same_for_diffusers() -> None:
    seen = [
        (SAMPLERS[name].scheduler, tuple(sorted(SAMPLERS[name].options.items()))) for name in LOCAL_SAMPLERS
    ]
    assert len(set(seen)) == len(LOCAL_SAMPLERS)


@pytest.mark.parametrize(
    ("alias", "sampler", "schedule"),
    [
        ("k_euler_a", "Euler a", None),
        ("euler_a", "Euler a", None),
        ("euler_ancestral", "Euler a", None),
        ("EULER A", "Euler a", None),
        ("dpm++2m", "DPM++ 2M", None),
        ("dpmpp_2m", "DPM++ 2M", None),
        ("k_dpmpp_2m_karras", "DPM++ 2M", "Karras"),
        ("dpm++2s_a", "DPM++ 2S a", None),
        ("k_dpm_2_ancestral", "DPM2 a", None),
        ("k_dpm_ad", "DPM adaptive", None),
        ("k_lms", "LMS", None),
        ("uni_pc", "UniPC", None),
        ("plms", "PLMS", None),
        ("pndm", "PLMS", None),
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "Exponential"),
        ("dpmpp_2m_k", "DPM++ 2M", "Karras"),
        ("ddim_trailing", "DDIM", "SGM Uniform"),
        ("euler_a karras", "Euler a", "Karras"),
        ("EulerDiscreteScheduler", "Euler", None),
        ("DPMSolverMultistepScheduler", "DPM++ 2M", None),
        ("sample_dpmpp_sde", "DPM++ SDE", None),
    ],
)
def test_other_programs_names_are_found(alias: str, sampler: str, schedule: str | None) -> None:
    found, own = find_sampler(alias)
    assert (found.name, own.name if own else None) == (sampler, schedule)


@pytest.mark.parametrize(("alias", "schedule"), [("discrete", "Automatic"), ("ays", "Align Your Steps")])
def test_other_programs_schedules_are_found(alias: str, schedule: str) -> None:
    assert find_schedule(alias).name == schedule


def test_every_public_name_finds_itself() -> None:
    assert [find_sampler(name)[0].name for name in SAMPLERS] == list(SAMPLERS)
    assert [find_schedule(name).name for name in SCHEDULES] == list(SCHEDULES)
    for sampler in SAMPLERS:
        for schedule in SCHEDULES:
            found, own = find_sampler(f"{sampler} {schedule}")
            assert (found.name, own.name if own else None) == (sampler, schedule)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownSampler, match=r"Did you mean 'DPM\+\+ 2M'"):
        find_sampler("DPM+ 2M")
    with pytest.raises(UnknownSampler, match="Did you mean 'Karras'"):
        find_schedule("Karas")


def test_a_request_gets_the_public_names_and_keeps_what_is_not_known() -> None:
    def named(**values: Any) -> tuple[str | None, str | None]:
        request = with_public_names(GenerationRequest(**values))
        return request.sampler, request.schedule

    assert named(sampler="k_euler_a") == ("Euler a", None)
    assert named(sampler="DPM++ 2M Karras") == ("DPM++ 2M", "Karras")
    assert named(sampler="DPM++ 2M Karras", schedule="sgm_uniform") == ("DPM++ 2M", "SGM Uniform")
    assert named(sampler="my own", schedule="also my own") == ("my own", "also my own")
    assert named() == (None, None)


def test_dpm_sde_is_the_singlestep_solver_with_its_stochastic_algorithm() -> None:
    sampler = SAMPLERS["DPM++ SDE"]
    assert sampler.scheduler == "DPMSolverSinglestepScheduler"
    assert sampler.options["algorithm_type"] == "sde-dpmsolver++"


def test_a_schedule_says_all_that_it_changes() -> None:
    options = scheduler_options(SAMPLERS["DPM++ 2M"], SCHEDULES["Karras"])
    assert options["use_karras_sigmas"] is True
    assert options["use_exponential_sigmas"] is False
    assert scheduler_options(SAMPLERS["Euler"], SCHEDULES[AUTOMATIC]) == {}
    assert scheduler_options(SAMPLERS["Euler"], SCHEDULES["SGM Uniform"])["timestep_spacing"] == "trailing"


EPSILON = {"_class_name": "PNDMScheduler", "prediction_type": "epsilon"}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.scheduler is None])
def test_a_sampler_that_diffusers_does_not_have_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownSampler, match=r"Did you mean|Known") as refused:
        check_runnable(SAMPLERS[name], SCHEDULES[AUTOMATIC], EPSILON)
    assert refused.value.exit_code == 2


def test_a_schedule_that_a_sampler_cannot_follow_is_refused_with_those_it_can() -> None:
    with pytest.raises(UnknownSampler, match="Automatic, DDIM, Normal, SGM Uniform"):
        check_runnable(SAMPLERS["Euler a"], SCHEDULES["Karras"], EPSILON)
    with pytest.raises(UnknownSampler):
        check_runnable(SAMPLERS["DPM++ 2M"], SCHEDULES["Align Your Steps"], EPSILON)


def test_a_flow_model_takes_only_the_sampler_that_it_comes_with() -> None:
    check_runnable(SAMPLERS["Euler"], SCHEDULES[AUTOMATIC], FLOW)
    assert runnable_samplers(FLOW) == ("Euler",)
    with pytest.raises(UnknownSampler, match="flow matching"):
        check_runnable(SAMPLERS["DPM++ 2M"], SCHEDULES[AUTOMATIC], FLOW)
    with pytest.raises(UnknownSampler):
        check_runnable(SAMPLERS["Euler"], SCHEDULES["Karras"], FLOW)


def test_a_sampler_that_cannot_take_what_the_model_predicts_is_refused() -> None:
    config = {**EPSILON, "prediction_type": "sample"}
    with pytest.raises(UnknownSampler, match="predicts 'sample'"):
        check_runnable(SAMPLERS["Euler a"], SCHEDULES[AUTOMATIC], config)
    check_runnable(SAMPLERS["DPM++ 2M"], SCHEDULES[AUTOMATIC], config)


def test_a_sampler_that_cannot_start_from_pure_noise_is_refused_where_the_model_ends_there() -> None:
    config = {**EPSILON, "rescale_betas_zero_snr": True}
    with pytest.raises(UnknownSampler, match="zero terminal SNR"):
        check_runnable(SAMPLERS["Heun"], SCHEDULES[AUTOMATIC], config)
    check_runnable(SAMPLERS["Euler"], SCHEDULES[AUTOMATIC], config)


def test_what_is_local_is_what_diffusers_has() -> None:
    assert "DPM fast" not in LOCAL_SAMPLERS
    assert "Align Your Steps" not in LOCAL_SCHEDULES
    assert LOCAL_SAMPLERS[0] == "DPM++ 2M"

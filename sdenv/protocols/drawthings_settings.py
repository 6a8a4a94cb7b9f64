"""The settings of the Draw Things app as its HTTP API names them: keys, synonyms, ranges, current values.

Source: the app's `Libraries/HTTPAPIServer/Sources/HTTPAPIServer.swift`.

UNVERIFIED: the port, the types of settings without a range, and the values that the app itself begins with.
OURS: the current settings are the defaults of the model; no request changes those of the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.defaults import STRENGTHS
from sdenv.core.families import family_named
from sdenv.core.request import MAX_SEED, Task
from sdenv.core.samplers import AUTOMATIC, DRAW_THINGS, find_sampler

USUAL_PORT: Final = 7860
"""UNVERIFIED: by common report."""

SIDE_MULTIPLE_PX: Final = 64

SAMPLERS: Final = (
    *("DPM++ 2M Karras", "Euler a", "DDIM", "PLMS", "DPM++ SDE Karras", "UniPC", "LCM", "Euler A Substep"),
    *("DPM++ SDE Substep", "TCD", "Euler A Trailing", "DPM++ SDE Trailing", "DPM++ 2M AYS", "Euler A AYS"),
    *("DPM++ SDE AYS", "DPM++ 2M Trailing", "DDIM Trailing", "UniPC Trailing", "UniPC AYS", "TCD Trailing"),
)
SEED_MODES: Final = ("Legacy", "Torch CPU Compatible", "Scale Alike", "NVIDIA GPU Compatible")

_PAIRS: Final = {name.casefold(): pair for name, pair in DRAW_THINGS.items()}


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        usual: What it is when nobody says it; its type is that of the setting.
        low: Smallest value; None = not limited.
        high: Largest value.
        synonyms: Other keys for it.
        words: The only values of a text; empty = any.
        done: Whether this server does something with it.
    """

    usual: Any
    low: float | None = None
    high: float | None = None
    synonyms: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    done: bool = False


SETTINGS: Final[Mapping[str, Setting]] = {
    "prompt": Setting("", done=True),
    "negative_prompt": Setting("", done=True),
    "model": Setting("", done=True),
    "width": Setting(512, 128, 8192, done=True),
    "height": Setting(512, 128, 8192, done=True),
    "seed": Setting(-1, -1, MAX_SEED, done=True),
    "steps": Setting(20, 1, 150, done=True),
    "guidance_scale": Setting(7.0, 0, 50, ("cfg_scale",), done=True),
    "strength": Setting(STRENGTHS[Task.IMAGE_TO_IMAGE], 0, 1, ("denoising_strength",), done=True),
    "sampler": Setting("", synonyms=("sampler_name", "sampler_index"), words=SAMPLERS, done=True),
    "seed_mode": Setting("Torch CPU Compatible", words=SEED_MODES),
    "batch_count": Setting(1, 1, 100, ("n_iter",), done=True),
    "batch_size": Setting(1, 1, 4, done=True),
    "clip_skip": Setting(1, 1, 23, done=True),
    "loras": Setting((), done=True),
    "controls": Setting(()),
    "image_guidance": Setting(1.5, 0, 25),
    "mask_blur": Setting(0.0, 0, 25),
    "mask_blur_outset": Setting(0, -100, 1000),
    "sharpness": Setting(0.0, 0, 30),
    "shift": Setting(1.0, 0.1, 8),
    "hires_fix": Setting(False, synonyms=("enable_hr",)),
    "hires_fix_width": Setting(512, 128, 2048, ("firstphase_width",)),
    "hires_fix_height": Setting(512, 128, 2048, ("firstphase_height",)),
    "hires_fix_strength": Setting(0.7, 0, 1),
    "upscaler": Setting(""),
    "upscaler_scale": Setting(0, 0, 4, ("upscaler_scale_factor",)),
    "refiner_model": Setting(""),
    "refiner_start": Setting(0.85, 0, 1),
    **{
        f"{each}_{side}": Setting(512, 128, 2048)
        for each in ("original", "target", "negative_original")
        for side in ("width", "height")
    },
    "crop_top": Setting(0, 0, 1024),
    "crop_left": Setting(0, 0, 1024),
    "aesthetic_score": Setting(6.0),
    "negative_aesthetic_score": Setting(2.5),
    "zero_negative_prompt": Setting(False),
    "tiled_decoding": Setting(False),
    "decoding_tile_width": Setting(640, 128, 2048),
    "decoding_tile_height": Setting(640, 128, 2048),
    "decoding_tile_overlap": Setting(128, 64, 1024),
    "tiled_diffusion": Setting(False),
    "diffusion_tile_width": Setting(1024, 128, 2048),
    "diffusion_tile_height": Setting(1024, 128, 2048),
    "diffusion_tile_overlap": Setting(128, 64, 1024),
    "num_frames": Setting(1, 1, 201),
    "fps": Setting(5),
    "motion_scale": Setting(127),
    "guiding_frame_noise": Setting(0.02),
    "start_frame_guidance": Setting(1.0),
    "stage_2_guidance": Setting(1.0),
    "stage_2_shift": Setting(1.0),
    "clip_weight": Setting(1.0),
    "negative_prompt_for_image_prior": Setting(True),
    "image_prior_steps": Setting(5),
    "stochastic_sampling_gamma": Setting(0.3),
    "preserve_original_after_inpaint": Setting(True),
    "t5_text_encoder_decoding": Setting(True),
    "separate_clip_l": Setting(False),
    "clip_l_text": Setting(""),
    "separate_open_clip_g": Setting(False),
    "open_clip_g_text": Setting(""),
    "separate_t5": Setting(False),
    "t5_text": Setting(""),
    "speed_up_with_guidance_embed": Setting(True),
    "guidance_embed": Setting(3.5, 0, 25),
    "resolution_dependent_shift": Setting(True),
    "tea_cache": Setting(False),
    "tea_cache_start": Setting(5),
    "tea_cache_end": Setting(-1),
    "tea_cache_threshold": Setting(0.06),
    "tea_cache_max_skip_steps": Setting(3),
    "causal_inference": Setting(0),
    "causal_inference_pad": Setting(0),
    "cfg_zero_star": Setting(False),
    "cfg_zero_init_steps": Setting(0),
    "compression_artifacts": Setting(""),
    "compression_artifacts_quality": Setting(43.1),
    "color_calibration": Setting(""),
    "expand_prompt_to_json": Setting(False),
    "restore_faces": Setting(False),
}
"""Every key with its range. UNVERIFIED: the types of those without a range, and every usual value."""

NAMES: Final = {key: name for name, each in SETTINGS.items() for key in (name, *each.synonyms)}
"""Setting by key, synonyms included."""


def settings_record(status: BackendStatus, model: str | None = None) -> dict[str, Any]:
    """The current settings: GET `/` and GET `/sdapi/v1/options`.

    Args:
        status: What the backend says of itself.
        model: Of which model; None = the default one. One that is not there counts as the default one.
    """
    usual = {name: each.usual for name, each in SETTINGS.items()}
    first = next(iter(status.models), None)
    found = next((each for each in status.models if each.name == model), first)
    return usual if found is None else usual | _defaults(found)


def _defaults(model: ModelInfo) -> dict[str, Any]:
    family = family_named(model.family)
    return {
        "model": model.name,
        "width": model.default_size[0],
        "height": model.default_size[1],
        "steps": model.steps or family.steps,
        "guidance_scale": family.guidance_scale if model.guidance_scale is None else model.guidance_scale,
        "sampler": _label(model.sampler or family.sampler),
    }


def _label(sampler: str) -> str:
    """The app's name of a sampler; its own where the app has none."""
    found, schedule = find_sampler(sampler)
    pair = (found.name, AUTOMATIC if schedule is None else schedule.name)
    return next((each for each in SAMPLERS if pair_of(each) == pair), sampler)


def pair_of(label: str) -> tuple[str, str]:
    """Sampler and schedule that a name of the app stands for: one of `SAMPLERS`."""
    return _PAIRS[label.replace("+", "P").replace(" ", "").casefold()]

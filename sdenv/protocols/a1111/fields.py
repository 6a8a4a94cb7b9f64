"""Every field of a txt2img and img2img body: its default, and what in it asks for nothing.

Source: AUTOMATIC1111/stable-diffusion-webui, `modules/api/models.py`. Unknown keys are ignored there, and
clients rely on it; here they are ignored and named in the answer.
"""

from collections.abc import Mapping
from typing import Any, Final

from sdenv.protocols.a1111.values import Body

COMMON: Final[Mapping[str, Any]] = {
    "prompt": "",
    "negative_prompt": "",
    "styles": [],
    "seed": -1,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "sampler_name": None,
    "sampler_index": "Euler",
    "scheduler": None,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "restore_faces": None,
    "tiling": None,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "eta": None,
    "denoising_strength": 0.75,
    "s_min_uncond": None,
    "s_churn": None,
    "s_tmax": None,
    "s_tmin": None,
    "s_noise": None,
    "override_settings": {},
    "override_settings_restore_afterwards": True,
    "refiner_checkpoint": None,
    "refiner_switch_at": None,
    "disable_extra_networks": False,
    "comments": None,
    "script_name": None,
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
    "force_task_id": None,
    "infotext": None,
}

TXT2IMG: Final[Mapping[str, Any]] = {
    **COMMON,
    "enable_hr": False,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "hr_scale": 2.0,
    "hr_upscaler": None,
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "hr_checkpoint_name": None,
    "hr_sampler_name": None,
    "hr_scheduler": None,
    "hr_prompt": "",
    "hr_negative_prompt": "",
}

IMG2IMG: Final[Mapping[str, Any]] = {
    **COMMON,
    "init_images": None,
    "resize_mode": 0,
    "image_cfg_scale": None,
    "mask": None,
    "mask_blur": None,
    "mask_blur_x": 4,
    "mask_blur_y": 4,
    "inpainting_fill": 0,
    "inpaint_full_res": True,
    "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": 0,
    "initial_noise_multiplier": None,
    "latent_mask": None,
    "include_init_images": False,
}

EXACT_HEADER: Final = "X-Sdenv-Exact"
"""Our own client sends it: refuse what cannot be done, as the native API does. AUTOMATIC1111 ignores it."""

_USED: Final = frozenset(
    {
        "prompt",
        "negative_prompt",
        "seed",
        "sampler_name",
        "sampler_index",
        "scheduler",
        "batch_size",
        "n_iter",
    }
    | {"steps", "cfg_scale", "width", "height", "denoising_strength", "override_settings", "infotext"}
    | {"enable_hr", "hr_scale", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "init_images", "mask"}
    | {"resize_mode", "mask_blur", "mask_blur_x", "mask_blur_y", "inpainting_mask_invert"}
    | {"include_init_images", "disable_extra_networks", "script_name", "send_images", "force_task_id"}
    | {"alwayson_scripts"}
)
"""Fields that are mapped, one by one, elsewhere."""

_NOTHING_TO_DO: Final = frozenset(
    {"do_not_save_samples", "do_not_save_grid", "save_images", "override_settings_restore_afterwards"}
    | {"script_args", "comments", "subseed", "refiner_switch_at", "inpaint_full_res_padding"}
    | {"firstphase_width", "firstphase_height"}
)
"""Fields that ask for what is done anyway, or that mean nothing without another."""

_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "styles": ([],),
    "subseed_strength": (0,),
    "seed_resize_from_h": (-1, 0),
    "seed_resize_from_w": (-1, 0),
    "restore_faces": (False,),
    "tiling": (False,),
    "eta": (0, 1),
    "s_min_uncond": (0,),
    "s_churn": (0,),
    "s_tmax": (0,),
    "s_tmin": (0,),
    "s_noise": (1,),
    "refiner_checkpoint": ("", "None"),
    "image_cfg_scale": (0, 1.5),
    "inpainting_fill": (1,),
    "inpaint_full_res": (False,),
    "initial_noise_multiplier": (0, 1),
    "latent_mask": ("",),
    "hr_upscaler": ("", "None", "Latent"),
    "hr_checkpoint_name": ("", "Use same checkpoint"),
    "hr_sampler_name": ("", "Use same sampler"),
    "hr_scheduler": ("", "Use same scheduler"),
    "hr_prompt": ("",),
    "hr_negative_prompt": ("",),
}
"""Values, beside null, with which a field asks for nothing that is not done anyway."""

_OF_MASK: Final = frozenset({"inpainting_fill", "inpaint_full_res", "latent_mask"})


def ignored_names(body: Body, known: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a body that ask for something and get nothing, unknown ones included.

    Args:
        body: As it came.
        known: TXT2IMG or IMG2IMG.
    """
    return tuple(
        name for name, value in body.items() if value is not None and _asks_in_vain(name, body, known)
    )


def _asks_in_vain(name: str, body: Body, known: Mapping[str, Any]) -> bool:
    if name in _USED or name in _NOTHING_TO_DO:
        return False
    if name not in known:
        return True
    if name in _OF_MASK and not body.get("mask"):
        return False
    if name.startswith("hr_") and not body.get("enable_hr"):
        return False
    return body[name] not in _NEUTRAL[name]


def echo(body: Body, known: Mapping[str, Any]) -> dict[str, Any]:
    """`parameters` of the answer: every field with its value or default, pictures left out."""
    said = {name: body[name] for name in known if body.get(name) is not None}
    merged = {**known, **said}
    if not said.get("include_init_images"):
        merged |= {name: None for name in ("init_images", "mask", "latent_mask") if name in known}
    scripts = merged["alwayson_scripts"]
    merged["alwayson_scripts"] = {str(name): {"args": []} for name in scripts} if scripts else {}
    return merged

"""A body of `POST /sdcpp/v1/img_gen` as the request that it stands for, and the other way round."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sdenv.core.errors import UnsupportedError
from sdenv.core.image import ImageData
from sdenv.core.privacy import name_only
from sdenv.core.request import GenerationRequest, parse_request
from sdenv.protocols.inline import as_base64, inline_picture
from sdenv.protocols.loose_fields import LooseFields, fault
from sdenv.protocols.sdcpp.output import FORMATS, MAX_COMPRESSION, Output

CARRIES: Final = frozenset(
    {"prompt", "negative_prompt", "model", "width", "height", "steps", "guidance_scale", "seed", "sampler"}
    | {"schedule", "count", "init_image", "mask", "strength", "loras", "clip_skip", "hires", "references"}
)
"""What a body can say; `model` is OURS, since the original has one. Not among it: `batch_size`, `upscale`,
`vae`, `extensions`; nor `controls`, since `control_image` does not say of which type it is."""

_TABLES: Final = frozenset(
    {"sample_params", "sample_params.guidance", "sample_params.guidance.slg", "hires", "vae_tiling_params"}
)
"""Objects inside a body; their fields are named with dots."""

_REFUSED: Final = ("control_image", "ip_adapter_image")
"""Pictures that the result would be wrong without."""

_UNSAID: Final = frozenset({"", "default", "auto"})
_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "sample_params.eta": (0, 1),
    "sample_params.shifted_timestep": (0,),
    "sample_params.flow_shift": (0,),
    "sample_params.guidance.distilled_guidance": (3.5,),
    "sample_params.guidance.slg.scale": (0,),
    "hires.upscaler": ("Latent", "None"),
    "vae_tiling_params.enabled": (False,),
    "vae_tiling_params.temporal_tiling": (False,),
    "cache_mode": ("disabled",),
    "preview": ("none",),
    "auto_resize_ref_image": (True,),
    "increase_ref_index": (False,),
}
"""Values, beside empty ones, with which a field asks for nothing that is not done anyway."""

_OF_OTHERS: Final = re.compile(
    r"sample_params\.guidance\.(?:slg\.layer.*|img_cfg)|vae_tiling_params\.(?!enabled|temporal_tiling).*"
    r"|hires\.upscale_tile_size|scm_.*|cache_option|preview_interval|(?:control|ip_adapter)_strength"
)
"""Fields that mean nothing without another."""

_SUFFIX: Final = re.compile(r"\.(?:safetensors|ckpt|gguf|pt)$", re.IGNORECASE)
_SHOWN_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """What a body asks for.

    Attributes:
        request: What is wanted.
        output: The files to answer.
        ignored: Names of fields that asked for something and have no effect.
    """

    request: GenerationRequest
    output: Output = field(default_factory=Output)
    ignored: tuple[str, ...] = ()


def ask_of(body: Mapping[str, Any]) -> Ask:
    """What a body asks for: null is absent, numbers may stand in strings, a picture is base64 or a data URI.

    UNVERIFIED: that a body without a prompt is accepted; here it asks for an unconditional picture. The sense
    of `mask_image`, white = repaint, is UNVERIFIED too.

    Raises:
        InvalidRequest: A value is wrong; `why` begins with the name of the field.
        BadImage: A picture is none, or an address.
        UnsupportedError: There is a picture that cannot be used, and the result would be wrong without it.
    """
    fields = LooseFields(dict(_flat(body)))
    for name in _REFUSED:
        if fields.take(name)[1] not in (None, ""):
            raise UnsupportedError(
                "This picture cannot be used here.", why=f"{name}: not possible in this API."
            )
    output = _output(fields)
    values, ignored = _pictures(fields)
    more, rest = _hires(fields)
    sizes = {name: _positive(fields.integer(name)) for name in ("width", "height")}
    scale = more.pop("target", None)
    if scale is not None:
        rest = (*rest, *_scaled(more, scale, sizes))
    hires = {"hires": more} if more.get("scale") else {}
    values |= _plain(fields) | sizes | hires | {"loras": tuple(_loras(fields))}
    request = parse_request({name: value for name, value in values.items() if value is not None})
    left = [name for name, value in fields.left().items() if not _asks_nothing(name, value)]
    return Ask(request, output, (*ignored, *rest, *left)[:_SHOWN_NAMES])


def _flat(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in body.items():
        name = f"{prefix}{key}"
        if name not in _TABLES or value is None:
            yield name, value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            raise fault(name, "must be an object")


def _plain(fields: LooseFields) -> dict[str, Any]:
    return {
        "prompt": fields.text("prompt"),
        "negative_prompt": fields.text("negative_prompt"),
        "model": fields.name("model"),
        "clip_skip": _positive(fields.integer("clip_skip")),
        "seed": _unless_negative(fields.integer("seed")),
        "count": fields.integer("batch_count"),
        "steps": fields.integer("sample_params.sample_steps"),
        "sampler": _unless_default(fields.name("sample_params.sample_method")),
        "schedule": _unless_default(fields.name("sample_params.scheduler")),
        "guidance_scale": fields.number("sample_params.guidance.txt_cfg"),
    }


def _positive(value: int | None) -> int | None:
    """-1 and 0 say "you decide"."""
    return None if value is not None and value <= 0 else value


def _unless_negative(value: int | None) -> int | None:
    return None if value is not None and value < 0 else value


def _unless_default(name: str | None) -> str | None:
    return None if name is None or name.casefold() in _UNSAID else name


def _output(fields: LooseFields) -> Output:
    word = fields.choice("output_format", {**{each: each for each in FORMATS}, "jpg": "jpeg"})
    quality = fields.integer("output_compression")
    clamped = MAX_COMPRESSION if quality is None else min(max(quality, 0), MAX_COMPRESSION)
    return Output(word or "png", clamped, fields.boolean("embed_image_metadata") is not False)


def _pictures(fields: LooseFields) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Init image, mask, strength and references; a strength without a picture asks for nothing."""
    init, mask = _picture(fields, "init_image"), _picture(fields, "mask_image")
    strength = fields.number("strength")
    name, references = fields.take("ref_images")
    if references is not None and not isinstance(references, list):
        raise fault(name, "must be a list")
    found = [_decoded(each, f"{name}.{index}") for index, each in enumerate(references or ())]
    values: dict[str, Any] = {"references": tuple(found)}
    if init is None:
        return values, ("mask_image",) if mask is not None else ()
    return values | {"init_image": init, "mask": mask, "strength": strength}, ()


def _picture(fields: LooseFields, name: str) -> ImageData | None:
    value = fields.take(name)[1]
    return None if value in (None, "") else _decoded(value, name)


def _decoded(value: Any, name: str) -> ImageData:
    if not isinstance(value, str):
        raise fault(name, "must be a picture as base64")
    return inline_picture(value, name)


def _hires(fields: LooseFields) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The second pass, its size perhaps as `target`; and what of it is left out."""
    enabled = fields.boolean("hires.enabled")
    scale = fields.number("hires.scale")
    steps, strength = fields.integer("hires.steps"), fields.number("hires.denoising_strength")
    across, down = (fields.integer(f"hires.target_{side}") or 0 for side in ("width", "height"))
    if not enabled:
        fields.take("hires.upscaler")
        return {}, ()
    found: dict[str, Any] = {"scale": 2.0 if scale is None else scale}
    found |= {"steps": steps} if steps else {}
    found |= {} if strength is None else {"strength": strength}
    if across > 0 or down > 0:
        found["target"] = (across, down)
    elif found["scale"] <= 1:
        return {}, ("hires.scale",)
    return found, ()


def _scaled(
    hires: dict[str, Any], target: tuple[int, int], sizes: Mapping[str, int | None]
) -> tuple[str, ...]:
    """Makes a factor of a target size; names of what cannot be so."""
    ratios = [
        wanted / side for wanted, side in zip(target, (sizes["width"], sizes["height"]), strict=True) if side
    ]
    if not ratios or max(ratios) <= 1:
        hires.clear()
        return ("hires.target_width", "hires.target_height")
    hires["scale"] = max(ratios)
    return ()


def _loras(fields: LooseFields) -> Iterator[dict[str, Any]]:
    """The adapters, by name: an absolute path means nothing here but its last part."""
    rows = fields.take("lora")[1]
    for index, each in enumerate(rows if isinstance(rows, list) else [] if rows is None else [rows]):
        row = LooseFields(each) if isinstance(each, Mapping) else None
        said = None if row is None else row.name("path", "name")
        if row is None or said is None:
            raise fault(f"lora.{index}", "must be an object with a path")
        weight = row.number("multiplier")
        yield {"name": _SUFFIX.sub("", name_only(said)), "weight": 1.0 if weight is None else weight}


def _asks_nothing(name: str, value: Any) -> bool:
    if value in ("", [], {}) or _OF_OTHERS.fullmatch(name):
        return True
    return not isinstance(value, (list, dict)) and value in _NEUTRAL.get(name, ())


def body_of(request: GenerationRequest, output: Output = Output()) -> dict[str, Any]:  # noqa: B008 - frozen
    """The body that asks for a request of the fields in CARRIES."""
    sample = {
        "sample_steps": request.steps,
        "sample_method": request.sampler,
        "scheduler": request.schedule,
        "guidance": None if request.guidance_scale is None else {"txt_cfg": request.guidance_scale},
    }
    hires = None
    if request.hires is not None:
        hires = {"enabled": True, "scale": request.hires.scale, "denoising_strength": request.hires.strength}
        hires |= {"steps": request.hires.steps} if request.hires.steps else {}
    body = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "model": request.model,
        "width": request.width,
        "height": request.height,
        "seed": request.seed,
        "batch_count": request.count,
        "clip_skip": request.clip_skip,
        "strength": request.strength,
        "init_image": as_base64(request.init_image) if request.init_image else None,
        "mask_image": as_base64(request.mask) if request.mask else None,
        "ref_images": [as_base64(each) for each in request.references] or None,
        "lora": [{"path": each.name, "multiplier": each.weight} for each in request.loras] or None,
        "sample_params": {name: value for name, value in sample.items() if value is not None},
        "hires": hires,
        "output_format": output.output_format,
        "output_compression": output.quality,
        "embed_image_metadata": output.metadata,
    }
    return {name: value for name, value in body.items() if value is not None}

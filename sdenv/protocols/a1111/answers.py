"""The answer to txt2img and img2img: pictures, the echo of the body, and the info text, which is JSON again.

Source: AUTOMATIC1111/stable-diffusion-webui, `modules/processing.py` (Processed.js) and `modules/api/api.py`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from sdenv import __version__
from sdenv.core.errors import BadImage, PeerBrokeProtocol
from sdenv.core.image import ImageData
from sdenv.core.request import MAX_SEED, GenerationRequest, ResolvedRequest
from sdenv.core.samplers import AUTOMATIC
from sdenv.protocols.a1111.asking import Ask
from sdenv.protocols.inline import as_base64, inline_picture
from sdenv.protocols.parameters import decode_parameters, encode_parameters, parameters_of

NOTES: Final = "Notes"
"""Key of `extra_generation_params` under which it is said what was changed or left out."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a body.

    Attributes:
        resolved: What was made, nothing left open; None = nothing came so far.
        seeds: Of the pictures that exist, in their order.
        size: Width and height in pixels of the pictures.
        model_hash: As in GenerationResult.
        began_at: UTC, seconds since 1970.
        notes: What a person should know, one sentence each.
    """

    resolved: ResolvedRequest | None
    seeds: tuple[int, ...]
    size: tuple[int, int]
    model_hash: str = ""
    began_at: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says, for the client.

    Attributes:
        pictures: As they came, with texts inside.
        seeds: One for each picture, if the server tells them.
        info: The info text taken apart; empty where it is no JSON.
        infotext: The parameters of the first picture, by key.
    """

    pictures: tuple[ImageData, ...]
    seeds: tuple[int, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    infotext: Mapping[str, str] = field(default_factory=dict)


def answer_record(ask: Ask, made: Made, pictures: Sequence[ImageData]) -> dict[str, Any]:
    """The whole answer.

    Args:
        ask: What was asked for.
        made: What came of it.
        pictures: The files, with texts inside, in the format asked for.
    """
    return {
        "images": [as_base64(each) for each in pictures] if ask.send_images else [],
        "parameters": dict(ask.parameters),
        "info": json.dumps(info_record(ask, made)),
    }


def info_record(ask: Ask, made: Made) -> dict[str, Any]:
    """The info text before it becomes a text."""
    request, done = ask.request, made.resolved
    prompt = ask.parameters.get("prompt") or request.prompt
    negative = request.negative_prompt or ""
    many = len(made.seeds)
    notes = " ".join(made.notes)
    return {
        "prompt": prompt,
        "all_prompts": [prompt] * many,
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * many,
        "seed": made.seeds[0] if many else _seed(done, request),
        "all_seeds": list(made.seeds),
        "subseed": -1,
        "all_subseeds": [-1] * many,
        "subseed_strength": 0,
        "width": made.size[0],
        "height": made.size[1],
        "sampler_name": request.sampler if done is None else done.sampler,
        "cfg_scale": request.guidance_scale if done is None else done.guidance_scale,
        "steps": request.steps if done is None else done.steps,
        "batch_size": request.batch_size if done is None else done.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": request.model if done is None else done.model,
        "sd_model_hash": made.model_hash or None,
        "sd_vae_name": request.vae,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": _denoising(request, done),
        "extra_generation_params": _extra(done, notes),
        "index_of_first_image": 0,
        "infotexts": _infotexts(made, notes),
        "styles": list(ask.parameters.get("styles") or []),
        "job_timestamp": datetime.fromtimestamp(made.began_at, UTC).strftime("%Y%m%d%H%M%S"),
        "clip_skip": (done.clip_skip if done is not None else request.clip_skip) or 1,
        "is_using_inpainting_conditioning": False,
        "version": f"sdenv {__version__}",
    }


def _seed(done: ResolvedRequest | None, request: GenerationRequest) -> int:
    if done is not None:
        return done.seed
    return -1 if request.seed is None else request.seed


def _denoising(request: GenerationRequest, done: ResolvedRequest | None) -> float | None:
    if done is not None and done.strength is not None:
        return done.strength
    return request.hires.strength if request.hires else request.strength


def _extra(done: ResolvedRequest | None, notes: str) -> dict[str, Any]:
    found = {} if done is None else {"Schedule type": done.schedule}
    return found | ({NOTES: notes} if notes else {})


def _infotexts(made: Made, notes: str) -> list[str]:
    if made.resolved is None:
        return []
    texts: list[str] = []
    for seed in made.seeds:
        said = parameters_of(
            made.resolved, seed=seed, model_hash=made.model_hash, version=f"sdenv {__version__}"
        )
        values = dict(said.values) | {"Size": f"{made.size[0]}x{made.size[1]}"}
        values |= {NOTES: notes} if notes else {}
        texts.append(encode_parameters(type(said)(said.prompt, said.negative_prompt, values)))
    return texts


# The client's side


def answer_of(record: Any) -> Answer:
    """What an answer says.

    The info text may be empty (stable-diffusion.cpp) or absent (the Draw Things app): then nothing is known
    but the pictures.

    Raises:
        PeerBrokeProtocol: It is not an answer.
    """
    try:
        images = [str(each) for each in record["images"]]
        info = _info(record.get("info"))
        first = int(info.get("index_of_first_image") or 0)  # before it may be a grid
        pictures = tuple(inline_picture(each, "the server's picture") for each in images[first:])
        seeds = tuple(int(each) % (MAX_SEED + 1) for each in info.get("all_seeds") or ())
        texts = info.get("infotexts") or [""]
        return Answer(pictures, seeds, info, decode_parameters(str(texts[min(first, len(texts) - 1)])).values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, BadImage) as error:
        raise PeerBrokeProtocol("The server's answer cannot be read.", why=f"{error!r}."[:200]) from error


def _info(value: Any) -> Mapping[str, Any]:
    try:
        info = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return {}
    return info if isinstance(info, Mapping) else {}


def resolved_of(request: GenerationRequest, answer: Answer) -> ResolvedRequest:
    """What the server has made, as far as it tells, and what it was asked for elsewhere.

    Args:
        request: What was asked for: one part of what the user wants, as `body_of` takes it.
        answer: What came.

    Raises:
        PeerBrokeProtocol: It tells something that cannot be.
    """
    info, text = answer.info, answer.infotext
    said: dict[str, Any] = {name: getattr(request, name) for name in request.said()}
    told = {
        "model": info.get("sd_model_name"),
        "width": info.get("width"),
        "height": info.get("height"),
        "steps": info.get("steps"),
        "guidance_scale": info.get("cfg_scale"),
        "sampler": info.get("sampler_name"),
        "schedule": text.get("Schedule type"),
        "seed": answer.seeds[0] if answer.seeds else None,
        "strength": info.get("denoising_strength") if request.init_image is not None else None,
    }
    unknown = {"model": "unknown", "sampler": "unknown", "schedule": AUTOMATIC, "seed": 0, "batch_size": 1}
    merged = unknown | said | {name: value for name, value in told.items() if value not in (None, "")}
    merged["negative_prompt"] = request.negative_prompt or ""
    try:
        return ResolvedRequest.model_validate(merged)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}."
        raise PeerBrokeProtocol("The server's answer tells something that cannot be.", why=why) from error

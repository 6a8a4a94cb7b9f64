"""The words of OpenAI's images API, and which of them sdenv's own fields are.

Source: openai/openai-openapi, schemas CreateImageRequest, CreateImageEditRequest, ImagesResponse and
Image*Event; the extensions are those that clients of local servers send through `extra_body`.
"""

from collections.abc import Mapping
from typing import Final

from sdenv.core.image import JPEG, PNG, WEBP

PREFIX: Final = "/v1"
GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
VARIATIONS: Final = "/v1/images/variations"
MODELS: Final = "/v1/models"
FILES: Final = "/files"
"""Where pictures that are answered as `url` lie; not under /v1, since nobody needs a token for them."""

STANDARD: Final = frozenset({"prompt", "model", "width", "height", "count", "init_image", "mask"})
"""Request fields that every server of this API takes."""

EXTENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "negative_prompt": ("negative_prompt",),
    "steps": ("steps", "num_inference_steps", "sample_steps"),
    "guidance_scale": ("guidance_scale", "cfg_scale", "cfg"),
    "seed": ("seed",),
    "sampler": ("sampler", "sampler_name", "sample_method"),
    "schedule": ("schedule", "scheduler"),
    "strength": ("strength", "denoising_strength"),
    "clip_skip": ("clip_skip",),
    "batch_size": ("batch_size",),
}
"""Further request fields and what clients call them, ours first: what sdenv's own client sends."""

CARRIES: Final = STANDARD | frozenset(EXTENSIONS)
"""What goes through between an sdenv client and an sdenv server."""

FORMATS: Final[Mapping[str, str]] = {"png": PNG, "jpeg": JPEG, "webp": WEBP}
"""Media types by `output_format`."""

MAX_PARTIAL_IMAGES: Final = 3
MAX_IMAGES: Final = 16  # pictures that an edit may be given
MAX_COMPRESSION: Final = 100

MODEL_HEADER: Final = "X-Sdenv-Model"
"""The model that was really used (OURS-7)."""
IGNORED_HEADER: Final = "X-Sdenv-Ignored"
"""Fields of the request that had no effect, separated by commas."""
NOTICE_HEADER: Final = "X-Sdenv-Notice"
"""What a person should know, as `code: message`, separated by semicolons: `size-fitted` and the like."""

EXACT_HEADER: Final = "X-Sdenv-Exact"
"""With the value `true` in a request: refuse what cannot be made as it is, instead of making what is near it.
Other clients expect something for whatever they ask; sdenv's own sends it, since it refuses by itself."""

EXTENSION: Final = "sdenv"
"""The key under which our own server says more than the API has words for."""

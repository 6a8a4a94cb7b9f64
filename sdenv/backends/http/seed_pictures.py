"""What a picture of the seed dialect says about itself: much if sdenv made it, else nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from sdenv.core.errors import BadImage, BadMetadata, PeerBrokeProtocol
from sdenv.core.image import PNG, ImageData, size_of
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.core.samplers import AUTOMATIC
from sdenv.protocols import seed
from sdenv.protocols.png_text import png_texts, png_without_texts
from sdenv.protocols.provenance import decode_provenance

TEXTS: Final = ("parameters", "sdenv")
"""What sdenv writes into a picture; taken out again, since it is written anew where the picture is saved."""

ORIGINAL: Final[Mapping[str, Any]] = {
    "model": seed.MODEL,
    "steps": 50,
    "guidance_scale": 7.5,
    "sampler": "DDIM",
    "schedule": AUTOMATIC,
}
"""How the original makes every picture. UNVERIFIED: the sampler, which is the default of its model."""


@dataclass(frozen=True, slots=True)
class FromServer:
    """A picture and how it was made.

    Attributes:
        picture: Without texts of sdenv.
        resolved: How it was made, as far as it is told.
        is_told: Whether it is told; else it is what the original is known to do, and the seed is a 0.
        model_hash: As in GenerationResult.
        made_with: As in GenerationResult.
    """

    picture: ImageData
    resolved: ResolvedRequest
    is_told: bool
    model_hash: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)


def resolved_from(request: GenerationRequest, result: seed.Result) -> FromServer:
    """The picture of a result, and how it was made.

    Raises:
        PeerBrokeProtocol: It is not a picture.
    """
    try:
        image = seed.picture_in(result)
        width, height = size_of(image, "the server's picture")
        texts = png_texts(image.data) if image.media_type == PNG else {}
        own = decode_provenance(texts.get("sdenv", ""))
    except (BadImage, BadMetadata) as error:
        raise PeerBrokeProtocol("The server sent what is not a picture.", why=error.what) from error
    values = dict(own.values) if own is not None else dict(ORIGINAL)
    values |= {"width": width, "height": height, "count": 1, "batch_size": 1}
    values |= {
        "prompt": request.prompt,
        "seed": values.get("seed", 0) if own is not None else result.seed or 0,
    }
    try:
        resolved = ResolvedRequest.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise PeerBrokeProtocol("What the server's picture says about itself cannot be.") from error
    bare = image.model_copy(update={"data": png_without_texts(image.data, TEXTS)}) if texts else image
    is_told = own is not None or result.seed is not None
    return FromServer(
        bare,
        resolved,
        is_told,
        own.model_hash if own is not None else "",
        own.made_with if own is not None else {},
    )

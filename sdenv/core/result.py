"""What a finished job hands back."""

from pydantic import BaseModel, ConfigDict, Field

from sdenv.core.image import ImageData
from sdenv.core.request import ResolvedRequest


class GenerationResult(BaseModel):
    """The pictures of one request and how they were made.

    Attributes:
        images: One per picture asked for, in order of index.
        resolved: The request with nothing left open.
        backend: Name of the backend that did the work.
        model_hash: First 10 hex digits of the SHA-256 of the weights, as AUTOMATIC1111 writes it; "" if
        unknown.
        made_with: Facts that decide about the last bit: device, precision, versions; no names of people or
        places.
        seconds: Wall time of the work, model loading not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: tuple[ImageData, ...]
    resolved: ResolvedRequest
    backend: str
    model_hash: str = ""
    made_with: dict[str, str] = Field(default_factory=dict)
    seconds: float = Field(ge=0.0)

"""A request in the database: its fields as JSON, its input pictures beside it, each kept once."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.protocols.provenance import put_picture

_PICTURE_FIELDS: Final = frozenset({"init_image", "mask", "controls", "references"})
_WITHOUT_PICTURES: Final[Any] = {
    "init_image": True,
    "mask": True,
    "references": True,
    "controls": {"__all__": {"image"}},
}


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request taken apart.

    Attributes:
        values: The fields that were said, as JSON values, `{"sha256": ...}` for each picture.
        inputs: The pictures by SHA-256.
    """

    values: Mapping[str, Any]
    inputs: Mapping[str, ImageData]

    @property
    def text(self) -> str:
        """The values as JSON, the same for the same request."""
        return json.dumps(self.values, sort_keys=True, separators=(",", ":"))

    @property
    def fingerprint(self) -> str:
        """The same for the same request, pictures byte for byte."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def input_bytes(self) -> int:
        """Size of the pictures."""
        return sum(len(each.data) for each in self.inputs.values())


def taken_apart(request: GenerationRequest | ResolvedRequest) -> StoredRequest:
    """The request without its pictures, and the pictures."""
    said = request.said() if isinstance(request, GenerationRequest) else set(type(request).model_fields)
    values = request.model_dump(mode="json", include=set(said), exclude=_WITHOUT_PICTURES)
    if request.references:
        values["references"] = [None] * len(request.references)
    inputs: dict[str, ImageData] = {}
    for name, picture in _pictures(request):
        digest = hashlib.sha256(picture.data).hexdigest()
        inputs[digest] = picture
        put_picture(values, name, {"sha256": digest})
    return StoredRequest(values, inputs)


def put_together(values: Mapping[str, Any], inputs: Mapping[str, ImageData]) -> GenerationRequest:
    """The request that was taken apart."""
    whole = dict(values)
    for name in ("init_image", "mask"):
        if name in whole:
            whole[name] = inputs[whole[name]["sha256"]]
    if "references" in whole:
        whole["references"] = tuple(inputs[each["sha256"]] for each in whole["references"])
    if "controls" in whole:
        whole["controls"] = tuple(
            {**each, "image": inputs[each["image"]["sha256"]]} for each in whole["controls"]
        )
    return GenerationRequest.model_validate(whole)


def again(
    request: GenerationRequest, resolved: Mapping[str, Any], carried: Iterable[str]
) -> GenerationRequest:
    """What a second try asks for: what was said as it was said, and the first try's decisions for the rest.

    So the pixels are the same, and what had to be left out or fitted is so again, with the same notices.

    Args:
        request: What was asked for.
        resolved: What the first try made of it, as JSON values.
        carried: The fields that the backend takes.
    """
    said = request.said()
    decided = set(carried) - said - _PICTURE_FIELDS - {"extensions"}
    if said & {"width", "height"}:
        decided -= {"width", "height"}  # one side alone means a square, or the init image's shape
    if request.init_image is None:
        decided -= {"strength"}
    known = {name: value for name, value in resolved.items() if name in decided}
    return GenerationRequest.model_validate({**known, **{name: getattr(request, name) for name in said}})


def _pictures(request: GenerationRequest | ResolvedRequest) -> Iterable[tuple[str, ImageData]]:
    """Each picture with its place, as `protocols.provenance.MissingInput` names it."""
    for name, picture in (("init_image", request.init_image), ("mask", request.mask)):
        if picture is not None:
            yield name, picture
    for index, control in enumerate(request.controls):
        yield f"controls.{index}", control.image
    for index, reference in enumerate(request.references):
        yield f"references.{index}", reference

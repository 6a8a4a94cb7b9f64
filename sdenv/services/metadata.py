"""How a picture was made, inside the picture: written for other tools and for ourselves, and read back.

Two texts go into a PNG: `parameters`, which AUTOMATIC1111 and the readers made for it understand, and
`sdenv`, the exact request, from which `--from` makes the same pixels again. JPEG and WebP carry the first
as EXIF UserComment.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sdenv
from sdenv.core.errors import BadImage, BadMetadata, InvalidRequest
from sdenv.core.image import MAX_ENCODED_BYTES, PNG, ImageData, exif_value, orientation_of
from sdenv.core.privacy import name_only
from sdenv.core.request import MAX_SEED, GenerationRequest, parse_request_json
from sdenv.protocols.containers import (
    MAX_JPEG_EXIF_BYTES,
    USER_COMMENT_MARK,
    user_comment_exif,
    with_exif,
)
from sdenv.protocols.foreign_metadata import MISSING, READERS
from sdenv.protocols.parameters import decode_parameters, encode_parameters, parameters_of, request_values
from sdenv.protocols.png_text import png_texts, png_with_texts
from sdenv.protocols.provenance import (
    MissingInput,
    PictureFacts,
    Provenance,
    decode_provenance,
    encode_provenance,
    missing_inputs,
    put_picture,
    without_inputs,
)

OWN: Final = "sdenv"
PARAMETERS: Final = "parameters"
FITTED_TO: Final = "fitted_to"
"""Key in a picture's `made_with` that keeps the size that was asked for, where it was fitted to that."""

_EXIF_DIRECTORY: Final = 0x8769
_USER_COMMENT: Final = 0x9286


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a picture says about how it was made.

    Attributes:
        request: What to ask for, as far as it can be asked without the missing inputs.
        source: Which text said it: `sdenv`, `parameters`, ...
        index: Which of the request's pictures it is; the others are made with it because they shared a batch.
        missing: Inputs that must be given again for the same picture.
        backend: Kind of backend that made it; "" = unknown.
        model_hash: As in PictureFacts.
        version: What made it; "" = unknown.
        made_with: As in PictureFacts.
        values: The whole request as JSON values, `{"sha256": ...}` standing for each missing input.
    """

    request: GenerationRequest
    source: str
    index: int = 0
    missing: tuple[MissingInput, ...] = ()
    backend: str = ""
    model_hash: str = ""
    version: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int | None:
        """The seed of this picture; that of the request is the seed of the first."""
        first = self.request.seed
        return None if first is None else (first + self.index) % (MAX_SEED + 1)

    def with_inputs(self, inputs: Mapping[str, ImageData]) -> GenerationRequest:
        """The complete request.

        Args:
            inputs: The missing inputs by the field of their MissingInput.

        Raises:
            BadMetadata: One is not given, or is not the picture that was used.
        """
        values = json.loads(json.dumps(self.values))
        for missing in self.missing:
            given = inputs.get(missing.field)
            if given is None:
                raise _not_inside(missing)
            _compare(missing, given)
            put_picture(values, missing.field, given.model_dump(mode="json"))
        return parse_request_json(json.dumps(values))


def _not_inside(missing: MissingInput) -> BadMetadata:
    name = missing.field.replace("_", " ")
    return BadMetadata(
        f"The {name} that this picture was made from is not inside it.",
        why=f"Its SHA-256 begins with {missing.sha256[:16]}." if missing.sha256 else "",
        hint="Give the file again: --" + missing.field.replace("_", "-") + " FILE",
    )


def _compare(missing: MissingInput, given: ImageData) -> None:
    found = hashlib.sha256(given.data).hexdigest()
    if missing.sha256 and found != missing.sha256:
        raise BadMetadata(
            f"The {missing.field.replace('_', ' ')} is not the one that this picture was made from.",
            why=f"Its SHA-256 begins with {found[:16]}, that of the other with {missing.sha256[:16]}.",
            hint="Give the original file, byte for byte.",
        )


def with_metadata(picture: ImageData, made: PictureFacts) -> ImageData:
    """The same picture, not a pixel changed, with how it was made inside.

    Where it would not fit (64 KiB in a JPEG) it is left out.
    """
    shown = parameters_of(
        made.resolved.model_copy(update={"model": name_only(made.resolved.model)}),
        seed=made.seed,
        model_hash=made.model_hash,
        version=f"sdenv {sdenv.__version__}",
    )
    text = encode_parameters(shown)
    if picture.media_type == PNG:
        texts = {PARAMETERS: text, OWN: encode_provenance(made)}
        return picture.model_copy(update={"data": png_with_texts(picture.data, texts)})
    exif = user_comment_exif(text, orientation_of(picture))
    return picture if len(exif) > MAX_JPEG_EXIF_BYTES else with_exif(picture, exif)


def with_metadata_of(picture: ImageData, original: ImageData) -> ImageData:
    """A picture in another format, with what the original says about how it was made.

    Only as far as its format carries it: in a JPEG or WebP without sdenv's own text.
    """
    texts = png_texts(original.data) if original.media_type == PNG else {PARAMETERS: _user_comment(original)}
    kept = {keyword: texts[keyword] for keyword in (PARAMETERS, OWN) if texts.get(keyword)}
    if picture.media_type == PNG:
        return picture.model_copy(update={"data": png_with_texts(picture.data, kept)})
    exif = user_comment_exif(kept.get(PARAMETERS, ""))
    return picture if PARAMETERS not in kept or len(exif) > MAX_JPEG_EXIF_BYTES else with_exif(picture, exif)


def infotext_of(picture: ImageData) -> tuple[str, dict[str, str]]:
    """AUTOMATIC1111's text in a picture, "" where there is none; and all other texts by keyword."""
    texts = png_texts(picture.data) if picture.media_type == PNG else {}
    return texts.pop(PARAMETERS, "") or _user_comment(picture), texts


def read_metadata(data: bytes) -> Recovered:
    """What a picture says about how it was made: sdenv's own text first, then those of other programs.

    Raises:
        BadImage: Not a PNG, JPEG or WebP.
        BadMetadata: It says nothing, or a newer sdenv wrote it.
        InvalidRequest: It asks for something outside the limits.
    """
    if len(data) > MAX_ENCODED_BYTES:
        raise BadImage(f"The picture has {len(data)} bytes; the limit is {MAX_ENCODED_BYTES}.")
    picture = ImageData.from_bytes(data)
    texts = png_texts(data) if picture.media_type == PNG else {}
    if (own := decode_provenance(texts.get(OWN, ""))) is not None:
        return _recovered(own, OWN)
    if (found := _from_parameters(texts.get(PARAMETERS, ""))) is not None:
        return _recovered(found, PARAMETERS)
    for source, read in READERS:
        if (values := read(texts)) is not None:
            return _recovered(Provenance(values), source)
    if (found := _from_parameters(_user_comment(picture))) is not None:
        return _recovered(found, "UserComment")
    raise BadMetadata(
        "The picture does not say how it was made.",
        why=f"It holds the texts {', '.join(texts)}." if texts else "It holds no text.",
        hint="Many services and editors remove it; use the file as it was saved.",
    )


def _recovered(found: Provenance, source: str) -> Recovered:
    missing = missing_inputs(found.values)
    try:
        request = parse_request_json(json.dumps(without_inputs(found.values, missing)))
    except InvalidRequest as error:
        what = f"What the picture says about itself ({source}) is not a valid request."
        raise InvalidRequest(what, why=error.why) from error
    return Recovered(
        request=request,
        source=source,
        index=found.index,
        missing=missing,
        backend=found.backend,
        model_hash=found.model_hash,
        version=found.version,
        made_with=found.made_with,
        values=found.values,
    )


def _from_parameters(text: str) -> Provenance | None:
    parameters = decode_parameters(text)
    if not parameters.values:
        return None
    values = request_values(parameters)
    if "strength" in values:
        values["init_image"] = MISSING
    known = parameters.values
    return Provenance(values, model_hash=known.get("Model hash", ""), version=known.get("Version", ""))


def _user_comment(picture: ImageData) -> str:
    """The EXIF UserComment, in either byte order of UTF-16, or in ASCII."""
    raw = exif_value(picture, _USER_COMMENT, _EXIF_DIRECTORY)
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, bytes):
        return ""
    mark, body = raw[:8], raw[8:]
    if mark != USER_COMMENT_MARK:
        return body.decode("utf-8", errors="replace").strip("\0 ")
    # Latin text has its zero bytes in front when big-endian, behind when little-endian.
    order = "utf-16-le" if body[1::2].count(0) > body[::2].count(0) else "utf-16-be"
    return body.decode(order, errors="replace").strip("\0")

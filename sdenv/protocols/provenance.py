"""sdenv's own text inside a picture: the exact request as JSON, and which picture of it this is.

    {"schema": 1, "version": "0.1.0", "backend": "local", "model_hash": "6ce0161689", "seed": 9, "index": 1,
     "made_with": {...}, "request": {...}}

`request` asks for the batch that the picture was made in: pictures of one batch are made by the same matrix
products, so the last bit of a pixel can depend on its neighbours. `seed` is that of this picture,
`request.seed` that of the first of the batch. Input pictures are inside as base64, freed of what cameras
and people write beside the pixels, while the text stays below its limit; of a larger one only
`{"sha256": ...}` is kept. No path, host name, user name or secret is written.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sdenv
from sdenv.core.errors import BadImage, BadMetadata
from sdenv.core.image import ImageData
from sdenv.core.privacy import is_place, is_secret, name_only
from sdenv.core.request import MAX_COUNT, GenerationRequest, ResolvedRequest
from sdenv.protocols.containers import anonymous
from sdenv.protocols.png_text import MAX_TEXT_BYTES

SCHEMA: Final = 1  # raised when the meaning of a field changes, never when one is added


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """How one picture was made.

    Attributes:
        resolved: The request with every decision made.
        index: Which of its pictures this is, from 0.
        backend: Name of the kind of backend, never of a machine.
        model_hash: First 10 hex digits of the SHA-256 of the weights; "" = unknown.
        made_with: Device, precision, versions: what decides about the last bit.
        number: Which picture of the whole command this is, for file names; None = `index`.
    """

    resolved: ResolvedRequest
    index: int
    backend: str
    model_hash: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)
    number: int | None = None

    @property
    def seed(self) -> int:
        """The seed of this picture."""
        return self.resolved.seed_of(self.index)


@dataclass(frozen=True, slots=True)
class MissingInput:
    """An input picture that is not inside.

    Attributes:
        field: Where it belongs: `init_image`, `mask`, `controls.0`, `references.1`.
        sha256: Of its bytes, in hex; "" = unknown.
    """

    field: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The text taken apart; its request not yet checked.

    Attributes:
        values: The request as JSON values, pictures as base64 or `{"sha256": ...}`.
        index: Which picture of the request this is.
        backend: As in PictureFacts.
        model_hash: As in PictureFacts.
        version: Version of sdenv that made it.
        made_with: As in PictureFacts.
    """

    values: Mapping[str, Any]
    index: int = 0
    backend: str = ""
    model_hash: str = ""
    version: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)


def encode_provenance(facts: PictureFacts) -> str:
    """The text for one picture, below the limit for texts."""
    batch, index = batch_of(facts.resolved, facts.index)
    values = _values(batch)
    originals = dict(_pictures(batch))
    for name, original in originals.items():
        put_picture(values, name, _embedded(original))
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "version": sdenv.__version__,
        "backend": facts.backend,
        "model_hash": facts.model_hash,
        "seed": facts.seed,
        "index": index,
        "made_with": dict(facts.made_with),
        "request": values,
    }
    text = _compact(record)
    for name in sorted(originals, key=lambda each: len(originals[each].data), reverse=True):
        if len(text.encode()) < MAX_TEXT_BYTES:
            break
        put_picture(values, name, _hashed(originals[name]))
        text = _compact(record)
    return text


def _embedded(picture: ImageData) -> dict[str, Any]:
    """An input picture as JSON values: its pixels, without what a camera or a person wrote beside them."""
    try:
        return anonymous(picture).model_dump(mode="json")
    except BadImage:
        return _hashed(picture)


def _hashed(picture: ImageData) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(picture.data).hexdigest()}


def decode_provenance(text: str) -> Provenance | None:
    """Takes the text apart; None if it is not ours or is damaged.

    Raises:
        BadMetadata: A newer sdenv wrote it, whose words this one does not know.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        return None
    if record["schema"] > SCHEMA:
        raise BadMetadata(
            "The picture was made by a newer sdenv.",
            why=f"It says schema {record['schema']}; this version reads up to {SCHEMA}.",
            hint="pip install --upgrade sdenv",
        )
    values, index, made_with = record.get("request"), record.get("index", 0), record.get("made_with", {})
    if not isinstance(values, dict) or not isinstance(made_with, dict) or index not in range(MAX_COUNT):
        return None
    texts = {name: str(record.get(name, "")) for name in ("backend", "model_hash", "version")}
    return Provenance(values, index, made_with={str(k): str(v) for k, v in made_with.items()}, **texts)


def batch_of(done: ResolvedRequest, index: int) -> tuple[GenerationRequest, int]:
    """The request for just the batch that picture `index` was made in, and its index there."""
    first = index - index % done.batch_size
    size = min(done.batch_size, done.count - first)
    batch = done.model_copy(update={"seed": done.seed_of(first), "count": size, "batch_size": size})
    return batch.as_request(), index - first


def missing_inputs(values: Mapping[str, Any]) -> tuple[MissingInput, ...]:
    """The input pictures of which only the SHA-256 is kept."""
    slots = {name: values.get(name) for name in ("init_image", "mask")}
    slots |= {f"controls.{i}": each.get("image") for i, each in enumerate(_dicts(values, "controls"))}
    slots |= {f"references.{i}": each for i, each in enumerate(_dicts(values, "references"))}
    return tuple(
        MissingInput(name, str(value["sha256"]))
        for name, value in slots.items()
        if isinstance(value, dict) and "sha256" in value
    )


def put_picture(values: dict[str, Any], name: str, picture: Mapping[str, Any]) -> None:
    """Puts a picture, as JSON values, where `name` (as in MissingInput) says."""
    kind, _, position = name.partition(".")
    if not position:
        values[kind] = picture
    elif kind == "controls":
        values[kind][int(position)]["image"] = picture
    else:
        values[kind][int(position)] = picture


def without_inputs(values: Mapping[str, Any], missing: tuple[MissingInput, ...]) -> dict[str, Any]:
    """The request without the missing pictures and without what makes no sense alone."""
    names = {each.field for each in missing}
    gone = {"mask"} & names
    if "init_image" in names:
        gone = {"init_image", "mask", "strength"}
    kept = {name: value for name, value in values.items() if name not in gone}
    for kind in ("controls", "references"):
        if any(name.startswith(f"{kind}.") for name in names):
            kept[kind] = [each for i, each in enumerate(kept[kind]) if f"{kind}.{i}" not in names]
    return kept


def _dicts(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = values.get(name)
    return [each if isinstance(each, dict) else {} for each in found] if isinstance(found, list) else []


def _pictures(request: GenerationRequest) -> Iterator[tuple[str, ImageData]]:
    for name, picture in (("init_image", request.init_image), ("mask", request.mask)):
        if picture is not None:
            yield name, picture
    for index, control in enumerate(request.controls):
        yield f"controls.{index}", control.image
    for index, reference in enumerate(request.references):
        yield f"references.{index}", reference


def _values(request: GenerationRequest) -> dict[str, Any]:
    """The request as JSON values: what is absent is left out, what could name a place is cut to a name."""
    values = request.model_dump(mode="json", exclude_none=True)
    for name in ("model", "vae"):
        if name in values:
            values[name] = name_only(values[name])
    for lora in values["loras"]:
        lora["name"] = name_only(lora["name"])
    values["extensions"] = _scrubbed(values["extensions"])
    return {name: value for name, value in values.items() if value not in ([], {})}


def _scrubbed(value: Any) -> Any:
    """Extension values without secrets and places."""
    if isinstance(value, dict):
        kept = {key: _scrubbed(each) for key, each in value.items() if not is_secret(str(key))}
        return {key: each for key, each in kept.items() if each is not None}
    if isinstance(value, list):
        return [_scrubbed(each) for each in value]
    return None if isinstance(value, str) and is_place(value) else value


def _compact(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

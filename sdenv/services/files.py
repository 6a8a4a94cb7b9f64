"""Saves pictures with how they were made inside: whole or not at all, and never over another file unasked."""

import datetime
import io
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, final

from sdenv.core.errors import FileAlreadyExists, InvalidRequest, NotWritable, did_you_mean
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, decode
from sdenv.core.request import MAX_SEED, GenerationRequest
from sdenv.protocols.containers import anonymous
from sdenv.protocols.provenance import PictureFacts
from sdenv.services.metadata import with_metadata
from sdenv.services.naming import DEFAULT_TEMPLATE, before_suffix, check_template, fill, literal
from sdenv.services.output_checks import ELSEWHERE, check_folder, check_name, is_folder, make_folder
from sdenv.services.whole_files import write_error, write_whole

__all__ = ["SUFFIXES", "PictureFacts", "PictureWriter"]

SUFFIXES: Final = {".jpeg": JPEG, ".jpg": JPEG, ".png": PNG, ".webp": WEBP}

_MIN_FREE_BYTES_A_PICTURE: Final = (
    2**20
)  # a 512 px PNG has about half; refuses only a disk that is nearly full
_NUMBER_SPARE_BYTES: Final = 5  # room for "-9999" when a name is taken
_QUALITY: Final[Mapping[str, Mapping[str, Any]]] = {
    JPEG: {"format": "JPEG", "quality": 95, "subsampling": 0},
    WEBP: {"format": "WEBP", "quality": 90, "method": 4},
    PNG: {"format": "PNG", "compress_level": 1},
}
"""How Pillow encodes each type. JPEG without colour subsampling, since flat colours show it first."""


@final
class PictureWriter:
    """Where the pictures of one command go.

    Args:
        target: A file, a folder (there already, or ending in `/`), a template such as
            `{date}/{prompt}.png`, `-` for stdout; None = the default template in the current folder.
        force: Whether files that exist are replaced.
        strip_metadata: Whether to leave out how the pictures were made.
        stdout: Where `-` goes; None = the process's own.

    Raises:
        InvalidRequest: The template has an unknown field, or the file type is not one that sdenv writes.
    """

    def __init__(
        self,
        target: str | None,
        *,
        force: bool = False,
        strip_metadata: bool = False,
        stdout: BinaryIO | None = None,
    ) -> None:
        self._force = force
        self._strip = strip_metadata
        self._stdout = stdout
        self._to_stdout = target == "-"
        self._date = datetime.date.today().isoformat()
        self._template, self._numbered = _template_of(target)
        self._fields = check_template(self._template)
        self._media_type = PNG if self._to_stdout else _media_type_of(self._template)
        self._written: set[Path] = set()

    def check(self, requests: Sequence[GenerationRequest]) -> None:
        """Refuses before any work what can be known to fail; also settles the names of several pictures.

        Args:
            requests: Everything whose pictures this writer will be given, in order.

        Raises:
            FileAlreadyExists: A file is there and `force` is not set.
            NotWritable: The folder cannot be made or written to, or stdout is a terminal.
            DiskFull: Less space than the pictures may need.
            InvalidRequest: Several pictures for stdout, or a name that is too long.
        """
        if self._to_stdout:
            self._check_stdout(sum(request.count for request in requests))
            return
        paths = [Path(fill(self._template, values)) for values in self._planned(requests)]
        if len(set(paths)) < len(paths):
            self._template = before_suffix(self._template, "-{index}")
            paths = [Path(fill(self._template, values)) for values in self._planned(requests)]
        for path, known in zip(paths, self._known(requests), strict=True):
            check_name(path)
            if is_folder(path) and not self._numbered:
                raise NotWritable(f"{str(path)!r} is a folder.", hint=f"To save into it: -o {path}/")
            if self._fields <= known and not (self._force or self._numbered) and os.path.lexists(path):
                raise FileAlreadyExists(
                    f"The file {str(path)!r} exists.",
                    hint="Give another name with -o, or replace it with --force.",
                )
        for folder in {path.parent for path in paths}:
            check_folder(folder, len(paths))

    def write(self, picture: ImageData, made: PictureFacts, *, says_how: bool = False) -> Path | None:
        """Saves one picture.

        Args:
            picture: The picture.
            made: How it was made.
            says_how: It has that inside already; unless it becomes another type of file, not a byte changes.

        Returns:
            Where it lies; None for stdout.

        Raises:
            FileAlreadyExists: Somebody else took the name since `check`; the picture is saved under the
                next one, which the error names.
            DiskFull: No partial file is left.
            NotWritable: The folder does not allow it (any more).
        """
        encoded = _encoded_as(picture, self._media_type)
        if self._strip:
            encoded = anonymous(encoded)
        elif not says_how or encoded is not picture:
            encoded = with_metadata(encoded, made)
        if self._to_stdout:
            self._write_stdout(encoded.data)
            return None
        wanted = Path(fill(self._template, self._values_of(made)))
        make_folder(wanted.parent)
        expected = self._numbered or wanted in self._written
        path = self._place(wanted, encoded.data)
        self._written.add(path)
        if path == wanted or expected:
            return path
        raise FileAlreadyExists(
            f"The file {str(wanted)!r} exists.",
            why="It appeared while the picture was being made.",
            hint=f"The picture was saved as {str(path)!r}.",
        )

    def _place(self, wanted: Path, data: bytes) -> Path:
        """Writes under the wanted name, or under the first free one after it."""
        for path in _candidates(wanted):
            replace = self._force and path not in self._written
            if not replace and os.path.lexists(path):
                continue  # known without writing; what appears between here and there is found by write_whole
            try:
                write_whole(path, data, replace=replace, hint=ELSEWHERE)
            except FileExistsError:
                continue
            return path
        raise AssertionError("the numbers never end")

    def _planned(self, requests: Sequence[GenerationRequest]) -> Iterator[Mapping[str, str | int]]:
        """What is known of each picture before the work, with a stand-in for what is not."""
        number = 0
        for request in requests:
            for index in range(request.count):
                # An unknown seed will be a number that no other picture has: here a negative one.
                seed = -1 - number if request.seed is None else (request.seed + index) % (MAX_SEED + 1)
                yield {
                    "seed": seed,
                    "index": number,
                    "model": request.model or "",
                    "prompt": request.prompt,
                    "date": self._date,
                    "width": request.width or 0,
                    "height": request.height or 0,
                    "steps": request.steps or 0,
                    "backend": "",
                }
                number += 1

    def _known(self, requests: Sequence[GenerationRequest]) -> Iterator[frozenset[str]]:
        """The fields whose value is known before the work, for each picture."""
        for request in requests:
            said = {
                name
                for name in ("seed", "model", "width", "height", "steps")
                if getattr(request, name) is not None
            }
            yield from [frozenset({"prompt", "index", "date"} | said)] * request.count

    def _values_of(self, made: PictureFacts) -> dict[str, str | int]:
        done = made.resolved
        return {
            "seed": made.seed,
            "index": made.index if made.number is None else made.number,
            "model": done.model,
            "prompt": done.prompt,
            "date": self._date,
            "width": done.width,
            "height": done.height,
            "steps": done.steps,
            "backend": made.backend,
        }

    def _check_stdout(self, count: int) -> None:
        if count != 1:
            raise InvalidRequest(
                f"{count} pictures cannot go to stdout.",
                why="A stream holds one.",
                hint="Give a folder: -o pictures/",
            )
        if self._stdout is None and sys.stdout.isatty():
            raise NotWritable(
                "A picture is not written to a terminal.",
                hint="sdenv generate ... -o - > picture.png, or -o picture.png",
            )

    def _write_stdout(self, data: bytes) -> None:
        stream = self._stdout or sys.stdout.buffer
        try:
            stream.write(data)
            stream.flush()
        except OSError as error:
            with suppress(OSError):  # what it holds back would fail again when Python ends
                stream.close()
            raise write_error("stdout", error) from error


def _template_of(target: str | None) -> tuple[str, bool]:
    """The template that a target means, and whether a taken name is numbered, since nobody chose it."""
    if target is None:
        return DEFAULT_TEMPLATE, True
    if target == "-":
        return DEFAULT_TEMPLATE, True
    separators = tuple(each for each in ("/", os.sep, os.altsep) if each)
    if is_folder(target):
        return f"{literal(target.rstrip('/'))}/{DEFAULT_TEMPLATE}", True
    if target.endswith(separators):
        return f"{target}{DEFAULT_TEMPLATE}", True
    return target, False


def _media_type_of(template: str) -> str:
    suffix = Path(template).suffix.casefold()
    if suffix not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise InvalidRequest(
            f"sdenv does not write files such as {template!r}.",
            why=did_you_mean(suffix, list(SUFFIXES)) if suffix else "The name has no suffix.",
            hint=f"Give one of {known}; a folder ends in '/'.",
        )
    return SUFFIXES[suffix]


def _encoded_as(picture: ImageData, media_type: str) -> ImageData:
    """The picture in this file type; untouched if it has it."""
    if picture.media_type == media_type:
        return picture
    decoded = decode(picture)
    if media_type == JPEG and decoded.mode not in ("RGB", "L"):
        decoded = decoded.convert("RGB")
    buffer = io.BytesIO()
    decoded.save(buffer, **_QUALITY[media_type])
    return ImageData(data=buffer.getvalue(), media_type=media_type)


def _candidates(wanted: Path) -> Iterator[Path]:
    yield wanted
    for number in itertools.count(2):
        yield wanted.with_name(before_suffix(wanted.name, f"-{number}"))

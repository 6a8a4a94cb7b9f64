"""Finished pictures as files: `results/YYYY-MM-DD/<job>-<index>.png`, whole or not there."""

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from sdenv.core.errors import BadImage, FailedError, NotWritable
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, size_of, sniff_media_type
from sdenv.core.job_record import PictureRecord
from sdenv.core.request import ResolvedRequest
from sdenv.services.files import PictureFacts
from sdenv.services.metadata import with_metadata
from sdenv.services.whole_files import make_private_folder, write_whole

RESULTS: Final = "results"
_SUFFIXES: Final[Mapping[str, str]] = {PNG: "png", JPEG: "jpg", WEBP: "webp"}
_HALF_WRITTEN: Final = ".sdenv-*.part"  # the names of services.whole_files


@final
class Results:
    """The folder of the pictures.

    Args:
        folder: The data folder; `results/` is made in it with the first picture.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / RESULTS

    def path(self, relative: str) -> Path:
        """Where a picture lies whose row says `relative`."""
        return self._root / relative

    def read(self, relative: str, media_type: str) -> ImageData:
        """The file as it lies there.

        A link is not followed: what it leads to is nobody's picture.

        Raises:
            FailedError: It is gone, or it is something else.
        """
        path = self.path(relative)
        try:
            data = _content(path)
        except OSError as error:
            raise FailedError(
                "The file of the picture is lost.", why=f"{path.name}: {error.strerror}."
            ) from error
        try:
            found = sniff_media_type(data)
        except BadImage:
            found = ""
        if found != media_type:
            raise FailedError("The file of the picture is damaged.", why=f"{path.name} is no {media_type}.")
        return ImageData(data=data, media_type=media_type)

    def write(
        self,
        job_id: str,
        created_at: float,
        index: int,
        picture: ImageData,
        facts: PictureFacts | None,
        seed: int,
    ) -> tuple[PictureRecord, str]:
        """Writes a picture, with how it was made inside; the row for it, and where it lies.

        Args:
            job_id: Whose it is.
            created_at: When the job was accepted: that day's folder.
            index: Which picture of the job.
            picture: What the backend has made.
            facts: How; None = nobody knows.
            seed: Its seed.

        Raises:
            DiskFull: It does not fit on the disk; nothing of it is left.
            NotWritable: The folder does not allow it.
        """
        written = picture if facts is None else with_metadata(picture, facts)
        relative = f"{day_of(created_at)}/{job_id}-{index}.{_SUFFIXES[written.media_type]}"
        _write(self.path(relative), written.data)
        return picture_record(written, index, seed), relative

    def remove(self, job_id: str, created_at: float, count: int) -> None:
        """Removes every file that a job of so many pictures may have, also those without a row."""
        folder = self._root / day_of(created_at)
        for index in range(count):
            for suffix in _SUFFIXES.values():
                (folder / f"{job_id}-{index}.{suffix}").unlink(missing_ok=True)
        with suppress(OSError):  # there are others of that day
            folder.rmdir()

    def sweep(self, created_at: float) -> None:
        """Removes what a killed server has left half written on that day."""
        for each in (self._root / day_of(created_at)).glob(_HALF_WRITTEN):
            each.unlink(missing_ok=True)


def picture_record(picture: ImageData, index: int, seed: int) -> PictureRecord:
    """What is known of a picture file."""
    width, height = size_of(picture)
    digest = hashlib.sha256(picture.data).hexdigest()
    return PictureRecord(index, seed, width, height, picture.media_type, len(picture.data), digest)


def day_of(created_at: float) -> str:
    """The folder of a day, in UTC, so that it is the same wherever the server is moved."""
    return time.strftime("%Y-%m-%d", time.gmtime(created_at))


def facts_of(
    resolved: ResolvedRequest | None, index: int, backend: str, model_hash: str, made_with: Mapping[str, str]
) -> PictureFacts | None:
    """How a picture was made; None where the backend has not said."""
    return None if resolved is None else PictureFacts(resolved, index, backend, model_hash, made_with)


def _content(path: Path) -> bytes:
    """All of an ordinary file; neither a link nor a pipe, on which the server would wait."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        return file.read()


def _write(path: Path, data: bytes) -> None:
    make_private_folder(path.parent)
    try:
        write_whole(path, data, replace=True, mode=0o600)
    except NotWritable:  # the last other picture of that day was removed just now, and the folder with it
        make_private_folder(path.parent)
        write_whole(path, data, replace=True, mode=0o600)

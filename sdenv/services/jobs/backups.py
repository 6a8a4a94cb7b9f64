"""The seed's backups of results: JSON lines in `disk_backups`, read at start and written after each result.

The jobs themselves are kept in SQLite; these files are for people who come from the seed's server, and go
back to it. Unlike there, a backup is whole on the disk before an older one goes, two in the same second have
two names, and files of other names are read and never touched.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, final
from uuid import UUID

from sdenv.core.errors import PeerBrokeProtocol
from sdenv.protocols.seed import Result, backup_line, of_backup_line
from sdenv.services.jobs.types import Retention
from sdenv.services.whole_files import (
    hidden_sibling,
    make_private_folder,
    remove_quietly,
    sync_folder,
    write_error,
)

FOLDER: Final = "disk_backups"
"""Its name, as the seed has it; beside the other data, not beside the code."""

_NAME: Final = re.compile(r"\d{4}(?:-\d\d){5}-sde-server-flush(?:-\d{3})?\.json", re.ASCII)
_PATTERN: Final = "%Y-%m-%d-%H-%M-%S-sde-server-flush"
_MAX_LINE_BYTES: Final = 128 * 2**20
_REWRITTEN_BYTES: Final = 16 * 2**20
"""Up to so many bytes all results are in one file, as the seed has it. Above, writing all of them after each
result would cost more than the pictures: then each result has a file, until there are too many."""
_MAX_FILES: Final = 64

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a result lies."""

    path: Path
    start: int
    length: int
    owner: str
    created_at: float


@final
class Backups:
    """The results of a folder. Only where each one lies is in memory. May be used by several threads.

    Args:
        folder: `disk_backups`; made when something is written. None = results are kept in memory only.
        retention: How long results are kept.
        clock: The local time, for the names of files.
    """

    def __init__(
        self,
        folder: Path | None,
        retention: Retention = Retention(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._folder = folder
        self._retention = retention
        self._clock = clock
        self._lock = threading.RLock()
        self._places: dict[UUID, _Place] = {}
        self._memory: dict[UUID, tuple[Result, str]] = {}
        self._loaded = False

    def load(self) -> None:
        """Reads what is there, once. Lines that are no results are skipped, as the seed does."""
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
            for path in self._files():
                self._index(path)

    def uuids(self, owner: str | None = None) -> tuple[UUID, ...]:
        """Ids of the results, oldest file first.

        Args:
            owner: Only those of this token; None = all.
        """
        with self._lock:
            self.load()
            kept = (uuid for uuid, place in self._places.items() if owner in (None, place.owner))
            held = (uuid for uuid, (_, whose) in self._memory.items() if owner in (None, whose))
            return (*kept, *held)

    def find(self, uuid: UUID, owner: str | None = None) -> Result | None:
        """A result; None = there is none, or it belongs to another."""
        with self._lock:
            self.load()
            if (held := self._memory.get(uuid)) is not None:
                return held[0] if owner in (None, held[1]) else None
            place = self._places.get(uuid)
            if place is None or owner not in (None, place.owner):
                return None
            read = of_backup_line(_line_at(place))
            return None if read is None else read[0]

    def add(self, results: Iterable[Result], owner: str = "") -> None:
        """Keeps results; when this returns they are on the disk.

        Args:
            results: What to keep.
            owner: Name of the token whose they are; "" = nobody's in particular.

        Raises:
            DiskFull: They could not be written; what was there before is as it was.
            NotWritable: The folder may not be written to.
        """
        with self._lock:
            self.load()
            if self._folder is None:
                self._memory |= {each.uuid: (each, owner) for each in results}
                return
            lines = [(each.uuid, backup_line(each, owner)) for each in results]
            small = sum(place.length for place in self._places.values()) <= _REWRITTEN_BYTES
            if small or len(self._own_files()) >= _MAX_FILES:
                self._rewrite(self._folder, lines)
            else:
                self._index(self._write(self._folder, (line for _, line in lines)))

    def remove(self, uuid: UUID, owner: str | None = None) -> bool:
        """Removes a result; False = there is none, or it belongs to another."""
        with self._lock:
            if self.find(uuid, owner) is None:
                return False
            self._memory.pop(uuid, None)
            if self._places.pop(uuid, None) is not None and self._folder is not None:
                self._rewrite(self._folder, [])
            return True

    # Files

    def _files(self) -> list[Path]:
        """Everything in the folder that may hold results, oldest name first."""
        if self._folder is None or not self._folder.is_dir():
            return []
        found = (path for path in self._folder.iterdir() if path.is_file() and not path.name.startswith("."))
        return sorted(found)

    def _own_files(self) -> list[Path]:
        return [path for path in self._files() if _NAME.fullmatch(path.name)]

    def _index(self, path: Path) -> None:
        with path.open("rb") as file:
            start = 0
            while line := file.readline(_MAX_LINE_BYTES):
                self._note(path, start, line)
                start += len(line)

    def _note(self, path: Path, start: int, line: bytes) -> None:
        try:
            read = of_backup_line(line)
        except PeerBrokeProtocol as error:
            _logger.warning("%s: a line is left out: %s", path.name, error)
            return
        if read is not None:
            result, owner = read
            created_at = result.created_time.timestamp()
            self._places[result.uuid] = _Place(path, start, len(line), owner, created_at)

    def _rewrite(self, folder: Path, new: list[tuple[UUID, bytes]]) -> None:
        """All results that are kept, and the new ones, in one new file; then the older files go."""
        replaced = {uuid for uuid, _ in new}
        old = {uuid: place for uuid, place in self._places.items() if uuid not in replaced}
        old = self._kept(old)
        moved = [place for place in old.values() if _NAME.fullmatch(place.path.name)]
        before = self._own_files()
        written = self._write(folder, chain((_line_at(place) for place in moved), (line for _, line in new)))
        for path in before:
            remove_quietly(path)
        self._places = {uuid: place for uuid, place in old.items() if place not in moved}
        self._index(written)

    def _kept(self, places: dict[UUID, _Place]) -> dict[UUID, _Place]:
        """Those that the retention lets stay, the newest first to stay."""
        rule, kept, size_bytes = self._retention, set[UUID](), 0
        oldest = None if rule.max_age_s is None else self._clock().timestamp() - rule.max_age_s
        newest_first = sorted(places.items(), key=lambda item: item[1].created_at, reverse=True)
        for uuid, place in newest_first[: rule.max_jobs]:
            size_bytes += place.length
            if oldest is not None and place.created_at < oldest:
                break
            if rule.max_bytes is not None and size_bytes > rule.max_bytes:
                break
            kept.add(uuid)
        return {uuid: place for uuid, place in places.items() if uuid in kept}

    def _write(self, folder: Path, lines: Iterable[bytes]) -> Path:
        """A new file with these lines, whole or not at all."""
        path = folder / "?"
        hidden = hidden_sibling(path)
        try:
            make_private_folder(folder)
            hidden.touch(mode=0o600, exist_ok=False)
            with hidden.open("r+b") as file:
                _write_synced(file, lines)
            path = self._free_name(folder)
            hidden.rename(path)
            sync_folder(folder)
        except OSError as error:
            raise write_error(folder, error) from error
        finally:
            remove_quietly(hidden)
        return path

    def _free_name(self, folder: Path) -> Path:
        return next(path for path in _names(folder, self._clock().strftime(_PATTERN)) if not path.exists())


def _names(folder: Path, stem: str) -> Iterator[Path]:
    yield folder / f"{stem}.json"
    for number in range(1, 1000):
        yield folder / f"{stem}-{number:03}.json"


def _write_synced(file: BinaryIO, lines: Iterable[bytes]) -> None:
    for line in lines:
        file.write(line if line.endswith(b"\n") else line + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _line_at(place: _Place) -> bytes:
    with place.path.open("rb") as file:
        file.seek(place.start)
        return file.read(place.length)

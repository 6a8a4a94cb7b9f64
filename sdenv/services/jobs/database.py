"""One SQLite file: one writer at a time, readers that never wait for it."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from sdenv.core.errors import DiskFull
from sdenv.services.jobs.schema import DATABASE, connected, prepare, translating
from sdenv.services.whole_files import sync_folder, write_error

_KEPT_READERS: Final = 4
"""Idle connections that are kept; more are opened when more threads read at once, and closed again."""

_LEAST_ROOM_BYTES: Final = 2**20
"""With less on the disk a job is likely to fail."""

_PAGES_GIVEN_BACK: Final = 256
"""A megabyte at a time, so that nobody waits for it."""


@final
class Database:
    """The file, opened. Readers see the last commit while a writer is at work (WAL).

    Args:
        folder: Where the file lies; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Final = folder / DATABASE
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        with translating(self.path):
            _make_private(self.path)
            self._writer = connected(self.path)
            try:
                prepare(self._writer, self.path)
                sync_folder(folder)  # the names of new files survive a power cut too
            except BaseException:
                self._writer.close()
                raise
        self._synced: bool | None = None
        self._failing = False

    @contextmanager
    def write(self, *, synced: bool) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is kept, or nothing.

        Args:
            synced: Whether it survives a power cut once this returns; a killed process loses neither.

        Raises:
            DiskFull: It does not fit on the disk; nothing of it is kept.
            SdenvError: The file cannot be used.
        """
        with translating(self.path), self._writing:
            try:
                with self._transaction(synced=synced) as connection:
                    yield connection
                self._failing = False
            except sqlite3.Error:
                self._failing = True
                raise

    @contextmanager
    def _transaction(self, *, synced: bool) -> Iterator[sqlite3.Connection]:
        if self._synced is not synced:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._synced = synced
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # SQLite has rolled some failures back by itself
                self._writer.execute("ROLLBACK")
            raise

    def check_writable(self) -> None:
        """Looks whether a job could be written down now; cheap as long as the last write went well.

        Raises:
            DiskFull: It would not fit on the disk.
            SdenvError: The file cannot be used.
        """
        if shutil.disk_usage(self.path.parent).free < _LEAST_ROOM_BYTES:
            raise DiskFull(f"The disk of {self.path.name} is full.")
        if self._failing:
            with self.write(synced=True) as connection:
                connection.execute("INSERT OR REPLACE INTO removals VALUES ('', 0, 0)")
                connection.execute("DELETE FROM removals WHERE job = ''")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of the last commit."""
        with translating(self.path):
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                self._give_back(connection)

    def shrink(self) -> None:
        """Gives a little of the room of what was removed back to the disk; the rest is used again."""
        with translating(self.path), self._writing:
            self._writer.execute(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})").fetchall()

    def _reader(self) -> sqlite3.Connection:
        with self._reading:
            if self._readers:
                return self._readers.pop()
        connection = connected(self.path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("COMMIT")
        with self._reading:
            if not self._closed and len(self._readers) < _KEPT_READERS:
                self._readers.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes the file. May be called twice."""
        with self._writing, self._reading:
            self._closed = True
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            self._writer.close()


def _make_private(path: Path) -> None:
    """Prompts are nobody else's business; SQLite gives its other files the same permissions."""
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error

"""The tables of the job database, and how a connection to it is opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sdenv.core.errors import DiskFull, FailedError, NotWritable, SdenvError, UnavailableError

DATABASE: Final = "jobs.sqlite3"
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 10.0
"""How long to wait for another process that writes; one commit takes milliseconds."""

_WAL_LIMIT_BYTES: Final = 16 * 2**20

TABLES: Final = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of acceptance; never used twice
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    dialect TEXT NOT NULL,
    durable INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    request TEXT NOT NULL,                     -- JSON, pictures as {"sha256": ...}
    words TEXT NOT NULL,                       -- what a search looks in, folded
    model TEXT NOT NULL,
    count INTEGER NOT NULL,                    -- pictures asked for
    input_bytes INTEGER NOT NULL,
    kept_bytes INTEGER NOT NULL DEFAULT 0,     -- once it has ended: its pictures, inputs and rows
    allow_degraded INTEGER NOT NULL,
    preview_every INTEGER NOT NULL,
    place INTEGER NOT NULL,                    -- jobs before it when it was accepted
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    attempt INTEGER NOT NULL DEFAULT 0,        -- how often begun: the fencing token
    losses INTEGER NOT NULL DEFAULT 0,         -- how many of those lost their worker
    cancel_asked INTEGER NOT NULL DEFAULT 0,
    requeued TEXT,                             -- why it went back to the queue: an error record
    resolved TEXT,
    backend TEXT NOT NULL DEFAULT '',
    model_hash TEXT NOT NULL DEFAULT '',
    made_with TEXT NOT NULL DEFAULT '{}',
    seconds REAL,
    fraction REAL NOT NULL DEFAULT 0,
    phase TEXT NOT NULL DEFAULT '',
    notices TEXT NOT NULL DEFAULT '[]',
    error TEXT
);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_to_count ON jobs (state, dialect);
CREATE INDEX jobs_to_remove ON jobs (ended_at, dialect, kept_bytes) WHERE ended_at IS NOT NULL;
CREATE TABLE keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX keys_by_job ON keys (job);
CREATE TABLE pictures (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,                    -- its index among the pictures of the job
    seed INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    path TEXT NOT NULL,                        -- below results/, or absolute: a file of the user
    PRIMARY KEY (job, place)
) WITHOUT ROWID;
CREATE TABLE inputs (
    sha256 TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE job_inputs (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES inputs (sha256),
    PRIMARY KEY (job, sha256)
) WITHOUT ROWID;
CREATE INDEX jobs_by_input ON job_inputs (sha256);
CREATE TABLE logs (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    entries BLOB NOT NULL,                     -- zlib of JSON lines
    PRIMARY KEY (job, attempt)
) WITHOUT ROWID;
CREATE TABLE removals (                        -- jobs whose rows are gone and whose files may be left
    job TEXT PRIMARY KEY,
    created_at REAL NOT NULL,
    count INTEGER NOT NULL
) WITHOUT ROWID;
"""


def connected(path: Path) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time; no transaction begins by itself."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables where there are none yet.

    Raises:
        UnavailableError: A newer sdenv made them.
    """
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    if _version(connection) == 0:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) == 0:  # nobody else was quicker
                for statement in TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        finally:
            connection.execute("COMMIT" if _version(connection) else "ROLLBACK")
    if (found := _version(connection)) > SCHEMA_VERSION:
        raise UnavailableError(
            f"The job database {str(path)!r} was made by a newer sdenv.",
            why=f"It has schema {found}; this version knows schema {SCHEMA_VERSION}.",
            hint="pip install --upgrade sdenv",
        )


def _version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """SQLite's errors as errors that a person can act on."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(path, error) from error


_DAMAGED: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_FORBIDDEN: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)


def _translated(path: Path, error: sqlite3.Error) -> SdenvError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the class, the rest says where
    why = f"SQLite says: {error}."
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"The disk is full: {str(path)!r} could not be written.", why=why)
    if code in _FORBIDDEN:
        return NotWritable(f"Cannot use the job database {str(path)!r}.", why=why)
    if code in _DAMAGED:
        return UnavailableError(
            f"The job database {str(path)!r} is damaged or is something else.",
            why=why,
            hint=f"Move it away, and a new one is made: mv {path} {path}.damaged",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UnavailableError(
            f"Another process has kept the job database {str(path)!r} locked for {BUSY_TIMEOUT_S:g} s.",
            why=why,
        )
    return FailedError(f"The job database {str(path)!r} failed.", why=why)

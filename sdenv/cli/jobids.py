"""Ids of jobs as they are typed: whole, shortened to what only one job has, as UUIDs, or `last`."""

import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from sdenv.cli.inputs import STDIN
from sdenv.core.errors import UnknownJob, UsageError
from sdenv.core.job_record import JobRecord
from sdenv.services.jobs import JobPage, JobQuery

Find = Callable[[JobQuery], JobPage]
Get = Callable[[str], JobRecord]

LAST: Final = "last"
"""Stands for the newest job."""

ID_CHARACTERS: Final = 26
_LOOKALIKES: Final = str.maketrans({"I": "1", "L": "1", "O": "0"})  # Crockford's base 32: read alike
_SHORTENED: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{1,26}")
_PAGE: Final = 500


def every_job(find: Find, query: JobQuery, limit: int | None = None) -> Iterator[JobRecord]:
    """Jobs, newest first, page after page.

    Args:
        find: Gives one page.
        query: Which jobs; its limit is that of a page.
        limit: How many at most; None = all.
    """

    def each() -> Iterator[JobRecord]:
        page_query = replace(query, limit=_PAGE if limit is None else max(1, min(limit, _PAGE)))
        while True:
            page = find(page_query)
            yield from page.jobs
            if page.next is None:
                return
            page_query = replace(page_query, before=page.next)

    return each() if limit is None else islice(each(), limit)


def read_ids(words: Sequence[str]) -> list[str]:
    """The ids of a command line; `-` stands for those on stdin, separated by whitespace."""
    found: list[str] = []
    for word in words:
        found += sys.stdin.read().split() if word == STDIN else [word]
    return list(dict.fromkeys(found))


def find_job(word: str, find: Find, get: Get) -> JobRecord:
    """The one job that a word means.

    Args:
        word: A whole id, its beginning, its end, the UUID of the seed dialect, or `last`.
        find: Gives pages of jobs.
        get: Gives a job by its whole id.

    Raises:
        UnknownJob: There is none.
        UsageError: There are several.
    """
    if word == LAST:
        return _newest(find)
    job_id = _canonical(word)
    if len(job_id) == ID_CHARACTERS:
        return get(job_id)
    found = find(JobQuery(id_part=job_id, limit=2)).jobs
    if len(found) > 1:
        raise UsageError(
            f"Several jobs have an id like {word!r}.",
            why=f"For example {found[0].id} and {found[1].id}.",
            hint="Give more of it; the end of an id differs sooner than its beginning.",
        )
    if not found:
        raise UnknownJob(f"There is no job {word!r}.", why="No id begins or ends so.")
    return found[0]


def _newest(find: Find) -> JobRecord:
    page = find(JobQuery(limit=1))
    if not page.jobs:
        raise UnknownJob("There is no job yet.")
    return page.jobs[0]


def _canonical(word: str) -> str:
    """The word in the characters of an id."""
    if "-" in word:
        from ulid import ULID

        try:
            return str(ULID.from_uuid(uuid.UUID(word)))
        except ValueError as error:
            raise _no_id(word) from error
    job_id = word.upper().translate(_LOOKALIKES)
    if not _SHORTENED.fullmatch(job_id):
        raise _no_id(word)
    return job_id


def _no_id(word: str) -> UnknownJob:
    return UnknownJob(
        f"There is no job {word!r}.", why="An id has 26 letters and digits, without I, L, O, U."
    )

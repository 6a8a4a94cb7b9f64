"""The server whose jobs a command is about: the one named, the configured one, or one on this machine."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from sdenv.cli.jobids import find_job
from sdenv.cli.pairs import key_values
from sdenv.cli.render import notice_text
from sdenv.cli.terminal import terminal_of
from sdenv.core.errors import UnsupportedError
from sdenv.core.job_record import JobRecord
from sdenv.core.privacy import is_secret, without_user
from sdenv.services.jobs import JobPage, JobQuery

if TYPE_CHECKING:
    from sdenv.net.native_client import NativeClient
    from sdenv.services.settings import Settings

_START: Final = "Start one (sdenv serve http) or name one: -b http://HOST:9090"


@final
@dataclass(frozen=True, slots=True)
class Remote:
    """A server's queue.

    Attributes:
        client: Calls it.
        typed: What the user has typed to reach it, for the commands that hints name; empty = nothing.
    """

    client: "NativeClient"
    typed: tuple[str, ...] = ()

    def find(self, query: JobQuery) -> JobPage:
        """One page of its jobs."""
        page = self.client.find(
            states=query.states,
            text=query.text,
            id_part=query.id_part,
            dialect=query.dialect,
            model=query.model,
            before=query.before,
            limit=query.limit,
        )
        self.tell()
        return JobPage(page.jobs, page.next)

    def job(self, word: str) -> JobRecord:
        """The job that a word means; raises as `find_job`."""
        found = find_job(word, self.find, self.client.get)
        self.tell()
        return found

    def tell(self) -> None:
        """Says on stderr what a person should know of how the server was reached, once."""
        for notice in self.client.notices():
            print(notice_text(notice, terminal_of(sys.stderr)), file=sys.stderr)

    def command(self, *words: str) -> str:
        """A command about this server's jobs, to be typed: `sdenv jobs fetch 01K... -b http://gpu:9090`."""
        return shlex.join(["sdenv", "jobs", *words, *self.typed])


@contextmanager
def open_remote(backend: str | None, option: Sequence[str] | None, settings: "Settings") -> Iterator[Remote]:
    """The server of `-b`; without it that of the settings, else one of this user on this machine.

    Args:
        backend: What was typed after `-b`.
        option: What was typed after `-O`.
        settings: What is configured.

    Raises:
        UnsupportedError: What was named keeps no jobs, or nothing was named and nothing runs here.
    """
    from contextlib import closing

    from sdenv.net.native_client import SpeaksNative
    from sdenv.services.choose import choose_backend, kind_of
    from sdenv.services.warm import warm_client

    name = backend or settings.backend
    if kind_of(name, settings) == "http":
        chosen = choose_backend(name, key_values(option or [], "-O"), settings)
        with closing(chosen.backend):
            assert isinstance(chosen.backend, SpeaksNative)
            yield Remote(chosen.backend.client(), typed_words(backend, option or []))
        return
    if backend is not None:
        raise UnsupportedError(
            f"The backend {without_user(backend)!r} keeps no jobs.",
            why="Jobs are kept by a server: sdenv serve http.",
            hint=_START,
        )
    client = warm_client(settings)
    if client is None:
        raise UnsupportedError(
            "There is no server whose jobs could be shown.",
            why="None is configured, and none of yours runs on this machine.",
            hint=_START,
        )
    with closing(client):
        yield Remote(client)


def typed_words(backend: str | None, option: Sequence[str]) -> tuple[str, ...]:
    """The flags that name the server once more, without secrets."""
    named = () if backend is None else ("-b", without_user(backend))
    open_options = [each for each in option if not is_secret(each.partition("=")[0])]
    return (*named, *(word for each in open_options for word in ("-O", each)))

"""What `sdenv jobs list|show|wait|cancel` do."""

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from sdenv.cli.errors import ErrorStyle, StoppedWaiting
from sdenv.cli.jobids import every_job, read_ids
from sdenv.cli.joblist import job_page, job_table, shown_record
from sdenv.cli.jobs import CancelFlags, ListFlags, ShowFlags, WaitFlags
from sdenv.cli.outcomes import raise_outcome
from sdenv.cli.output import print_json, print_text
from sdenv.cli.remote import Remote, open_remote
from sdenv.cli.signals import Interrupts
from sdenv.cli.terminal import color_choice, terminal_of
from sdenv.core.errors import NoStepInTime, UsageError, did_you_mean
from sdenv.core.job_record import JobRecord, JobState
from sdenv.services.jobs import JobQuery
from sdenv.services.settings import Settings, load_settings

if TYPE_CHECKING:
    from sdenv.core.request import GenerationRequest

ROWS_ON_A_TERMINAL: Final = 20


def settings_of(profile: str | None, color: str | None = None) -> Settings:
    """The settings of a command, its colours chosen."""
    settings = load_settings(profile, {"color": color})
    color_choice.set(settings.color)
    return settings


def list_jobs(flags: ListFlags) -> None:
    """Runs `sdenv jobs list`."""
    query = JobQuery(
        states=states_of(flags.state),
        text=flags.search or "",
        dialect=flags.dialect or "",
        model=flags.model or "",
    )
    settings = settings_of(flags.profile)
    with open_remote(flags.backend, flags.option, settings) as remote:
        limit = limit_of(flags.limit, as_data=flags.ids or flags.json_lines)
        print_jobs(every_job(remote.find, query), limit, as_json=flags.json_lines, only_ids=flags.ids)


def states_of(words: Iterable[str] | None) -> frozenset[JobState]:
    """The states that were typed.

    Raises:
        UsageError: A word that is none.
    """
    known = {state.value: state for state in JobState}
    for word in words or ():
        if word not in known:
            raise UsageError(f"There is no state {word!r}.", why=did_you_mean(word, list(known)))
    return frozenset(known[word] for word in words or ())


def limit_of(said: int | None, *, as_data: bool) -> int | None:
    """How many rows are listed; None = all."""
    if said is not None:
        if said < 1:
            raise UsageError(f"-n {said} lists nothing.", hint="Give a number from 1.")
        return said
    return None if as_data or not sys.stdout.isatty() else ROWS_ON_A_TERMINAL


def print_jobs(
    jobs: Iterator[JobRecord],
    limit: int | None,
    *,
    as_json: bool = False,
    only_ids: bool = False,
    nothing: str = "There is no such job here.",
) -> None:
    """Lists jobs on stdout, as a table, as ids or as JSON lines; says on stderr if there are more."""
    if as_json or only_ids:
        for job in islice(jobs, limit):
            if only_ids:
                print_text(job.id)
            else:
                print_json(shown_record(job))
        return
    shown = list(islice(jobs, limit))
    if shown:
        print_text(job_table(shown, terminal_of(sys.stdout)))
    elif sys.stdout.isatty():
        say(nothing)
    if limit is not None and next(jobs, None) is not None:
        say(f"These are the newest {limit}; more with -n N.")


def say(text: str) -> None:
    """One line for people, on stderr."""
    print(terminal_of(sys.stderr).paint(text, "dim"), file=sys.stderr, flush=True)


def show_job(flags: ShowFlags) -> None:
    """Runs `sdenv jobs show`."""
    settings = settings_of(flags.profile)
    with open_remote(flags.backend, flags.option, settings) as remote:
        job = remote.job(flags.id)
        if flags.request:
            print_text(request_text(remote.client.request_of(job.id)))
        elif flags.json_lines:
            print_json(shown_record(job))
        else:
            print_text(job_page(job, terminal_of(sys.stdout)))


def request_text(request: "GenerationRequest") -> str:
    """A request as JSON that `sdenv generate --request` reads."""
    import json

    from sdenv.protocols.native import request_record

    return json.dumps(request_record(request))


def wait_for_jobs(flags: WaitFlags) -> None:
    """Runs `sdenv jobs wait`."""
    style = ErrorStyle(flags.json_lines, flags.debug)
    settings = settings_of(flags.profile)
    with Interrupts() as interrupts, open_remote(flags.backend, flags.option, settings) as remote:
        jobs = [remote.job(word) for word in read_ids(flags.ids)]
        deadline_s = None if flags.timeout is None else time.monotonic() + flags.timeout
        ended: list[JobRecord] = []
        for job in jobs:
            with stopping_only_the_wait(interrupts, remote, job):
                ended.append(_waited(remote, job, deadline_s, flags.timeout))
            if flags.json_lines:
                print_json(shown_record(ended[-1]))
            elif ended[-1].state is JobState.DONE:
                print_text(job.id)
        raise_outcome(ended, style)


def _waited(remote: Remote, job: JobRecord, deadline_s: float | None, timeout_s: float | None) -> JobRecord:
    left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
    try:
        return remote.client.wait(job.id, left_s)
    except NoStepInTime as error:
        raise NoStepInTime(
            f"The job {job.id} has not ended within {timeout_s:g} s.",
            why="It goes on.",
            hint=remote.command("watch", job.id),
        ) from error


@contextmanager
def stopping_only_the_wait(interrupts: Interrupts, remote: Remote, job: JobRecord) -> Iterator[None]:
    """While the context is open, Ctrl-C ends the command, not the job, and says how to cancel that."""
    try:
        yield
    except KeyboardInterrupt as error:
        what = f"The job {job.id} goes on."
        if interrupts.signal_number not in (None, signal.SIGINT):
            raise interrupts.error(what) from error
        hint = f"To cancel it: {remote.command('cancel', job.id)}"
        raise StoppedWaiting(what, hint=hint) from error


def cancel_jobs(flags: CancelFlags) -> None:
    """Runs `sdenv jobs cancel`."""
    if bool(flags.ids) == flags.all_jobs:
        raise UsageError(
            "Which jobs?" if not flags.ids else "An id and --all say two things.",
            hint="Give ids, or --all for all that wait or run.",
        )
    settings = settings_of(flags.profile)
    with open_remote(flags.backend, flags.option, settings) as remote:
        if flags.all_jobs:
            going = frozenset({JobState.QUEUED, JobState.RUNNING})
            jobs = list(every_job(remote.find, JobQuery(states=going)))  # newest first: none begins meanwhile
        else:
            jobs = [remote.job(word) for word in read_ids(flags.ids or ())]
        for job in jobs:
            if job.state.ended:
                if not flags.quiet:
                    say(f"The job {job.id} has ended before: {job.state.value}.")
                continue
            cancelled = remote.client.cancel(job.id)
            if flags.json_lines:
                print_json(shown_record(cancelled))
            else:
                print_text(job.id)

"""`sdenv generate --detach`: hands the work to a server and prints the ids of the jobs."""

import sys
from collections.abc import Sequence

from sdenv.cli.errors import ErrorStyle, show_error
from sdenv.cli.gather import Wanted
from sdenv.cli.generate import GenerateFlags
from sdenv.cli.joblist import shown_record
from sdenv.cli.output import print_json, print_text
from sdenv.cli.remote import Remote, typed_words
from sdenv.cli.viewer import Viewer
from sdenv.core.errors import PartlyFailed, SdenvError, SizeNotPossible, UnsupportedError, UsageError
from sdenv.core.job_record import JobRecord
from sdenv.net.native_client import SpeaksNative
from sdenv.services.choose import Chosen
from sdenv.services.engine import Engine


def check_detach(flags: GenerateFlags) -> None:
    """Refuses flags that mean nothing for work that ends after the command.

    Raises:
        UsageError: One was given.
    """
    useless = {
        "-o": flags.output is not None,
        "--force": flags.force,
        "--strip-metadata": flags.strip_metadata,
        "--dry-run": flags.dry_run,
    }
    given = [name for name, is_given in useless.items() if is_given]
    if given:
        raise UsageError(
            f"{' and '.join(given)} {'has' if len(given) == 1 else 'have'} no meaning with --detach.",
            why="It hands the work over and ends; the pictures are fetched later.",
            hint="sdenv jobs fetch ID -o PLACE",
        )


def detach(
    wanted: Sequence[Wanted], chosen: Chosen, engine: Engine, flags: GenerateFlags, viewer: Viewer
) -> None:
    """Submits every request and prints the ids; one that is refused does not stop the others.

    Raises:
        UnsupportedError: The backend keeps no jobs.
        SdenvError: What a request was refused with.
    """
    if not isinstance(chosen.backend, SpeaksNative):
        raise UnsupportedError(
            f"The backend {chosen.name!r} cannot go on without this command.",
            why="--detach leaves the work to a server, which keeps it.",
            hint="Start one (sdenv serve http), then name it: -b http://HOST:9090",
        )
    client = chosen.backend.client()
    style = ErrorStyle(flags.json_lines or flags.progress == "json", flags.debug)
    remote = Remote(client, typed_words(flags.backend, flags.option or []))
    failed: list[SdenvError] = []
    jobs: list[JobRecord] = []
    for number, each in enumerate(wanted, start=1):
        try:
            job = client.submit(
                each.request,
                preview_every=viewer.preview_every(each.request.steps),
                allow_degraded=flags.allow_degraded or (each.fit and _only_size_is_wrong(engine, each)),
            )
        except SdenvError as error:
            if len(wanted) == 1:
                raise
            failed.append(error)
            what = f"Request {number} of {len(wanted)}: {error.what}"
            show_error(type(error)(what, error.why, error.hint), style)
            continue
        jobs.append(job)
        remote.tell()
        if flags.json_lines:
            print_json(shown_record(job))
        else:
            print_text(job.id)
    _say_how_to_watch(remote, jobs, flags)
    if failed:
        raise PartlyFailed(f"{len(failed)} of {len(wanted)} requests were refused.")


def _only_size_is_wrong(engine: Engine, wanted: Wanted) -> bool:
    found = engine.mismatches(wanted.request)
    return bool(found) and all(each.error_type is SizeNotPossible for each in found)


def _say_how_to_watch(remote: Remote, jobs: Sequence[JobRecord], flags: GenerateFlags) -> None:
    """For people only: a script knows what to do with an id."""
    if not jobs or flags.quiet or flags.json_lines or not sys.stderr.isatty():
        return
    ids = [job.id for job in jobs[:1]] if len(jobs) == 1 else []
    print(f"To watch: {remote.command('watch', *ids)}", file=sys.stderr)

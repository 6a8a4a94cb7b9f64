"""`sdenv jobs fetch`: the pictures of jobs as files, as if they had been made here."""

from collections.abc import Sequence
from typing import Final

from sdenv.cli.errors import ErrorStyle
from sdenv.cli.jobids import read_ids
from sdenv.cli.jobs import FetchFlags
from sdenv.cli.jobs_run import settings_of, stopping_only_the_wait
from sdenv.cli.outcomes import raise_outcome
from sdenv.cli.output import STDOUT, print_json, print_path
from sdenv.cli.remote import Remote, open_remote
from sdenv.cli.run import picture_record
from sdenv.cli.signals import Interrupts
from sdenv.core.errors import JobNotFinished, PeerBrokeProtocol, UnknownJob, UsageError
from sdenv.core.events import PictureReady
from sdenv.core.job_record import JobRecord, PictureRecord
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.services.files import PictureFacts, PictureWriter

_PICTURE_FIELDS: Final = ("init_image", "mask", "controls", "references")


def fetch_pictures(flags: FetchFlags) -> None:
    """Runs the command."""
    settings = settings_of(flags.profile)
    output = flags.output or settings.output
    if flags.json_lines and output == STDOUT:
        raise UsageError("--json and -o - both want stdout.", hint="Give -o a file or a folder.")
    writer = PictureWriter(output, force=flags.force, strip_metadata=flags.strip_metadata)
    with Interrupts() as interrupts, open_remote(flags.backend, flags.option, settings) as remote:
        jobs = [_ended(remote.job(word), flags, remote, interrupts) for word in read_ids(flags.ids)]
        wanted = [(job, _chosen(job, flags.index)) for job in jobs]
        made = [(job, pictures, _resolved(job, remote)) for job, pictures in wanted if pictures]
        writer.check([_as_many(resolved, pictures) for _, pictures, resolved in made])
        number = 0
        for job, pictures, resolved in made:
            for picture in pictures:
                facts = PictureFacts(
                    resolved, picture.index, job.backend, job.model_hash, dict(job.made_with), number
                )
                _save(job, picture, facts, remote, writer, as_json=flags.json_lines)
                number += 1
        raise_outcome(jobs, ErrorStyle(flags.json_lines, flags.debug))


def _ended(job: JobRecord, flags: FetchFlags, remote: Remote, interrupts: Interrupts) -> JobRecord:
    if job.state.ended:
        return job
    if not flags.wait:
        raise JobNotFinished(
            f"The job {job.id} has not ended: it is {job.state.value}.",
            hint=f"To wait for it: {remote.command('fetch', '--wait', job.id)}",
        )
    with stopping_only_the_wait(interrupts, remote, job):
        return remote.client.wait(job.id)


def _chosen(job: JobRecord, index: int | None) -> Sequence[PictureRecord]:
    if index is None:
        return job.pictures
    found = [picture for picture in job.pictures if picture.index == index]
    if not found:
        there = ", ".join(str(each.index) for each in job.pictures) or "none"
        raise UnknownJob(f"The job {job.id} has no picture {index}.", why=f"There are: {there}.")
    return found


def _resolved(job: JobRecord, remote: Remote) -> ResolvedRequest:
    """What was made; of input pictures the record has only the sums, the server has them whole."""
    values = {name: value for name, value in (job.resolved or {}).items() if name not in _PICTURE_FIELDS}
    if any((job.resolved or {}).get(name) for name in _PICTURE_FIELDS):
        request = remote.client.request_of(job.id)
        values |= {name: getattr(request, name) for name in _PICTURE_FIELDS}
    try:
        return ResolvedRequest.model_validate(values)
    except ValueError as error:
        raise PeerBrokeProtocol(
            f"The server does not say how the pictures of the job {job.id} were made.", why=f"{error}"
        ) from error


def _as_many(resolved: ResolvedRequest, pictures: Sequence[PictureRecord]) -> GenerationRequest:
    """The request of just these pictures, for their names."""
    first = resolved.seed_of(pictures[0].index)
    return resolved.as_request().model_copy(update={"count": len(pictures), "seed": first})


def _save(
    job: JobRecord,
    picture: PictureRecord,
    facts: PictureFacts,
    remote: Remote,
    writer: PictureWriter,
    *,
    as_json: bool,
) -> None:
    """Writes one picture as it is on the server, which has put into it how it was made."""
    image = remote.client.picture(job.id, picture.index)
    path = writer.write(image, facts, says_how=True)
    if path is None:
        return
    if as_json:
        print_json(picture_record(path, PictureReady(picture.index, image, picture.seed), facts, job.id))
    else:
        print_path(path)

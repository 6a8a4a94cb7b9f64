"""How jobs ended, as the errors and exit codes of the command that was told of them."""

from collections.abc import Sequence

from sdenv.cli.errors import ErrorStyle, show_error
from sdenv.core.errors import Cancelled, FailedError, PartlyFailed, SdenvError
from sdenv.core.job_record import JobRecord, JobState


def error_of_job(job: JobRecord) -> SdenvError | None:
    """What a job has ended with; None = it is done."""
    if job.state is JobState.DONE:
        return None
    if job.state is JobState.CANCELLED:
        return Cancelled(f"The job {job.id} was cancelled.", why="" if job.error is None else job.error.why)
    return job.error or FailedError(f"The job {job.id} failed.", why="Its server does not say why.")


def raise_outcome(jobs: Sequence[JobRecord], style: ErrorStyle) -> None:
    """Ends the command as the jobs have ended.

    Args:
        jobs: Jobs that have ended.
        style: How the errors of several are shown.

    Raises:
        SdenvError: That of the only job; of several, the one that all ended with, or PartlyFailed.
    """
    errors = [(job, error) for job in jobs if (error := error_of_job(job)) is not None]
    if not errors:
        return
    if len(jobs) == 1:
        raise errors[0][1]
    for job, error in errors:
        named = error.what if job.id in error.what else f"Job {job.id}: {error.what}"
        show_error(type(error)(named, error.why, error.hint), style)
    if len(errors) == len(jobs) and len({error.code for _, error in errors}) == 1:
        raise type(errors[0][1])(f"None of the {len(jobs)} jobs is done.")
    raise PartlyFailed(f"{len(errors)} of {len(jobs)} jobs are not done.")

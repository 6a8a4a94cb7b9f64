"""What the answers of sdenv's own API hold, beside jobs and status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord
from sdenv.net.exchange import Answer, media_type_in
from sdenv.protocols.native import job_of


@final
@dataclass(frozen=True, slots=True)
class JobsFound:
    """A page of jobs, newest first.

    Attributes:
        jobs: Those of this page.
        next: `before` of the next page; None = this is the last.
    """

    jobs: tuple[JobRecord, ...]
    next: str | None = None


def jobs_found_of(record: Mapping[str, Any]) -> JobsFound:
    """From JSON.

    Raises:
        PeerBrokeProtocol: It is not a page of jobs.
    """
    jobs, following = record.get("jobs"), record.get("next")
    if not isinstance(jobs, list) or not (following is None or isinstance(following, str)):
        raise PeerBrokeProtocol("The other side sent a list of jobs that cannot be read.")
    return JobsFound(tuple(job_of(each) for each in jobs), following)


def picture_in(answer: Answer) -> ImageData:
    """The picture that an answer is.

    Raises:
        PeerBrokeProtocol: It is none.
    """
    media_type = media_type_in(answer.headers)
    if not media_type.startswith("image/"):
        raise PeerBrokeProtocol(f"The other side sent {media_type or 'something'!r} where a picture belongs.")
    return ImageData(data=answer.body, media_type=media_type)

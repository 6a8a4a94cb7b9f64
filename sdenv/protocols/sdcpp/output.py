"""The files that a client wants, and how its job's id says so.

A job knows nothing of file types, and its answers must be the same after a restart of the server. So the id
that this dialect gives out is that of the job and, unless it is a PNG with metadata, what is wanted instead:
`01J...-jpeg-80`, `01J...-png-100-bare` (OURS; an id is an opaque text to clients).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sdenv.core.errors import UnknownJob
from sdenv.core.image import JPEG, PNG, WEBP

FORMATS: Final[Mapping[str, str]] = {"png": PNG, "jpeg": JPEG, "webp": WEBP}
"""Media types by `output_format`."""

MAX_COMPRESSION: Final = 100
_WIRE_ID: Final = re.compile(r"([0-9A-Za-z]{1,64})(?:-(png|jpeg|webp)-(\d{1,3})(-bare)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Output:
    """The files of an answer.

    Attributes:
        output_format: `png`, `jpeg`, `webp`.
        quality: 0 to 100, `output_compression`; that more is better is UNVERIFIED.
        metadata: Whether how it was made stays inside, `embed_image_metadata`.
    """

    output_format: str = "png"
    quality: int = MAX_COMPRESSION
    metadata: bool = True

    @property
    def media_type(self) -> str:
        """Of the files."""
        return FORMATS[self.output_format]


def wire_id(job_id: str, output: Output) -> str:
    """The id that a client is told."""
    if output == Output():
        return job_id
    return f"{job_id}-{output.output_format}-{output.quality}{'' if output.metadata else '-bare'}"


def output_of(told: str) -> tuple[str, Output]:
    """The job's own id, and the files that are wanted of it.

    Raises:
        UnknownJob: It is no id that was ever told.
    """
    found = _WIRE_ID.fullmatch(told)
    if found is None:
        raise UnknownJob(f"There is no job {told[:80]!r}.")
    job_id, output_format, quality, bare = found.groups()
    if output_format is None:
        return job_id, Output()
    return job_id, Output(output_format, min(int(quality), MAX_COMPRESSION), bare is None)

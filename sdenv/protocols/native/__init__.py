"""sdenv's own wire format: requests, events, jobs, errors and capabilities as JSON, in both directions.

Spoken over HTTP (`/sdenv/v1`), over the unix socket of a warm server, and over the pipe between a server and
the child process that holds the model.
"""

from typing import Final

from sdenv.core.capabilities import EVERYTHING
from sdenv.protocols.native.errors import error_of, error_record
from sdenv.protocols.native.events import event_of, picture_of, request_record, result_of, result_record
from sdenv.protocols.native.jobs import job_of, job_record
from sdenv.protocols.native.status import (
    NATIVE_VERSION,
    capabilities_of,
    capabilities_record,
    model_of,
    model_record,
    status_of,
    status_record,
)

PREFIX: Final = "/sdenv/v1"
CARRIES: Final = EVERYTHING
"""Every field of the request."""

__all__ = [
    "CARRIES",
    "NATIVE_VERSION",
    "PREFIX",
    "capabilities_of",
    "capabilities_record",
    "error_of",
    "error_record",
    "event_of",
    "job_of",
    "job_record",
    "model_of",
    "model_record",
    "picture_of",
    "request_record",
    "result_of",
    "result_record",
    "status_of",
    "status_record",
]

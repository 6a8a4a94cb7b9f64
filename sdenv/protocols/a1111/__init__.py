"""AUTOMATIC1111's HTTP API, `/sdapi/v1`: bodies, answers, progress and lists, in both directions.

The facts are in docs/reference/dialects.md. One module for each kind of message; no sockets, no clock.
"""

from sdenv.protocols.a1111.answers import Answer, Made, answer_of, answer_record, resolved_of
from sdenv.protocols.a1111.asking import Ask, Known, ask_of
from sdenv.protocols.a1111.errors import error_body, error_in, status_by_code
from sdenv.protocols.a1111.fields import EXACT_HEADER
from sdenv.protocols.a1111.infotext import infotext_record
from sdenv.protocols.a1111.inputs import InitImageMissing
from sdenv.protocols.a1111.options import FORMATS, Options, overridden
from sdenv.protocols.a1111.progress import (
    Polled,
    Running,
    internal_record,
    pending_record,
    polled_of,
    progress_record,
)
from sdenv.protocols.a1111.telling import CARRIES, body_of, parts_of, uncarried
from sdenv.protocols.a1111.values import WrongFields, text, truth, whole

PREFIX = "/sdapi/v1"
DEFAULT_PORT = 7860

__all__ = [
    "CARRIES",
    "DEFAULT_PORT",
    "EXACT_HEADER",
    "FORMATS",
    "PREFIX",
    "Answer",
    "Ask",
    "InitImageMissing",
    "Known",
    "Made",
    "Options",
    "Polled",
    "Running",
    "WrongFields",
    "answer_of",
    "answer_record",
    "ask_of",
    "body_of",
    "error_body",
    "error_in",
    "infotext_record",
    "internal_record",
    "overridden",
    "parts_of",
    "pending_record",
    "polled_of",
    "progress_record",
    "resolved_of",
    "status_by_code",
    "text",
    "truth",
    "uncarried",
    "whole",
]

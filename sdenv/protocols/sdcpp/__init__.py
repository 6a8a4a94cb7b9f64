"""stable-diffusion.cpp's own asynchronous HTTP API, `/sdcpp/v1`: bodies, jobs and capabilities.

Source: leejet/stable-diffusion.cpp, `examples/server/api.md`; what it leaves open is marked UNVERIFIED or
OURS where it is decided. No sockets, no clock.
"""

from sdenv.protocols.sdcpp.answers import (
    accepted_record,
    capabilities_record,
    error_body,
    job_record,
    sampler_word,
    schedule_word,
)
from sdenv.protocols.sdcpp.asking import CARRIES, Ask, ask_of, body_of
from sdenv.protocols.sdcpp.output import FORMATS, Output, output_of, wire_id

PREFIX = "/sdcpp/v1"

__all__ = [
    "CARRIES",
    "FORMATS",
    "PREFIX",
    "Ask",
    "Output",
    "accepted_record",
    "ask_of",
    "body_of",
    "capabilities_record",
    "error_body",
    "job_record",
    "output_of",
    "sampler_word",
    "schedule_word",
    "wire_id",
]

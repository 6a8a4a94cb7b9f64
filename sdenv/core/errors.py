"""Every error that sdenv raises on purpose: what happened, why, and what to type next.

    SdenvError                      kind         exit
    |-- InternalError               bug             1
    |-- UsageError                  usage           2   invalid-request, unknown names, sizes, files
    |   |-- InvalidRequest  UnknownBackend  UnknownModel  UnknownSampler  UnknownName  UnknownJob
    |   |-- SizeNotPossible  BadImage  BadMask  BadMetadata  BadConfig  ModelIncomplete
    |   |-- RequestTooLarge  KeyReused  JobNotFinished
    |   `-- FileAlreadyExists  NotWritable  BadTrainingData
    |-- UnsupportedError            unsupported     3   request-unsupported
    |   `-- UnsafeWeights  DoesNotFit
    |-- UnavailableError            unavailable     4
    |   `-- ExtraMissing  ConnectionFailed  PortInUse  FolderInUse  ServerStopping
    |-- Busy                        busy            5
    |-- FailedError                 failed          6
    |   `-- OutOfMemory  DiskFull  PartlyFailed  WorkerLost  PeerBrokeProtocol
    |-- NoStepInTime                timeout         7
    |-- Denied                      denied          8
    |   `-- OriginDenied  CertificateChanged
    `-- Cancelled                   cancelled     130

`kind` decides the exit code and the status of every protocol; `code` is the stable word that scripts match
on; `repeats` says whether the very same request would fail again (what repeats is never answered with a
status that clients retry). The page docs/reference/errors.md is generated from this module.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What sort of failure an error is; the value is the name in JSON and in the docs."""

    BUG = "bug"
    USAGE = "usage"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    BUSY = "busy"
    FAILED = "failed"
    TIMEOUT = "timeout"
    DENIED = "denied"
    CANCELLED = "cancelled"


EXIT_CODES: dict[Kind, int] = {
    Kind.BUG: 1,
    Kind.USAGE: 2,
    Kind.UNSUPPORTED: 3,
    Kind.UNAVAILABLE: 4,
    Kind.BUSY: 5,
    Kind.FAILED: 6,
    Kind.TIMEOUT: 7,
    Kind.DENIED: 8,
    Kind.CANCELLED: 130,  # 128 + SIGINT, what a shell reports for a program ended by Ctrl-C
}


class SdenvError(Exception):
    """Base of every deliberate error.

    Args:
        what: What happened, as one sentence for a person.
        why: The reason, where it is known and not obvious.
        hint: What to do next, where possible a command to type.
    """

    code: ClassVar[str] = "internal-error"
    kind: ClassVar[Kind] = Kind.BUG
    repeats: ClassVar[bool] = True

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.hint) if part)

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends with this error."""
        return EXIT_CODES[self.kind]


class InternalError(SdenvError):
    """A mistake in sdenv itself or in a backend; never the user's fault."""

    code = "internal-error"
    kind = Kind.BUG
    repeats = True


class UsageError(SdenvError):
    """The command or the request does not make sense as it stands."""

    code = "usage"
    kind = Kind.USAGE


class InvalidRequest(UsageError):
    """A field of the request has a value outside its documented range, or fields contradict each other."""

    code = "invalid-request"


class UnknownName(UsageError):
    """A name that is not in the table it was looked up in (a recipe, a probe, a setting, a front end)."""

    code = "unknown-name"


class UnknownBackend(UsageError):
    """No backend has this name, and it is not a URL of a known scheme."""

    code = "unknown-backend"


class UnknownModel(UsageError):
    """The backend has no model of this name, and no folder or file of this path exists."""

    code = "model-not-found"


class UnknownSampler(UsageError):
    """The sampler or schedule is not known, or cannot run the noise schedule of the model."""

    code = "unknown-sampler"


class SizeNotPossible(UsageError):
    """The model cannot make a picture of this width and height; the error names the nearest it can."""

    code = "size-not-multiple"


class BadImage(UsageError):
    """An input picture is not a picture, is truncated, or is larger than the limit for decoding."""

    code = "bad-image"


class BadMask(UsageError):
    """The mask does not have the size of the init image."""

    code = "bad-mask"


class BadMetadata(UsageError):
    """The picture given to `--from` does not say how it was made."""

    code = "bad-metadata"


class BadConfig(UsageError):
    """A configuration file, variable or recipe has an unknown key or a value of the wrong type."""

    code = "bad-config"


class ModelIncomplete(UsageError):
    """A model folder lacks a file that its index names, or a weights file is damaged."""

    code = "model-incomplete"


class BadTrainingData(UsageError):
    """The training data cannot be used: missing, empty, or not what the recipe expects."""

    code = "bad-training-data"


class UnknownJob(UsageError):
    """No job has this id, or it has no such picture, or it was removed; or it belongs to another token."""

    code = "job-not-found"


class JobNotFinished(UsageError):
    """A job is asked for something that only a finished one has, or a finished one is to be cancelled."""

    code = "job-not-finished"
    repeats = False


class KeyReused(UsageError):
    """An Idempotency-Key was used before, for another request."""

    code = "key-reused"


class RequestTooLarge(UsageError):
    """The body of a request has more bytes than the server takes."""

    code = "request-too-large"


class FileAlreadyExists(UsageError):
    """An output file exists and `--force` was not given."""

    code = "file-exists"


class NotWritable(UsageError):
    """The output folder does not exist and cannot be made, or may not be written to."""

    code = "not-writable"


class UnsupportedError(SdenvError):
    """The backend cannot do what the request asks for; refused before any work."""

    code = "request-unsupported"
    kind = Kind.UNSUPPORTED


class UnsafeWeights(UnsupportedError):
    """The weights are a pickle, which can run code when loaded; only safetensors are read."""

    code = "unsafe-weights"


class DoesNotFit(UnsupportedError):
    """Arithmetic says that the picture cannot fit in the memory of the device."""

    code = "does-not-fit"


class UnavailableError(SdenvError):
    """Something that is needed is not there now."""

    code = "unavailable"
    kind = Kind.UNAVAILABLE
    repeats = False


class ExtraMissing(UnavailableError):
    """An optional part of sdenv is not installed; the hint is the pip command."""

    code = "extra-missing"


class ConnectionFailed(UnavailableError):
    """Nothing listens at the address, the connection broke, or no secure connection can be made."""

    code = "connection-failed"


class PortInUse(UnavailableError):
    """Another program listens on the port; sdenv never takes another port than the one asked for."""

    code = "port-in-use"


class FolderInUse(UnavailableError):
    """Another server keeps its jobs in this folder, or it lies on a disk that cannot keep them safely."""

    code = "folder-in-use"


class ServerStopping(UnavailableError):
    """The server is about to end and takes no more jobs; those it has accepted are not lost."""

    code = "server-stopping"


class Busy(SdenvError):
    """The queue is full; the same request may be accepted later."""

    code = "queue-full"
    kind = Kind.BUSY
    repeats = False

    def __init__(self, what: str, why: str = "", hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(what, why, hint)
        self.retry_after_s = retry_after_s
        """Seconds until a place is likely, where that is known."""


class FailedError(SdenvError):
    """The work began and could not be finished."""

    code = "failed"
    kind = Kind.FAILED
    repeats = False


class OutOfMemory(FailedError):
    """The device ran out of memory during the work, in spite of the arithmetic."""

    code = "out-of-memory"
    repeats = True


class DiskFull(FailedError):
    """A file could not be written whole because the disk is full; no partial file is left."""

    code = "disk-full"


class PartlyFailed(FailedError):
    """Some requests of a batch failed; the others were finished and saved."""

    code = "partly-failed"


class WorkerLost(FailedError):
    """The process that did the work was killed, crashed or stopped answering; the work may be tried again."""

    code = "worker-lost"


class PeerBrokeProtocol(FailedError):
    """The other side answered with something that its protocol does not allow."""

    code = "peer-broke-protocol"


class NoStepInTime(SdenvError):
    """A job has not ended, or shown no progress, within the time allowed; it may still go on."""

    code = "no-step-in-time"
    kind = Kind.TIMEOUT
    repeats = False


class Denied(SdenvError):
    """The token or secret is missing or wrong, or does not allow this."""

    code = "denied"
    kind = Kind.DENIED
    repeats = True


class OriginDenied(Denied):
    """A web page of another origin, or a name that is not this server's, asked; browsers may not do that."""

    code = "origin-denied"


class CertificateChanged(Denied):
    """The server shows another certificate than the one that was trusted before."""

    code = "certificate-changed"


class Cancelled(SdenvError):
    """The work was cancelled by the one who asked for it."""

    code = "cancelled"
    kind = Kind.CANCELLED
    repeats = False

    def __init__(self, what: str = "Cancelled.", why: str = "", hint: str = "") -> None:
        super().__init__(what, why, hint)


def all_error_types() -> Iterator[type[SdenvError]]:
    """Every error class of this module, a parent before its children: the source of the errors page."""
    pending: list[type[SdenvError]] = [SdenvError]
    while pending:
        current = pending.pop(0)
        if current is not SdenvError and current.__module__ == __name__:
            yield current
        pending[:0] = current.__subclasses__()


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of an error text: the nearest known name, or all of them when none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.5)
    if close:
        return f"Did you mean {by_folded[close[0]]!r}?"
    return f"Known: {', '.join(sorted(known))}." if known else ""

"""Single questions to a server of the seed dialect, and what its refusals mean."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

from sdenv.core.errors import (
    ConnectionFailed,
    Denied,
    FailedError,
    InvalidRequest,
    PeerBrokeProtocol,
    SdenvError,
)
from sdenv.net.exchange import Answer
from sdenv.net.session import Session
from sdenv.protocols import seed

STATUS: Final = "/server/status"
GENERATE: Final = "/image/generate"


def is_available(session: Session) -> bool:
    """Whether the server would take a job now."""
    return seed.is_available_of(checked(session.get(STATUS)).json())


def result(session: Session, uuid: UUID) -> seed.Result | None:
    """The result of this id; None = it is not there, or not yet."""
    answer = _patiently(session, lambda: session.get(f"{GENERATE}?generation_uuid={uuid}"))
    found = [each for each in seed.results_of(checked(answer).json()) if each.uuid == uuid]
    return found[0] if found else None


def results(session: Session, prompt: str) -> tuple[list[seed.Result], datetime]:
    """All results of a prompt, and the server's time."""
    answer = checked(session.get(GENERATE))
    try:
        server_now = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        server_now = datetime.now(UTC)
    if server_now.tzinfo is None:
        server_now = server_now.replace(tzinfo=UTC)
    return [each for each in seed.results_of(answer.json()) if each.prompt == prompt], server_now


def _patiently(session: Session, ask: Callable[[], Answer]) -> Answer:
    """An answer to a question that may be repeated; one lost connection is nothing yet."""
    try:
        return ask()
    except ConnectionFailed:
        session.wait(1.0)
        return ask()


def checked(answer: Answer) -> Answer:
    """The answer, if it is a good one."""
    if answer.status == 200:
        return answer
    raise _error_in(answer)


def _error_in(answer: Answer) -> SdenvError:
    why = detail(answer)
    if answer.status in (401, 403):
        return Denied(f"{answer.url} wants a token.", why=why, hint="-O token_file=FILE")
    if answer.status == 422:
        return InvalidRequest("The server refuses the request.", why=why)
    if answer.status >= 500:
        return FailedError("The server failed.", why=why)
    what = f"{answer.url} does not speak the seed dialect."
    return PeerBrokeProtocol(what, why=f"It answers {answer.status}. {why}".strip())


def detail(answer: Answer) -> str:
    """FastAPI's `detail`: a text for most errors, a list for a body that is not valid."""
    try:
        found = answer.record().get("detail")
    except PeerBrokeProtocol:
        return ""
    if isinstance(found, list):
        faults = (each for each in found if isinstance(each, dict))
        return "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg')}" for each in faults)
    return str(found)[:500] if found else ""

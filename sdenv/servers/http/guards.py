"""What stands before every route, whatever its dialect: pure ASGI, so that no route can be without it."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Final, final

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdenv.core.errors import InternalError, InvalidRequest, NoStepInTime, RequestTooLarge, SdenvError
from sdenv.servers.http.access import OPEN_FOLDER, Access, Asked
from sdenv.servers.http.bodies import BodyReader
from sdenv.servers.http.many_values import check_values
from sdenv.servers.http.principal import STATE_KEY, Principal

HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise: nothing in it runs, no page of another origin embeds it."""

_VALUE: Final = re.compile(rb"([!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
"""What a header may say (RFC 9110 5.5): no control characters, no blank at either end."""
_QUIET_CHALLENGE: Final = 'Bearer realm="sdenv"'  # for which no browser opens a window

_logger = logging.getLogger(__name__)


@final
class Guards:
    """Lets in what may come in, and nothing of ours out that should stay here.

    Args:
        app: All routes.
        access: Who may ask; None = everybody who can connect (a socket that only its owner can open).
        bodies: Reads bodies.
        methods: The methods that a path has; empty = there is no such path.
        answer: Says an error in the dialect of a path.
        observe: Is told the path and status of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access | None,
        bodies: BodyReader,
        methods: Callable[[str], frozenset[str]],
        answer: Callable[[str, SdenvError], Response],
        observe: Callable[[str, int], None],
    ) -> None:
        self._app = app
        self._access = access
        self._bodies = bodies
        self._methods = methods
        self._answer = answer
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        assert scope["type"] == "http", scope["type"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["path"], headers)
        answering = _Answering(send, self._headers(asked), asked)
        length = 0
        try:
            if "content-length" in headers and "transfer-encoding" in headers:
                await self._refuse(_two_lengths(), scope, receive, answering, status=400, close=True)
                return
            principal = Principal() if self._access is None else self._access.principal(asked)
            scope.setdefault("state", {})[STATE_KEY] = principal
            if asked.method == "OPTIONS" and (methods := self._methods(asked.path)):
                await Response(status_code=204, headers=_options(asked, methods))(
                    scope, receive, answering.send
                )
                return
            body = await self._body(asked, receive)
            length = len(body)
            await check_values(body)
            scope = {**scope, "method": "GET"} if asked.method == "HEAD" else scope
            await self._app(scope, _replayed(body, receive), answering.send)
        except NoStepInTime as error:
            await self._refuse(error, scope, receive, answering, status=408)
        except SdenvError as error:
            await self._refuse(error, scope, receive, answering)
        except Exception:  # whatever a route does costs one answer, and tells nobody how
            _logger.exception("The answer to %s %s failed.", asked.method, asked.path)
            if not answering.status:
                crash = InternalError("The server has made a mistake; its log says more.")
                await self._refuse(crash, scope, receive, answering, status=500)
        finally:
            self._bodies.forget(length)
            self._observe(asked.path, answering.status)

    async def _body(self, asked: Asked, receive: Receive) -> bytes:
        announced = asked.headers.get("content-length", "")
        if "transfer-encoding" in asked.headers:
            return await self._bodies.read(receive, None)
        return await self._bodies.read(receive, int(announced)) if announced not in ("", "0") else b""

    async def _refuse(
        self,
        error: SdenvError,
        scope: Scope,
        receive: Receive,
        answering: "_Answering",
        status: int = 0,
        *,
        close: bool = False,
    ) -> None:
        response = self._answer(scope["path"], error)
        response.status_code = status or response.status_code
        if close or isinstance(error, RequestTooLarge | NoStepInTime):
            response.headers["Connection"] = "close"  # what is left of the body is not the next request
        await response(scope, receive, answering.send)

    def _headers(self, asked: Asked) -> dict[str, str]:
        """What every answer to this request carries."""
        cors = {} if self._access is None else self._access.cors_headers(asked.headers.get("origin", ""))
        embeddable = bool(cors) or asked.path.startswith(OPEN_FOLDER)
        policy = "cross-origin" if embeddable else "same-origin"
        return {**HEADERS, "Cross-Origin-Resource-Policy": policy, **cors}


def _options(asked: Asked, methods: frozenset[str]) -> dict[str, str]:
    """The answer to a browser that asks whether it may ask, and to anybody who asks what can be asked."""
    listed = ", ".join(sorted(methods))
    if "access-control-request-method" not in asked.headers:
        return {"Allow": listed}
    wanted = asked.headers.get("access-control-request-headers", "")
    return {
        "Access-Control-Allow-Methods": listed,
        "Access-Control-Allow-Headers": wanted,
        "Access-Control-Max-Age": "600",
    }


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, then what comes after it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


def _two_lengths() -> InvalidRequest:
    """What a proxy before us may read otherwise than we do: then a second request hides in the first."""
    return InvalidRequest(
        "The request has both a Content-Length and a Transfer-Encoding.",
        why="Where it ends is not certain (RFC 9112, section 6.1).",
        hint="Send one of the two.",
    )


def _check_sendable(headers: MutableHeaders) -> None:
    """Raises while there is still something else to answer: uvicorn would drop the connection instead."""
    for name, value in headers.raw:
        if not _VALUE.fullmatch(value):
            raise ValueError(f"The header {name!r} cannot be sent as {value[:200]!r}.")


@final
class _Answering:
    """The way out of one answer: headers of ours are added, and a HEAD gets no body.

    Attributes:
        status: What was answered; 0 = nothing yet.
    """

    def __init__(self, send: Send, headers: Mapping[str, str], asked: Asked) -> None:
        self._send = send
        self._headers = headers
        self._is_head = asked.method == "HEAD"
        self._is_by_script = asked.is_by_script
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            found = MutableHeaders(raw=list(message.get("headers", ())))
            for name, value in self._headers.items():
                found.setdefault(name, value)
            if self._is_by_script and "www-authenticate" in found:
                found["WWW-Authenticate"] = _QUIET_CHALLENGE
            _check_sendable(found)
            self.status = message["status"]
            await self._send({**message, "headers": found.raw})
            if self._is_head:
                await self._send({"type": "http.response.body", "body": b""})
        elif not self._is_head:
            await self._send(message)

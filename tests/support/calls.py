"""Plain HTTP calls in tests, so that what is asserted is what goes over the wire."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sdenv.core.server import Address
from sdenv.net.address import Access
from sdenv.net.exchange import Answer, Call
from sdenv.net.session import Session
from tests.support.http_servers import url_of

JSON: Final = {"Content-Type": "application/json"}


def call(
    address: Address, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own.

    Args:
        address: Of the server.
        method: GET, POST, ...
        path: With the query.
        body: Bytes as they are; anything else becomes JSON. None = none.
        headers: Further ones, instead of that of JSON where there are any.
    """
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    session = Session(Access(url=url_of(address)))
    sent = headers if headers is not None else (JSON if data is not None else {})
    try:
        return session.exchange(
            Call(method=method, path=path, body=data, headers=sent, repeatable=False, answer_s=60)
        )
    finally:
        session.close()


def get(address: Address, path: str) -> Any:
    """The JSON of a GET that succeeds."""
    answer = call(address, "GET", path)
    assert answer.status == 200, answer.body
    return answer.json()


def post(address: Address, path: str, body: object) -> Any:
    """The JSON of a POST that succeeds."""
    answer = call(address, "POST", path, body)
    assert answer.status == 200, answer.body
    return answer.json()

"""Messages on a pipe come as bytes in pieces of any size."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import PeerBrokeProtocol, RequestTooLarge
from sdenv.services.worker import frames
from sdenv.services.worker.frames import FrameReader, encoded

MESSAGES: list[dict[str, Any]] = [
    {"type": "beat"},
    {"type": "event", "call": 3, "event": {"message": "żółw 🐢"}},
    {"type": "ready"},
]
BYTES = b"".join(encoded(each) for each in MESSAGES)


@pytest.mark.parametrize("size", [1, 3, 7, len(BYTES)])
def test_messages_arrive_whatever_the_pieces(size: int) -> None:
    reader = FrameReader()
    pieces = [BYTES[start : start + size] for start in range(0, len(BYTES), size)]
    assert [record for piece in pieces for record in reader.feed(piece)] == MESSAGES


def test_what_is_not_whole_waits() -> None:
    reader = FrameReader()
    assert list(reader.feed(BYTES[:-1])) == MESSAGES[:-1]
    assert list(reader.feed(BYTES[-1:])) == MESSAGES[-1:]


@pytest.mark.parametrize(
    "body",
    [b"hello", b"[]", b"{}", b'{"type": 1}', b"\xff", b"[" * 100_000],
    ids=lambda body: repr(body[:10]),
)
def test_what_is_no_message_is_an_error(body: bytes) -> None:
    with pytest.raises(PeerBrokeProtocol):
        list(FrameReader().feed(len(body).to_bytes(4, "big") + body))


def test_a_length_above_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(PeerBrokeProtocol, match="4294967295 bytes"):
        list(FrameReader().feed(b"\xff\xff\xff\xff"))


def test_a_request_above_the_limit_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(RequestTooLarge, match="the limit is 100"):
        encoded({"type": "generate", "prompt": "x" * 100})


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_messages_or_an_error(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            for record in reader.feed(piece):
                json.dumps(record)
    except PeerBrokeProtocol:
        return

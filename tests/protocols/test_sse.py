"""Server-sent events as the standard describes them, however the bytes arrive."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import PeerBrokeProtocol
from sdenv.protocols import sse
from sdenv.protocols.sse import EventReader, ServerSentEvent

STREAMS = [
    (b"data: one\n\n", [ServerSentEvent("one")]),
    (b"event: step\nid: 1-2\ndata: {}\n\n", [ServerSentEvent("{}", "step", "1-2")]),
    (b"data: one\ndata: two\n\n", [ServerSentEvent("one\ntwo")]),
    (
        b"data:one\r\n\r\ndata: two\r\rdata: three\n\n",
        [ServerSentEvent(each) for each in ("one", "two", "three")],
    ),
    (b": keep-alive\n\nretry: 1000\n\n", []),
    (b"event: nothing\n\ndata: x\n\n", [ServerSentEvent("x")]),
    (b"id: 7\ndata: a\n\ndata: b\n\n", [ServerSentEvent("a", id="7"), ServerSentEvent("b", id="7")]),
    (b"id: 7\ndata: a\n\nid:\ndata: b\n\n", [ServerSentEvent("a", id="7"), ServerSentEvent("b")]),
    (b"id: a\0b\ndata: x\n\n", [ServerSentEvent("x")]),
    (b"data\n\n", [ServerSentEvent("")]),
    (b"data:  two spaces\n\n", [ServerSentEvent(" two spaces")]),
    ("\ufeffdata: a\u00fc\u2028b\n\n".encode(), [ServerSentEvent("a\u00fc\u2028b")]),
    (b"unknown: x\ndata: y\n\n", [ServerSentEvent("y")]),
    (b"data: cut off", []),
    (b"data: no empty line\n", []),
    (b"", []),
]


@pytest.mark.parametrize(("received", "events"), STREAMS)
def test_a_stream_gives_its_events_whole_and_byte_by_byte(
    received: bytes, events: list[ServerSentEvent]
) -> None:
    assert EventReader().feed(received) == events
    reader = EventReader()
    assert [event for byte in received for event in reader.feed(bytes([byte]))] == events


@given(st.lists(st.sampled_from(STREAMS), max_size=5), st.lists(st.integers(0, 200), max_size=8))
def test_where_the_pieces_end_does_not_matter(
    streams: list[tuple[bytes, list[ServerSentEvent]]], cuts: list[int]
) -> None:
    received = b"".join(each for each, _ in streams)
    places = [0, *sorted(min(cut, len(received)) for cut in cuts), len(received)]
    reader = EventReader()
    pieces = [received[start:end] for start, end in pairwise(places)]
    assert [event for piece in pieces for event in reader.feed(piece)] == EventReader().feed(received)


def test_an_event_that_never_ends_is_an_error_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    reader = EventReader()
    for _ in range(40):
        reader.feed(b"data: nineteen letters.\n")
    with pytest.raises(PeerBrokeProtocol, match="1000 bytes"):
        reader.feed(b"data: nineteen letters.\n" * 5)
    with pytest.raises(PeerBrokeProtocol, match="1000 bytes"):
        EventReader().feed(b"x" * 1001)


def test_many_small_events_are_no_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    assert len(EventReader().feed(b"data: x\n\n" * 1000)) == 1000


def test_what_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(PeerBrokeProtocol, match="UTF-8"):
        EventReader().feed(b"data: \xff\xfe\n\n")

"""What clients send keeps nobody waiting: pictures are decoded a few at once, forms are read in pieces."""

import asyncio
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from python_multipart import MultipartParser

from sdenv.core.image import ImageData, decode
from sdenv.protocols.inline import as_base64, as_data_uri
from sdenv.protocols.openai import Upload, form_body
from sdenv.protocols.openai.pictures import transparent_mask
from sdenv.servers.http.context import MAX_DECODING
from sdenv.servers.http.openai import PIECE_BYTES
from sdenv.testing.samples import mask, picture
from tests.support.calls import call
from tests.support.http_servers import http_server

A1111 = "/sdapi/v1/img2img"
OPENAI = "/v1/images/edits"
_LONG_ENOUGH_S = 0.2


@pytest.fixture
def hole() -> str:
    """A mask as the images API wants it."""
    return as_data_uri(transparent_mask(mask()))


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Whether more pictures than may were being decoded at one moment."""
    barrier, met = threading.Barrier(MAX_DECODING + 1), threading.Event()

    def slowly(image: ImageData, name: str = "the picture") -> object:
        try:
            barrier.wait(_LONG_ENOUGH_S)
            met.set()
        except threading.BrokenBarrierError:
            pass
        return decode(image, name)

    monkeypatch.setattr(f"sdenv.protocols.{request.param}.decode", slowly)
    return met.is_set


@pytest.mark.parametrize(
    ("crowd", "path"),
    [("a1111.framing", A1111), ("openai.pictures", OPENAI)],
    indirect=["crowd"],
)
def test_few_requests_decode_their_pictures_at_once(hole: str, crowd: Callable[[], bool], path: str) -> None:
    init = picture()
    body = {
        A1111: {
            "init_images": [as_base64(init)], "mask": as_base64(mask()), "width": 64, "height": 64,
        },
        OPENAI: {"prompt": "a", "images": [{"image_url": as_data_uri(init)}], "mask": {"image_url": hole}},
    }[path]  # fmt: skip
    with http_server() as address, ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(call, address, "POST", path, body) for _ in range(4)]
        assert {each.result().status for each in calls} == {200}
    assert not crowd()


def test_a_large_form_is_read_in_pieces_and_summed_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces: list[int] = []
    in_loop: list[bool] = []
    write, sha256 = MultipartParser.write, hashlib.sha256

    def noted(parser: MultipartParser, data: bytes) -> int:
        pieces.append(len(data))
        return write(parser, data)

    def summed(data: bytes = b"", **options: Any) -> Any:
        if len(data) > PIECE_BYTES:
            in_loop.append(asyncio._get_running_loop() is not None)
        return sha256(data, **options)

    large = ImageData(data=b"\n-" * 200_000, media_type="image/png")
    content_type, body = form_body(
        {"size": "64x64"}, [Upload("image", "a.png", picture()), Upload("other", "b.png", large)]
    )
    monkeypatch.setattr(MultipartParser, "write", noted)
    monkeypatch.setattr(hashlib, "sha256", summed)
    with http_server() as address:
        path = "/v1/images/variations"
        assert call(address, "POST", path, body, {"Content-Type": content_type}).status == 200
    assert sum(pieces) == len(body)
    assert max(pieces) <= PIECE_BYTES
    assert in_loop == [False]

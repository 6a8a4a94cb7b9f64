"""Pictures that clients send are decoded a few at once: each may be large, however small its file."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdenv.core.image import ImageData, decode
from sdenv.protocols.inline import as_base64, as_data_uri
from sdenv.protocols.openai.pictures import transparent_mask
from sdenv.servers.http.context import MAX_DECODING
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

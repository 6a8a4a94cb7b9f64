"""OpenAI's own Python package works unchanged, and repeats only what can succeed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai
import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.errors import FailedError, InternalError, NoStepInTime, OutOfMemory, SdenvError
from sdenv.core.image import JPEG, decode, size_of
from sdenv.protocols.openai import transparent_mask
from sdenv.testing.fakes import PATIENCE_S, SlowBackend
from sdenv.testing.samples import mask, picture
from tests.support.http_servers import http_server
from tests.support.openai_package import file_of, official_client, picture_of
from tests.support.scripted import Scripted

SIDE_PX = 256


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with http_server() as address, official_client(address) as made:
        yield made


def test_generates_with_the_fields_of_the_api_and_more_in_extra_body(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a cat",
        model="gpt-image-1",
        n=2,
        size="1024x1024",
        quality="auto",
        extra_body={"steps": 2, "seed": 7, "negative_prompt": "dogs", "guidance_scale": 2.5},
    )
    assert answer.data is not None
    assert [size_of(picture_of(each.b64_json)) for each in answer.data] == [(1024, 1024)] * 2
    assert answer.size == "1024x1024"
    extra: Any = answer.model_extra
    assert extra["sdenv"]["resolved"]["negative_prompt"] == "dogs"
    assert extra["sdenv"]["resolved"]["seed"] == 7


def test_headers_tell_those_who_look(client: openai.OpenAI) -> None:
    raw = client.images.with_raw_response.generate(
        prompt="a cat", model="dall-e-3", size="256x256", style="natural"
    )
    assert raw.headers["x-sdenv-model"] == "mosaic"
    assert raw.headers["x-sdenv-ignored"] == "style"


def test_a_url_can_be_fetched_without_the_key(client: openai.OpenAI) -> None:
    import urllib.request

    answer = client.images.generate(prompt="a cat", size="256x256", response_format="url")
    assert answer.data is not None
    [datum] = answer.data
    assert datum.b64_json is None
    assert datum.url is not None
    with urllib.request.urlopen(datum.url) as fetched:
        assert fetched.read(4) == b"\x89PNG"


def test_edits_with_a_mask(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=file_of(picture(SIDE_PX, SIDE_PX)),
        mask=file_of(transparent_mask(mask(SIDE_PX, SIDE_PX)), "mask.png"),
        prompt="a hat",
        extra_body={"steps": 2},
    )
    assert answer.data is not None
    made = decode(picture_of(answer.data[0].b64_json)).convert("RGB")
    kept = (0, 0, SIDE_PX // 2, SIDE_PX)
    before = decode(picture(SIDE_PX, SIDE_PX)).convert("RGB")
    assert made.crop(kept).tobytes() == before.crop(kept).tobytes()
    assert made.tobytes() != before.tobytes()


def test_edits_a_list_of_pictures(client: openai.OpenAI) -> None:
    images = [file_of(picture(SIDE_PX, SIDE_PX, shade), f"{shade}.png") for shade in range(2)]
    answer = client.images.edit(image=images, prompt="a hat", output_format="jpeg", output_compression=80)
    assert answer.data is not None
    assert picture_of(answer.data[0].b64_json).media_type == JPEG


def test_varies_a_picture(client: openai.OpenAI) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = client.images.create_variation(image=file_of(picture(64, 64)), n=2, size="256x256")
    assert answer.data is not None
    assert [size_of(picture_of(each.b64_json)) for each in answer.data] == [(256, 256)] * 2


def test_streams_pictures_on_the_way_and_the_picture(client: openai.OpenAI) -> None:
    with client.images.generate(
        prompt="a cat", size="256x256", stream=True, partial_images=2, extra_body={"steps": 9}
    ) as stream:
        events = list(stream)
    assert events[-1].type == "image_generation.completed"
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert 1 <= len(partial) <= 2
    for event in events:
        assert size_of(picture_of(event.b64_json)) == (256, 256)


def test_streams_an_edit(client: openai.OpenAI) -> None:
    with client.images.edit(image=file_of(picture(64, 64)), prompt="a hat", stream=True) as stream:
        assert [event.type for event in stream] == ["image_edit.completed"]


def test_lists_models_and_shows_one(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["mosaic", "mosaic-native"]
    assert client.models.retrieve("mosaic").owned_by == "sdenv"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("none such")
    assert missing.value.code == "model_not_found"


def test_several_at_once_wait_for_each_other(client: openai.OpenAI) -> None:
    def seed_of(seed: int) -> int:
        answer = client.images.generate(prompt="a cat", size="64x64", extra_body={"seed": seed, "steps": 1})
        extra: Any = answer.model_extra
        return int(extra["sdenv"]["resolved"]["seed"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(seed_of, range(4))) == list(range(4))


# Errors, and how often each is tried


class Tries(NamedTuple):
    """What came of a call.

    Attributes:
        error: What the package raised.
        sent: How many requests it sent.
        computed: How often the backend worked.
    """

    error: openai.APIError
    sent: int
    computed: int


def tries(backend: Backend, computed: list[int], **values: Any) -> Tries:
    """Lets the package have its way with a server over this backend."""
    sent: list[object] = []
    settings = values.pop("settings", {})
    with http_server(backend, **settings) as address, official_client(address) as client:
        client._client.event_hooks["request"].append(sent.append)
        with pytest.raises(openai.APIError) as failed:
            client.images.generate(**{"prompt": "a cat", "size": "64x64", **values})
    return Tries(failed.value, len(sent), len(computed))


def failing(error: SdenvError) -> tuple[Backend, list[int]]:
    """A backend that fails so, and how often it was asked."""
    computed: list[int] = []

    def fail(context: Any) -> Any:
        computed.append(1)
        raise error

    return Scripted(fail), computed


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (FailedError("The device is gone."), openai.InternalServerError),
        (NoStepInTime("Nothing moves."), openai.InternalServerError),
        (OutOfMemory("Too large."), openai.BadRequestError),
        (InternalError("Ours."), openai.BadRequestError),
    ],
    ids=lambda each: getattr(each, "code", ""),
)
def test_a_failure_is_computed_once_and_sent_once(error: SdenvError, raised: type[openai.APIError]) -> None:
    found = tries(*failing(error))
    assert type(found.error) is raised
    assert found.error.code == error.code
    assert (found.sent, found.computed) == (1, 1)


@pytest.mark.parametrize(
    ("values", "raised", "param"),
    [
        ({"n": 99}, openai.BadRequestError, "n"),
        ({"size": "huge"}, openai.BadRequestError, "size"),
        ({"model": "none such", "settings": {"strict_models": True}}, openai.NotFoundError, "model"),
        ({"settings": {"token": "another"}}, openai.AuthenticationError, None),
    ],
)
def test_what_is_refused_is_sent_once(
    values: dict[str, Any], raised: type[openai.APIError], param: str | None
) -> None:
    found = tries(FakeBackend(FakeSettings()), [], **values)
    assert type(found.error) is raised
    assert found.error.param == param
    assert found.sent == 1


def test_a_full_queue_is_tried_again_and_succeeds_when_there_is_room() -> None:
    slow = SlowBackend()
    statuses: list[int] = []
    with (
        http_server(slow, queue_size=0) as address,
        official_client(address) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.images.generate, prompt="the one that runs")
        assert slow.began.wait(PATIENCE_S)

        def make_room(response: Any) -> None:
            statuses.append(response.status_code)
            slow.let(1000)
            first.result(PATIENCE_S)

        with official_client(address) as another:
            another._client.event_hooks["response"].append(make_room)
            assert another.images.generate(prompt="the next").data
    assert statuses == [429, 200]


def test_an_error_in_a_stream_is_raised_with_its_code_and_not_tried_again() -> None:
    with (
        http_server(FakeBackend(FakeSettings(fail_at_step=2))) as address,
        official_client(address) as client,
    ):
        stream = client.images.generate(prompt="a cat", size="64x64", stream=True)
        with pytest.raises(openai.APIError) as failed:
            list(stream)
    assert failed.value.code == "failed"


def test_the_key_of_the_package_is_the_token_of_the_server() -> None:
    with http_server(token="secret") as address, official_client(address, api_key="secret") as client:
        assert client.images.generate(prompt="a cat", size="64x64").data

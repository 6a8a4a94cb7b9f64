"""OpenAI's own Python package, unchanged, before `sdenv serve http` with the built-in model."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import openai
import pytest

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.image import ImageData, size_of
from sdenv.core.request import GenerationRequest
from sdenv.core.server import Address
from sdenv.protocols.openai import transparent_mask
from sdenv.services.models import built_in_path
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import largest_difference, mask, picture
from tests.backends.local.test_previews import correlation
from tests.stress.served import Served
from tests.support.openai_package import file_of, official_client, picture_of

pytestmark = pytest.mark.slow

SIDE_PX = 256
STEPS = {"steps": 8, "seed": 11}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    served = Served(tmp_path_factory.mktemp("served"), ["--backend", "local"])
    served.start()
    try:
        served.wait_until_listening()
        place = urlsplit(served.url)
        address = Address(str(place.hostname), int(place.port or 0))
        with official_client(address, timeout=300.0) as made:
            yield made
    finally:
        assert served.stop() == 0


@pytest.fixture(scope="module")
def itself() -> Iterator[LocalBackend]:
    """The backend of this process, as `sdenv generate` would build it."""
    backend = LocalBackend(LocalSettings(models={"emoji": str(built_in_path())}))
    yield backend
    backend.close()


def only(answer: openai.types.ImagesResponse) -> ImageData:
    assert answer.data is not None
    [datum] = answer.data
    return picture_of(datum.b64_json)


def assert_same(one: ImageData, backend: LocalBackend, **request: object) -> None:
    """Fails unless the picture is the one that the backend of this process makes."""
    made = backend.generate(GenerationRequest.model_validate({**STEPS, **request}), Recorder())
    assert largest_difference(one, made.images[0]) == 0


def test_generates_what_the_backend_itself_makes(client: openai.OpenAI, itself: LocalBackend) -> None:
    found = only(client.images.generate(prompt="a pizza, 3d", size="256x256", extra_body=STEPS))
    assert_same(found, itself, prompt="a pizza, 3d", width=SIDE_PX, height=SIDE_PX)


def test_generates_for_an_app_with_a_fixed_model_and_size(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a cat, flat", model="dall-e-3", size="1792x1024", quality="hd", n=2, extra_body=STEPS
    )
    assert answer.data is not None
    assert [size_of(picture_of(each.b64_json)) for each in answer.data] == [(1792, 1024)] * 2


def test_edits_with_a_mask(client: openai.OpenAI, itself: LocalBackend) -> None:
    before, drawn = picture(SIDE_PX, SIDE_PX), mask(SIDE_PX, SIDE_PX)
    answer = client.images.edit(
        image=file_of(before),
        mask=file_of(transparent_mask(drawn), "mask.png"),
        prompt="a heart, flat",
        extra_body=STEPS,
    )
    assert_same(only(answer), itself, prompt="a heart, flat", init_image=before, mask=drawn)


def test_varies_a_picture(client: openai.OpenAI, itself: LocalBackend) -> None:
    before = picture(SIDE_PX, SIDE_PX)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = client.images.create_variation(image=file_of(before), extra_body=STEPS)
    assert_same(only(answer), itself, init_image=before)


def test_streams_pictures_on_the_way_that_show_the_picture(client: openai.OpenAI) -> None:
    with client.images.generate(
        prompt="a pizza, flat",
        size="256x256",
        stream=True,
        partial_images=3,
        extra_body={"seed": 1, "steps": 20},
    ) as stream:
        *partial, completed = list(stream)
    assert completed.type == "image_generation.completed"
    assert [event.type for event in partial] == ["image_generation.partial_image"] * len(partial)
    assert partial
    last, final = picture_of(partial[-1].b64_json), picture_of(completed.b64_json)
    assert size_of(last) == size_of(final) == (SIDE_PX, SIDE_PX)
    assert correlation(last, final) > 0.8


def test_streams_an_edit(client: openai.OpenAI) -> None:
    image = file_of(picture(SIDE_PX, SIDE_PX))
    with client.images.edit(image=image, prompt="a heart", stream=True, extra_body=STEPS) as stream:
        assert [event.type for event in stream] == ["image_edit.completed"]


def test_lists_the_built_in_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["emoji"]

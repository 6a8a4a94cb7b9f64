"""webuiapi, the usual Python client of AUTOMATIC1111, works unchanged: every call that it is used for."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import webuiapi

import sdenv
from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.image import decode
from sdenv.core.server import Address
from sdenv.testing.fakes import PATIENCE_S
from sdenv.testing.samples import mask, picture
from tests.support.http_servers import http_server
from tests.support.waiting import until


@contextmanager
def webui(address: Address, **options: Any) -> Iterator[Any]:
    """The package's client of the server at this address."""
    client = webuiapi.WebUIApi(host=address.host, port=address.port, **options)
    try:
        yield client
    finally:
        client.session.close()


def emoji() -> Backend:
    """The model that sdenv carries, on the processor."""
    from sdenv.backends.local import LocalBackend, LocalSettings
    from sdenv.backends.local.quiet import quieten

    quieten()
    folder = Path(sdenv.__file__).parent / "assets" / "emoji"
    return LocalBackend(LocalSettings(models={"emoji": str(folder)}, device="cpu", precision="float32"))


@pytest.fixture(
    scope="module", params=["fake", pytest.param("emoji", marks=pytest.mark.slow)], ids=["fake", "emoji"]
)
def api(request: pytest.FixtureRequest) -> Iterator[Any]:
    backend = emoji() if request.param == "emoji" else FakeBackend(FakeSettings())
    with closing(backend), http_server(backend) as address, webui(address, steps=4) as client:
        yield client


def test_the_constructor_asks_for_the_scripts_and_finds_no_extension(api: Any) -> None:
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert (api.has_controlnet, api.has_adetailer, api.has_animatediff) == (False, False, False)


def test_txt2img(api: Any) -> None:
    made = api.txt2img(
        prompt="a pizza, 3d", negative_prompt="blue", seed=7, width=256, height=256, cfg_scale=2
    )
    assert made.image.size == (256, 256)
    assert made.info["seed"] == 7
    assert (made.info["steps"], made.info["all_seeds"]) == (4, [7])
    assert made.parameters["sampler_name"] == "Euler a"
    assert made.info["infotexts"][0].startswith("a pizza, 3d\nNegative prompt: blue\nSteps: 4")
    assert "parameters" in made.image.info
    again = api.txt2img(
        prompt="a pizza, 3d", negative_prompt="blue", seed=7, width=256, height=256, cfg_scale=2
    )
    assert again.image.tobytes() == made.image.tobytes()


def test_a_batch_has_as_many_pictures_and_seeds(api: Any) -> None:
    made = api.txt2img(prompt="a cat", seed=5, batch_size=2, n_iter=1, width=256, height=256)
    assert len(made.images) == 2
    assert made.info["all_seeds"] == [5, 6]


def test_a_size_that_the_model_does_not_make_comes_exactly_as_asked(api: Any) -> None:
    assert api.txt2img(prompt="a cat", width=512, height=384).image.size == (512, 384)


def test_img2img_with_a_mask_repaints_what_is_white_and_keeps_the_rest(api: Any) -> None:
    init, black_and_white = decode(picture(256, 256)).convert("RGB"), decode(mask(256, 256))
    made = api.img2img(
        images=[init],
        mask_image=black_and_white,
        mask_blur=0,
        prompt="a red ball",
        seed=3,
        width=256,
        height=256,
        steps=4,
        denoising_strength=0.9,
    ).image.convert("RGB")
    left, right = (0, 0, 120, 256), (136, 0, 256, 256)
    assert made.crop(left).tobytes() == init.crop(left).tobytes()
    assert made.crop(right).tobytes() != init.crop(right).tobytes()


def test_img2img_without_a_mask(api: Any) -> None:
    init = decode(picture(256, 256)).convert("RGB")
    made = api.img2img(
        images=[init], prompt="a red ball", seed=3, width=256, height=256, denoising_strength=0.5
    )
    assert made.image.size == (256, 256)
    assert made.info["denoising_strength"] == 0.5


def test_progress_is_nothing_when_nothing_runs(api: Any) -> None:
    found = until(lambda: (told := api.get_progress())["progress"] == 0 and told)
    assert found["state"]["job_count"] == 0


def test_an_interrupt_ends_what_runs_and_progress_shows_it() -> None:
    with (
        http_server(FakeBackend(FakeSettings(step_seconds=0.02))) as address,
        webui(address) as api,
        webui(address) as other,
    ):
        made: list[Any] = []
        thread = threading.Thread(target=lambda: made.append(api.txt2img(prompt="a cat", steps=1000)))
        thread.start()
        shown = until(lambda: (told := other.get_progress())["state"]["sampling_step"] and told)
        assert 0.01 <= shown["progress"] < 1
        assert other.interrupt() == {}
        thread.join(PATIENCE_S)
    assert made[0].images == []


def test_skip_answers_null(api: Any) -> None:
    assert api.skip() is None


def test_options_can_be_read_and_set(api: Any) -> None:
    options = api.get_options()
    assert options["sd_model_checkpoint"] in api.util_get_model_names()
    assert api.util_get_current_model() == options["sd_model_checkpoint"]
    assert api.set_options(options) is None
    assert api.get_options() == options
    api.util_set_model(options["sd_model_checkpoint"])


def test_png_info_gives_back_what_the_picture_says(api: Any) -> None:
    made = api.txt2img(prompt="a cat", seed=9, width=256, height=256)
    found = api.png_info(made.image)
    assert found.info == made.image.info["parameters"]
    assert found.parameters["Seed"] == "9"


def test_every_list_that_it_asks_for_is_there(api: Any) -> None:
    assert api.util_get_sampler_names()
    assert "automatic" in api.util_get_scheduler_names()
    for ask in (
        api.get_samplers, api.get_schedulers, api.get_upscalers, api.get_latent_upscale_modes,
        api.get_sd_models, api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers,
        api.get_realesrgan_models, api.get_prompt_styles,
    ):  # fmt: skip
        assert isinstance(ask(), list)
    for ask in (api.get_cmd_flags, api.get_embeddings, api.get_memory):
        assert isinstance(ask(), dict)
    assert api.refresh_checkpoints() is None


def test_user_and_password_are_sent_as_basic() -> None:
    with http_server(token="letmein") as address:
        with webui(address, username="me", password="letmein") as api:
            assert api.get_options()["samples_format"] == "png"
            assert isinstance(api.txt2img(prompt="a", steps=1, width=64, height=64).image, PIL.Image.Image)
        with webui(address) as nobody:
            assert nobody.get_options()["detail"] == "Incorrect username or password"

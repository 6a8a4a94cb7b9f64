"""The same request through every dialect: the pixels of the backend itself, or a refusal by name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import pytest

from sdenv.backends import ROWS
from sdenv.backends.fake import FakeBackend, FakeSettings, differing_fields
from sdenv.core.backend import Backend
from sdenv.core.capabilities import EVERYTHING
from sdenv.core.errors import SdenvError
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.core.server import Address
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, Spy
from sdenv.testing.requests import RequestMaker, smallest_size
from sdenv.testing.samples import largest_difference, mask, picture
from tests.support.a1111_servers import a1111_client
from tests.support.backends import make_local
from tests.support.http_servers import http_client, http_server
from tests.support.openai_servers import openai_client

DIALECTS: Final[Mapping[str, Callable[[Address], Backend]]] = {
    "a1111": a1111_client,
    "http": http_client,
    "openai": openai_client,
}
"""The client of each dialect that the HTTP server speaks and a backend talks."""

NOT_HTTP: Final = frozenset({"fake", "local"})

Engines = Mapping[str, Engine]


def test_every_dialect_with_a_client_is_compared() -> None:
    assert set(DIALECTS) == set(ROWS) - NOT_HTTP


@contextmanager
def engines_before(backend: Backend) -> Iterator[Engines]:
    """The backend itself under its own name, and behind one server through each dialect."""
    with ExitStack() as opened:
        address = opened.enter_context(http_server(backend))
        made = {"itself": opened.enter_context(Engine(Spy(backend), name="itself"))}
        for name, client in DIALECTS.items():
            made[name] = opened.enter_context(Engine(client(address), name=name))
        yield made


def made_by(engine: Engine, request: GenerationRequest) -> GenerationResult:
    return engine.submit(request).result(PATIENCE_S)


def assert_same_or_refused(engines: Engines, dialect: str, request: GenerationRequest) -> None:
    """Fails unless the pictures are those of the backend itself, or the refusal names what is not carried."""
    unsaid = request.said() - engines[dialect].status().capabilities.carries
    if unsaid:
        with pytest.raises(SdenvError) as refused:
            engines[dialect].submit(request)
        assert all(name in refused.value.why for name in unsaid)
        return
    far, near = made_by(engines[dialect], request), made_by(engines["itself"], request)
    assert far.images == near.images
    assert far.resolved == near.resolved


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    with closing(FakeBackend(FakeSettings())) as fake, engines_before(fake) as made:
        yield made


@pytest.mark.parametrize("name", sorted(EVERYTHING))
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_field_gives_the_same_pixels_or_is_refused_by_its_name(
    engines: Engines, dialect: str, name: str
) -> None:
    fake = FakeBackend(FakeSettings())
    if name in fake.probe().capabilities.carries:
        assert_same_or_refused(engines, dialect, RequestMaker().with_value(fake, name))


FULL: Final = GenerationRequest(
    prompt="a fox, (snow:1.2)\nnight",
    negative_prompt="blurry, low quality",
    model="mosaic",
    width=128,
    height=192,
    steps=7,
    guidance_scale=3.25,
    seed=2**32 - 2,
    sampler="Euler a",
    schedule="Karras",
    count=3,
    batch_size=2,
    init_image=picture(128, 192),
    mask=mask(128, 192),
    strength=0.625,
    clip_skip=2,
)
"""No default, not square, with a picture and a mask, and seeds that wrap around."""


@pytest.mark.parametrize(
    "left_out",
    [
        (),
        ("mask",),
        ("mask", "init_image", "strength"),
        ("seed", "count", "batch_size"),
        ("width", "height"),
        ("clip_skip",),
    ],
    ids=lambda names: "without " + " ".join(names) if names else "all of it",
)
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_everything_together_gives_the_same_pixels(
    engines: Engines, dialect: str, left_out: tuple[str, ...]
) -> None:
    kept = {name: getattr(FULL, name) for name in FULL.said() - set(left_out)}
    assert_same_or_refused(engines, dialect, GenerationRequest(**kept))


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_no_dialect_changes_a_field_of_another(engines: Engines, dialect: str) -> None:
    far, near = made_by(engines[dialect], FULL), made_by(engines["itself"], FULL)
    for one, other in zip(far.images, near.images, strict=True):
        assert differing_fields(one, other) == ()


# With a real model


@pytest.mark.slow
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("task", ["text-to-image", "image-to-image", "inpaint"])
def test_a_diffusion_model_gives_the_same_pixels(real: Engines, dialect: str, task: str) -> None:
    capabilities = real["itself"].status().capabilities_for(None)
    width, height = smallest_size(capabilities.size)
    values: dict[str, Any] = {"prompt": "a red square", "negative_prompt": "blue", "seed": 5, "steps": 3}
    values |= {"width": width, "height": height, "guidance_scale": 2.5, "sampler": "DDIM", "count": 2}
    if task != "text-to-image":
        values |= {"init_image": picture(width, height), "strength": 0.75}
    if task == "inpaint":
        values["mask"] = mask(width, height)
    request = GenerationRequest(**values)
    far, near = made_by(real[dialect], request), made_by(real["itself"], request)
    assert [largest_difference(one, other) for one, other in zip(far.images, near.images, strict=True)] == [
        0,
        0,
    ]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with make_local(tmp_path_factory.mktemp("models")) as local, engines_before(local) as made:
        yield made

"""What a backend can do, and what of a request it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import EVERYTHING, Capabilities, Mismatch, SizeRule, mismatches, refusal
from sdenv.core.errors import DoesNotFit, SizeNotPossible, UnknownModel, UnknownSampler, UnsupportedError
from sdenv.core.request import Control, GenerationRequest, Hires, Task
from sdenv.testing.samples import mask, picture
from tests.support.strategies import capabilities, requests, size_rules

IMAGE = picture(8, 8)
SIDES = st.integers(1, 9000)


@given(requests(), capabilities())
def test_any_request_is_accepted_or_its_mismatches_name_a_field(
    request: GenerationRequest, offered: Capabilities
) -> None:
    found = mismatches(request, offered)
    assert {each.field for each in found} <= EVERYTHING | {"size"}
    for each in found:
        assert each.wanted
        assert each.offered
    if not found:
        assert request.said() <= offered.carries
        assert request.task in offered.tasks
        assert request.count <= offered.max_count


@given(requests())
def test_a_backend_that_can_do_everything_refuses_nothing(request: GenerationRequest) -> None:
    anything = Capabilities(controls=frozenset(control.type for control in request.controls))
    assert mismatches(request, anything) == ()


@given(requests(), capabilities(), st.frozensets(st.sampled_from(sorted(EVERYTHING))))
def test_what_a_backend_refuses_is_refused_through_every_protocol_too(
    request: GenerationRequest, offered: Capabilities, carries: frozenset[str]
) -> None:
    direct = {each.field for each in mismatches(request, offered)}
    assert direct <= {each.field for each in mismatches(request, offered.over(carries))}


@given(size_rules(), SIDES, SIDES)
def test_the_nearest_size_is_accepted(rule: SizeRule, width: int, height: int) -> None:
    nearest = rule.nearest(width, height)
    assert rule.accepts(*nearest)
    if rule.accepts(width, height):
        assert nearest == (width, height)


@given(size_rules(), size_rules(), SIDES, SIDES)
def test_a_narrowed_rule_accepts_exactly_what_both_accept(
    one: SizeRule, other: SizeRule, width: int, height: int
) -> None:
    narrowed = one.narrowed(other)
    for size in ((width, height), *one.native, *other.native, one.nearest(width, height)):
        assert narrowed.accepts(*size) == (one.accepts(*size) and other.accepts(*size))
        assert narrowed.fits(*size) == (one.fits(*size) and other.fits(*size))


def test_two_short_lists_without_a_common_size_leave_none() -> None:
    narrowed = SizeRule(native=((256, 256),)).narrowed(SizeRule(native=((512, 512),)))
    assert not narrowed.accepts(256, 256)
    assert not narrowed.accepts(384, 384)


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [((500, 500), (504, 504)), ((511, 513), (512, 512)), ((1, 9000), (64, 2048)), ((516, 508), (520, 512))],
)
def test_the_nearest_size_is_the_nearest_multiple(wanted: tuple[int, int], nearest: tuple[int, int]) -> None:
    assert SizeRule(multiple_px=8, min_px=64, max_px=2048).nearest(*wanted) == nearest


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ((1024, 1024), (256, 256)),
        ((512, 768), (192, 320)),
        ((1920, 1080), (320, 192)),
        ((250, 250), (256, 256)),
    ],
)
def test_of_a_few_native_sizes_the_one_of_the_nearest_shape_is_chosen(
    wanted: tuple[int, int], nearest: tuple[int, int]
) -> None:
    rule = SizeRule(native=((256, 256), (128, 128), (192, 320), (320, 192)))
    assert rule.nearest(*wanted) == nearest


def only_mismatch(request: GenerationRequest, offered: Capabilities) -> Mismatch:
    (found,) = mismatches(request, offered)
    return found


ONE_REFUSAL: list[tuple[GenerationRequest, Capabilities, str, type]] = [
    (
        GenerationRequest(negative_prompt="red"),
        Capabilities(carries=frozenset({"prompt"})),
        "negative_prompt 'red': not supported by this backend",
        UnsupportedError,
    ),
    (
        GenerationRequest(hires=Hires(scale=2)),
        Capabilities(carries=frozenset({"prompt"})),
        "hires (set): not supported by this backend",
        UnsupportedError,
    ),
    (
        GenerationRequest(init_image=IMAGE),
        Capabilities(tasks=frozenset({Task.TEXT_TO_IMAGE})),
        "init_image (image-to-image): possible are text-to-image",
        UnsupportedError,
    ),
    (
        GenerationRequest(init_image=IMAGE, mask=mask(8, 8)),
        Capabilities(tasks=frozenset({Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE})),
        "mask (inpaint): possible are image-to-image, text-to-image",
        UnsupportedError,
    ),
    (
        GenerationRequest(width=500),
        Capabilities(size=SizeRule(multiple_px=8, min_px=64, max_px=1024)),
        "size 500x500: sides are multiples of 8 from 64 to 1024; the nearest is 504x504",
        SizeNotPossible,
    ),
    (
        GenerationRequest(width=4096, height=2048),
        Capabilities(size=SizeRule(max_pixels=1_500_000)),
        "size 4096x2048: this device has memory for about 1.50 megapixels",
        DoesNotFit,
    ),
    (
        GenerationRequest(sampler="Eular a"),
        Capabilities(samplers=("Euler a", "DDIM")),
        "sampler 'Eular a': unknown here. Did you mean 'Euler a'?",
        UnknownSampler,
    ),
    (
        GenerationRequest(schedule="zzz"),
        Capabilities(schedules=("Karras", "Beta")),
        "schedule 'zzz': unknown here. Known: Beta, Karras.",
        UnknownSampler,
    ),
    (
        GenerationRequest(controls=(Control(type="pose", image=IMAGE),)),
        Capabilities(controls=frozenset({"sketch", "depth"})),
        "controls 'pose': possible controls: depth, sketch",
        UnsupportedError,
    ),
    (
        GenerationRequest(controls=(Control(type="pose", image=IMAGE),)),
        Capabilities(),
        "controls 'pose': possible controls: none",
        UnsupportedError,
    ),
    (GenerationRequest(count=5), Capabilities(max_count=4), "count 5: at most 4 a request", UnsupportedError),
    (
        GenerationRequest(batch_size=5),
        Capabilities(max_batch=1),
        "batch_size 5: at most 1 at once",
        UnsupportedError,
    ),
]


@pytest.mark.parametrize(("request_", "offered", "text", "error"), ONE_REFUSAL)
def test_each_refusal_says_what_is_possible(
    request_: GenerationRequest, offered: Capabilities, text: str, error: type
) -> None:
    found = only_mismatch(request_, offered)
    assert (str(found), found.error_type) == (text, error)


@pytest.mark.parametrize("name", ["euler a", "EULER A"])
def test_names_are_compared_whatever_their_case(name: str) -> None:
    assert mismatches(GenerationRequest(sampler=name), Capabilities(samplers=("Euler a",))) == ()


def test_a_sampler_that_cannot_be_carried_at_all_is_refused_once() -> None:
    offered = Capabilities(carries=frozenset(), samplers=("DDIM",))
    assert [str(each) for each in mismatches(GenerationRequest(sampler="x"), offered)] == [
        "sampler 'x': not supported by this backend"
    ]


def test_one_reason_is_its_own_error_and_several_are_unsupported() -> None:
    size = Mismatch("size", "67x64", "the nearest is 64x64", SizeNotPossible)
    vae = Mismatch("vae", "'x'", "not supported")
    assert isinstance(refusal((size,), "fake"), SizeNotPossible)
    assert type(refusal((size, vae), "fake")) is UnsupportedError
    assert str(refusal((size, vae), "fake", ("local", "http"))) == (
        "The backend 'fake' cannot make this picture. "
        "size 67x64: the nearest is 64x64; vae 'x': not supported. "
        "Possible with: -b local, -b http."
    )


# Models


STATUS = BackendStatus(
    "fake",
    "1",
    (ModelInfo("wide"), ModelInfo("narrow", size=SizeRule(multiple_px=64, max_px=512))),
    Capabilities(size=SizeRule(multiple_px=8, max_px=1024)),
)


def test_the_first_model_is_the_default() -> None:
    model = STATUS.model(None)
    assert model is not None
    assert model.name == "wide"


def test_a_model_narrows_the_sizes_of_its_backend() -> None:
    assert STATUS.capabilities_for("narrow").size == SizeRule(multiple_px=64, max_px=512)
    assert STATUS.capabilities_for("wide").size == SizeRule(multiple_px=8, max_px=1024)


@pytest.mark.parametrize(
    ("of_the_backend", "of_the_model", "both"),
    [
        (None, None, None),
        (("DDIM", "Euler"), None, ("DDIM", "Euler")),
        (None, ("Euler",), ("Euler",)),
        (("DDIM", "Euler"), ("Euler", "LMS"), ("Euler",)),
    ],
)
def test_a_model_narrows_the_samplers_of_its_backend(
    of_the_backend: tuple[str, ...] | None, of_the_model: tuple[str, ...] | None, both: tuple[str, ...] | None
) -> None:
    status = BackendStatus(
        "b", "1", (ModelInfo("m", samplers=of_the_model),), Capabilities(samplers=of_the_backend)
    )
    assert status.capabilities_for("m").samplers == both


def test_a_model_narrows_the_tasks_of_its_backend() -> None:
    able = Capabilities(tasks=frozenset({Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE}))
    model = ModelInfo("m", tasks=frozenset({Task.IMAGE_TO_IMAGE, Task.INPAINT}))
    assert BackendStatus("b", "1", (model,), able).capabilities_for("m").tasks == {Task.IMAGE_TO_IMAGE}
    assert BackendStatus("b", "1", (ModelInfo("m"),), able).capabilities_for("m").tasks == able.tasks


def test_an_unknown_model_comes_with_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="Did you mean 'narrow'"):
        STATUS.model("narow")


def test_a_backend_that_does_not_tell_its_models_takes_any_name() -> None:
    silent = BackendStatus("far", "1", (), Capabilities())
    assert silent.model("anything") is None
    assert silent.capabilities_for("anything") == Capabilities()

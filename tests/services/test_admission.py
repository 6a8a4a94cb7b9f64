"""What is refused before anything runs, and what is left out where the sender allows it."""

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import EVERYTHING, Capabilities, SizeRule
from sdenv.core.errors import (
    DoesNotFit,
    Kind,
    SdenvError,
    SizeNotPossible,
    UnknownModel,
    UnknownSampler,
    UnsupportedError,
)
from sdenv.core.events import Notice, PictureReady
from sdenv.core.image import size_of
from sdenv.core.registry import Entry, Registry
from sdenv.core.request import GenerationRequest, Hires
from sdenv.services import admission, choose
from sdenv.services.admission import admit, backends_able_to
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, SilentBackend, Spy
from sdenv.testing.samples import mask, picture
from tests.support.scripted import Scripted

SMALL = GenerationRequest(prompt="a cat", width=64, height=64, steps=2, seed=1)


def changed(**changes: object) -> GenerationRequest:
    return GenerationRequest.model_validate({**dict(SMALL), **changes})


def refusal_of(request: GenerationRequest, capabilities: Capabilities | None = None) -> SdenvError:
    """The error for a request that does not get as far as the backend."""
    backend = (
        FakeBackend(FakeSettings())
        if capabilities is None
        else Scripted(lambda context: pytest.fail("the request reached the backend"), capabilities)
    )
    spy = Spy(backend)
    with Engine(spy, name="gpu-box") as engine:
        assert engine.mismatches(request)
        with pytest.raises(SdenvError) as refused:
            engine.submit(request)
    assert spy.calls == []
    return refused.value


# Refused


def test_the_refusal_names_the_backend_and_the_field() -> None:
    error = refusal_of(changed(hires=Hires(scale=2)))
    assert type(error) is UnsupportedError
    assert (
        str(error)
        == "The backend 'gpu-box' cannot make this picture. hires (set): not supported by this backend."
    )


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    error = refusal_of(changed(model="mosiac"))
    assert isinstance(error, UnknownModel)
    assert error.why == "model 'mosiac': unknown here. Did you mean 'mosaic'?"


def test_an_unknown_sampler_is_refused_with_the_nearest_name() -> None:
    error = refusal_of(changed(sampler="DPM++ 3N"))
    assert isinstance(error, UnknownSampler)
    assert "Did you mean 'DPM++ " in error.why


def test_a_size_between_two_multiples_is_refused_with_the_nearest() -> None:
    error = refusal_of(changed(width=67))
    assert isinstance(error, SizeNotPossible)
    assert "the nearest is 64x64" in error.why


def test_the_sizes_of_the_model_that_was_asked_for_count() -> None:
    error = refusal_of(changed(model="mosaic-native", width=320, height=320))
    assert isinstance(error, SizeNotPossible)
    assert "its sizes are 256x256, 192x320, 320x192" in error.why


def test_a_size_that_memory_cannot_hold_is_refused_from_arithmetic() -> None:
    error = refusal_of(changed(width=512, height=512), Capabilities(size=SizeRule(max_pixels=100_000)))
    assert isinstance(error, DoesNotFit)
    assert "about 0.10 megapixels" in error.why


def test_all_that_cannot_be_done_is_named_at_once() -> None:
    error = refusal_of(changed(width=67, sampler="none such", vae="none", upscale=2.0))
    assert error.kind is Kind.UNSUPPORTED
    for name in ("upscale", "size", "sampler"):
        assert f"{name} " in error.why


def test_a_refused_request_does_not_wait_for_a_full_queue() -> None:
    with Engine(SilentBackend(), name="silent", queue_size=0) as engine:
        engine.submit(SMALL)
        with pytest.raises(UnknownModel):
            Engine(FakeBackend(FakeSettings()), name="fake").submit(changed(model="none such"))


def test_a_sampler_may_be_called_by_any_of_its_names() -> None:
    with Engine(FakeBackend(FakeSettings()), name="fake") as engine:
        job = engine.submit(changed(sampler="k_euler_ancestral", schedule="karras"))
        both = engine.submit(changed(sampler="dpmpp_2m_karras"))
        assert (job.request.sampler, job.request.schedule) == ("Euler a", "Karras")
        assert (both.request.sampler, both.request.schedule) == ("DPM++ 2M", "Karras")


def test_a_sampler_that_the_backend_itself_lists_keeps_its_name() -> None:
    capabilities = Capabilities(samplers=("euler_a",))
    with Engine(Scripted(lambda context: None, capabilities), name="scripted") as engine:
        assert engine.submit(changed(sampler="euler_a", schedule="karras")).request.sampler == "euler_a"


# Other backends that could


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in which one row can do all, and each other has a reason not to be offered."""
    able = "tests.support.scripted:Scripted"  # it declares everything
    rows = {
        "able": Entry(able),
        "asked": Entry(able),
        "broken": Entry("tests.support.scripted:NoSuchClass"),
        "fake": Entry(able),
        "not-installed": Entry(able, extra="no-such-extra"),
        "someone-elses": Entry(able, package="sdenv-plugin"),
        "unable": Entry("sdenv.backends.fake:FakeBackend"),
    }
    monkeypatch.setattr(choose, "EXTRA_MODULES", {"no-such-extra": ("no_such_package",)})
    monkeypatch.setattr(admission, "BACKENDS", Registry("backend", "tests.none", rows))


@pytest.mark.usefixtures("table")
def test_only_backends_that_declare_that_they_could_are_offered() -> None:
    assert backends_able_to(changed(upscale=2.0), other_than="asked") == ("able",)


@pytest.mark.usefixtures("table")
def test_the_refusal_ends_with_those_that_could() -> None:
    assert refusal_of(changed(upscale=2.0)).hint == "Possible with: -b able, -b asked."


@pytest.mark.usefixtures("table")
def test_nothing_else_is_offered_where_the_request_itself_must_change() -> None:
    assert refusal_of(changed(model="none such")).hint == ""


# Left out, where the sender allows it


def made_with_less(request: GenerationRequest) -> tuple[GenerationRequest, list[Notice], tuple[int, int]]:
    """What became of a request: as it was made, the notices, and the size of its picture."""
    with Engine(FakeBackend(FakeSettings()), name="fake") as engine:
        job = engine.submit(request, allow_degraded=True)
        result = job.result(PATIENCE_S)
        ready = [event.picture for event in job.events() if isinstance(event, PictureReady)]
        assert ready == list(result.images)
        return job.request, list(job.snapshot().notices), size_of(result.images[0])


def test_a_request_that_can_be_made_is_not_touched() -> None:
    assert made_with_less(SMALL) == (SMALL, [], (64, 64))


def test_what_is_optional_is_left_out_and_named() -> None:
    request, notices, _ = made_with_less(changed(hires=Hires(scale=2), upscale=2.0))
    assert request == SMALL
    assert [notice.code for notice in notices] == ["degraded", "degraded"]
    assert notices[0].message == "Left out: hires (set): not supported by this backend."
    assert "upscale 2.0" in notices[1].message


def test_an_unknown_model_or_sampler_becomes_the_default_and_is_named() -> None:
    request, notices, _ = made_with_less(changed(model="v1-5", sampler="none such", schedule="none such"))
    assert request == SMALL
    assert [notice.message.split("'")[1] for notice in notices] == ["v1-5", "none such", "none such"]


def test_a_size_is_made_at_the_nearest_and_resampled_to_the_one_asked_for() -> None:
    request, notices, size = made_with_less(changed(model="mosaic-native", width=500, height=500))
    assert (request.width, request.height) == (256, 256)
    assert notices == [Notice("size-fitted", "500x500 is made at 256x256 and resampled.")]
    assert size == (500, 500)


def test_the_size_is_fitted_to_the_default_model_where_the_one_asked_for_is_unknown() -> None:
    """What every app with a fixed model and size sends to a model with few sizes."""
    few = ModelInfo("few", size=SizeRule(native=((256, 256), (192, 320))), default_size=(256, 256))
    status = BackendStatus("b", "1", (few,), Capabilities(size=SizeRule(multiple_px=8)))
    plan = admit(changed(model="dall-e-3", width=1024, height=1024), status, "b", allow_degraded=True)
    assert (plan.request.model, plan.request.width, plan.request.height) == (None, 256, 256)
    assert plan.fit_to == (1024, 1024)
    assert [notice.message for notice in plan.notices] == [
        "Left out: model 'dall-e-3': unknown here. Known: few.",
        "1024x1024 is made at 256x256 and resampled.",
    ]


def test_a_size_is_fitted_to_the_nearest_aspect() -> None:
    request, _, size = made_with_less(changed(model="mosaic-native", width=512, height=900))
    assert (request.width, request.height) == (192, 320)
    assert size == (512, 900)


@pytest.mark.parametrize("name", ["init_image", "mask", "prompt", "count"])
def test_without_what_is_essential_it_is_refused_as_ever(name: str) -> None:
    values = {"init_image": picture(), "mask": mask(), "prompt": "a cat", "count": 3}
    said = {name: values[name]} | ({"init_image": picture()} if name == "mask" else {})
    capabilities = Capabilities(carries=EVERYTHING - {name})
    engine = Engine(Scripted(lambda context: None, capabilities), name="scripted")
    with engine, pytest.raises(UnsupportedError, match=name):
        engine.submit(GenerationRequest.model_validate(said), allow_degraded=True)


def test_a_picture_too_large_for_memory_is_refused_as_ever() -> None:
    capabilities = Capabilities(size=SizeRule(max_pixels=1000))
    engine = Engine(Scripted(lambda context: None, capabilities), name="scripted")
    with engine, pytest.raises(DoesNotFit):
        engine.submit(changed(width=512, height=512), allow_degraded=True)

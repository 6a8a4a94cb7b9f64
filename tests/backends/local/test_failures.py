"""When torch fails the error is ours, memory is given back, and the next picture is as it should be."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.backends.local.failures import failures_of
from sdenv.core.errors import Cancelled, FailedError, ModelIncomplete, OutOfMemory, SdenvError
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import Recorder

REQUEST = GenerationRequest(prompt="a fox", seed=3, steps=3)


@pytest.fixture
def loaded(models: dict[str, Path]) -> Iterator[tuple[LocalBackend, Any]]:
    """A backend with its model loaded, and the pipeline inside, to make it fail for real."""
    settings = LocalSettings(models={"sd1": str(models["sd1"])}, device="cpu", precision="float32")
    backend = LocalBackend(settings)
    backend.generate(REQUEST, Recorder())
    assert backend._painter is not None
    assert backend._painter._warm is not None
    yield backend, backend._painter._warm.pipeline
    backend.close()


def test_out_of_memory_is_said_and_the_backend_works_on(loaded: tuple[LocalBackend, Any]) -> None:
    backend, pipeline = loaded
    before = backend.generate(REQUEST, Recorder()).images
    too_much = pipeline.unet.register_forward_pre_hook(lambda *_: torch.empty(2**50))
    with pytest.raises(OutOfMemory) as error:
        backend.generate(REQUEST, Recorder())
    too_much.remove()
    assert error.value.exit_code == 6
    assert "--size" in error.value.hint
    assert backend.generate(REQUEST, Recorder()).images == before


def test_an_error_of_memory_does_not_keep_the_tensors_that_filled_it() -> None:
    def work() -> None:
        large = torch.zeros(1000)
        references.append(weakref.ref(large))
        torch.empty(2**50)

    references: list[weakref.ref[torch.Tensor]] = []
    with pytest.raises(OutOfMemory) as error, failures_of("The work"):
        work()
    gc.collect()
    assert error.value.__cause__ is not None  # still held, with its frames
    assert references[0]() is None


def test_a_picture_of_numbers_that_are_none_is_an_error_and_not_black(
    loaded: tuple[LocalBackend, Any],
) -> None:
    backend, pipeline = loaded
    spoiled = pipeline.vae.decoder.register_forward_hook(lambda _m, _i, output: output / 0 * 0)
    with pytest.raises(FailedError, match="NaN") as error:
        backend.generate(REQUEST, Recorder())
    spoiled.remove()
    assert error.value.hint == "-O precision=float32"
    assert backend.generate(REQUEST, Recorder()).images


@pytest.mark.parametrize(
    ("raised", "loading", "error_type"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False, OutOfMemory),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            False,
            OutOfMemory,
        ),
        (RuntimeError("MPS backend out of memory"), True, OutOfMemory),
        (MemoryError(), False, OutOfMemory),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, FailedError),
        (ValueError("The unet should have either 4 or 9 input channels"), False, FailedError),
        (RuntimeError("size mismatch for conv_in.weight"), True, ModelIncomplete),
        (OSError("no file named config.json"), True, ModelIncomplete),
        (AttributeError("module diffusers has no attribute NewPipeline"), True, ModelIncomplete),
        (Cancelled(), False, Cancelled),
    ],
)
def test_foreign_errors_become_ours_with_their_cause(
    raised: Exception, loading: bool, error_type: type[SdenvError]
) -> None:
    with pytest.raises(error_type) as error, failures_of("The work", loading=loading):
        raise raised
    assert error.value is raised or error.value.__cause__ is raised


def test_a_mistake_of_our_own_stays_one() -> None:
    with pytest.raises(TypeError), failures_of("The work"):
        raise TypeError("not theirs")

"""Previews of the built-in model: at half the steps they show what the picture will be."""

import pytest

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.events import PreviewReady
from sdenv.core.request import GenerationRequest
from sdenv.services.models import built_in_path
from sdenv.testing.fakes import Recorder
from tests.backends.local.test_previews import correlation


@pytest.mark.parametrize("prompt", ["a pizza, flat", "a cat face, 3d"])
def test_at_half_the_steps_a_preview_of_the_built_in_model_shows_its_picture(prompt: str) -> None:
    backend = LocalBackend(LocalSettings(models={"emoji": str(built_in_path())}))
    recorder = Recorder(preview_every=10)
    final = backend.generate(GenerationRequest(prompt=prompt, seed=1, steps=20), recorder).images[0]
    backend.close()
    preview = next(event.picture for event in recorder.events if isinstance(event, PreviewReady))
    assert correlation(preview, final) > 0.8

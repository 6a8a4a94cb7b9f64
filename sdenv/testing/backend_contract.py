"""What every backend promises: the first four laws of the waist, as tests."""

from typing import Final

import pytest

from sdenv.core.backend import Backend
from sdenv.core.capabilities import EVERYTHING, mismatches
from sdenv.core.errors import Cancelled, Kind, SdenvError, SizeNotPossible, UnknownModel, UnknownSampler
from sdenv.core.events import PictureReady, PreviewReady, RequestResolved, StepDone, Succeeded
from sdenv.core.image import decode, size_of
from sdenv.core.request import GenerationRequest, Task
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, Held, Recorder, Spy
from sdenv.testing.requests import STEPS, RequestMaker, run, smallest_size
from sdenv.testing.samples import largest_difference, mask, not_pictures

LAST_SEED_BUT_ONE: Final = 2**32 - 2  # the third picture of a request wraps around to seed 0


class BackendContract(RequestMaker):
    """Subclass it, name the subclass `Test...`, and give it a fixture `backend`."""

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend; it may be shared between tests."""
        raise NotImplementedError("give your subclass a fixture `backend`")

    @pytest.fixture
    def disposable(self, backend: Backend) -> Backend:
        """A backend that a test may close; override it where `backend` is shared."""
        return backend

    # What it says of itself

    def test_a_probe_can_be_repeated(self, backend: Backend) -> None:
        """A probe has no side effects."""
        assert backend.probe() == backend.probe()

    def test_it_offers_no_more_than_its_class_declares(self, backend: Backend) -> None:
        """What is known without a connection is an upper limit."""
        declared, found = backend.declared, backend.probe().capabilities
        assert found.tasks <= declared.tasks
        assert found.carries <= declared.carries <= EVERYTHING
        assert found.controls <= declared.controls
        assert found.max_count <= declared.max_count
        assert found.max_batch <= declared.max_batch

    def test_default_sizes_are_sizes_that_its_models_make(self, backend: Backend) -> None:
        """A request that says no size is never refused for its size."""
        status = backend.probe()
        for model in status.models:
            assert status.capabilities_for(model.name).size.accepts(*model.default_size), model.name

    # Law 1: carried or refused, never dropped

    @pytest.mark.parametrize("name", sorted(EVERYTHING))
    def test_a_field_is_carried_to_the_end_or_refused_by_name(self, backend: Backend, name: str) -> None:
        """Nothing that the user said is dropped."""
        request = self.with_value(backend, name)
        capabilities = backend.probe().capabilities_for(request.model)
        with Engine(Spy(backend), name="under-test") as engine:
            if request.said() <= capabilities.carries and request.task in capabilities.tasks:
                made = engine.submit(request).result(PATIENCE_S).resolved
                assert getattr(made, name) == getattr(request, name)
                return
            with pytest.raises(SdenvError) as refused:
                engine.submit(request)
        assert refused.value.kind is Kind.UNSUPPORTED
        assert any(said in refused.value.why for said in request.said() - capabilities.carries | {name})

    @pytest.mark.parametrize("task", Task, ids=lambda task: task.value)
    def test_every_task_that_it_declares_gives_a_picture_of_the_size_asked(
        self, backend: Backend, task: Task
    ) -> None:
        """What is declared is what works, and what is not declared is refused."""
        names = {Task.TEXT_TO_IMAGE: "prompt", Task.IMAGE_TO_IMAGE: "init_image", Task.INPAINT: "mask"}
        request = self.with_value(backend, names[task])
        with Engine(Spy(backend), name="under-test") as engine:
            if engine.mismatches(request):
                assert task not in backend.probe().capabilities.tasks or names[task] not in (
                    backend.probe().capabilities.carries
                )
                return
            done = engine.submit(request).result(PATIENCE_S)
        assert size_of(done.images[0]) == (done.resolved.width, done.resolved.height)
        for side in ("width", "height"):
            assert getattr(request, side) in (None, getattr(done.resolved, side))

    # Law 2: refused before work

    def refused(self, backend: Backend, request: GenerationRequest) -> SdenvError:
        """The error for a request that must not reach the backend."""
        spy = Spy(backend)
        with Engine(spy, name="under-test") as engine, pytest.raises(SdenvError) as refused:
            engine.submit(request)
        assert spy.calls == []
        return refused.value

    def test_a_size_that_it_cannot_make_is_refused_and_the_nearest_named(self, backend: Backend) -> None:
        """And the nearest is one that it accepts."""
        capabilities = backend.probe().capabilities_for(None)
        rule = capabilities.size
        width, height = smallest_size(rule)
        if rule.accepts(width + 1, height) or not {"width", "height"} <= capabilities.carries:
            return  # it makes every size, or none that anybody could ask for
        error = self.refused(backend, self.small(backend, width=width + 1, height=height))
        nearest = rule.nearest(width + 1, height)
        assert isinstance(error, SizeNotPossible)
        assert "{}x{}".format(*nearest) in error.why
        assert rule.accepts(*nearest)

    def test_a_model_that_it_does_not_have_is_refused(self, backend: Backend) -> None:
        """Unless the backend does not tell which it has."""
        if backend.probe().models and "model" in backend.probe().capabilities.carries:
            error = self.refused(backend, self.small(backend, model="no such model"))
            assert isinstance(error, UnknownModel)

    def test_a_sampler_that_it_does_not_have_is_refused(self, backend: Backend) -> None:
        """Unless the backend passes any name on."""
        capabilities = backend.probe().capabilities
        if capabilities.samplers is not None and "sampler" in capabilities.carries:
            error = self.refused(backend, self.small(backend, sampler="no such sampler"))
            assert isinstance(error, UnknownSampler)

    @pytest.mark.parametrize("name", sorted(not_pictures()))
    def test_an_init_image_that_is_no_picture_is_refused_before_the_first_step(
        self, backend: Backend, name: str
    ) -> None:
        """Input that cannot be decoded is the user's to mend."""
        request = self.with_value(backend, "init_image").model_copy(
            update={"init_image": not_pictures()[name]}
        )
        self.assert_bad_input(backend, request)

    def test_a_mask_of_another_size_is_refused_before_the_first_step(self, backend: Backend) -> None:
        """A mask belongs to its init image."""
        request = self.with_value(backend, "mask")
        assert request.init_image is not None
        width, height = size_of(request.init_image)
        self.assert_bad_input(backend, request.model_copy(update={"mask": mask(width * 2, height)}))

    def assert_bad_input(self, backend: Backend, request: GenerationRequest) -> None:
        """Fails unless the request is refused, by the engine or by the backend, with no step done."""
        recorder = Recorder()
        if not mismatches(request, backend.probe().capabilities_for(request.model)):
            with pytest.raises(SdenvError) as refused:
                backend.generate(request, recorder)
            assert refused.value.kind in {Kind.USAGE, Kind.UNSUPPORTED}
        assert not [event for event in recorder.events if isinstance(event, StepDone)]

    # Law 3: steps only rise, one outcome, last

    def test_steps_rise_to_the_number_that_was_resolved(self, backend: Backend) -> None:
        """For each picture, and before it is handed over."""
        request = self.many(backend, 2)
        done = run(backend, request)
        resolved = done.result.resolved
        if backend.probe().capabilities.progress != "steps":
            return
        for index in range(request.count):
            steps = [(event.step, event.total) for event in done.of(StepDone) if event.index == index]
            assert steps == [(step, resolved.steps_to_run) for step in range(1, resolved.steps_to_run + 1)]
            last = [event for event in done.events if isinstance(event, StepDone) and event.index == index][
                -1
            ]
            ready = next(event for event in done.of(PictureReady) if event.index == index)
            assert done.events.index(last) < done.events.index(ready)

    def test_every_picture_is_handed_over_as_it_is_in_the_result(self, backend: Backend) -> None:
        """`PictureReady` once a picture, with its seed."""
        request = self.many(backend, 2)
        done = run(backend, request)
        ready = sorted(done.of(PictureReady), key=lambda event: event.index)
        assert [event.index for event in ready] == list(range(request.count))
        assert [event.picture for event in ready] == list(done.result.images)
        assert [event.seed for event in ready] == [
            done.result.resolved.seed_of(i) for i in range(request.count)
        ]

    def test_it_says_what_it_does_before_the_first_picture(self, backend: Backend) -> None:
        """`RequestResolved` comes once, and equals the resolved request of the result."""
        done = run(backend, self.small(backend))
        said = done.of(RequestResolved)
        assert [event.resolved for event in said] == [done.result.resolved]
        assert done.events.index(said[0]) < done.events.index(done.of(PictureReady)[0])
        assert (said[0].model_hash, dict(said[0].made_with)) == (
            done.result.model_hash,
            done.result.made_with,
        )
        assert done.result.backend == backend.probe().name

    def test_through_an_engine_the_outcome_comes_once_and_last(self, backend: Backend) -> None:
        """As many jobs at once as it says that it can do."""
        capabilities = backend.probe().capabilities
        with Engine(Spy(backend), name="under-test") as engine:
            jobs = [engine.submit(self.small(backend)) for _ in range(min(4, capabilities.concurrency + 1))]
            ends = [[each for each in job.events() if isinstance(each, Succeeded)] for job in jobs]
        assert [len(each) for each in ends] == [1] * len(jobs)
        for end in ends:
            self.assert_same(end[0].result.images[0], ends[0][0].result.images[0])

    # Law 4: a cancel stops it, and the next job works

    def test_a_cancel_at_the_first_step_ends_it_and_the_next_job_works(self, backend: Backend) -> None:
        """No picture of a cancelled job comes after the cancel."""
        before = run(backend, self.small(backend)).result.images[0]
        recorder = Recorder(cancel_when=lambda event: isinstance(event, StepDone | RequestResolved))
        with pytest.raises(Cancelled):
            backend.generate(self.small(backend), recorder)
        assert not [event for event in recorder.events if isinstance(event, PictureReady)]
        self.assert_same(before, run(backend, self.small(backend)).result.images[0])

    def test_a_cancel_between_steps_ends_it_before_many_more(self, backend: Backend) -> None:
        """`emit` raises at the next event, and the backend lets that pass."""
        capabilities = backend.probe().capabilities
        if capabilities.progress != "steps" or capabilities.cancel == "never":
            return
        recorder = Recorder(cancel_when=lambda event: isinstance(event, StepDone) and event.step == 2)
        with pytest.raises(Cancelled):
            backend.generate(self.small(backend), recorder)
        assert [event.step for event in recorder.events if isinstance(event, StepDone)] == [1, 2]

    def test_a_job_that_was_cancelled_before_it_began_makes_nothing(self, backend: Backend) -> None:
        """The first event already raises."""
        recorder = Recorder()
        recorder.cancel()
        with pytest.raises(Cancelled):
            backend.generate(self.small(backend), recorder)
        assert recorder.events == []

    def test_a_job_that_is_cancelled_from_elsewhere_ends_as_cancelled(self, backend: Backend) -> None:
        """From another thread, by way of the engine."""
        held = Held(backend)
        with Engine(held, name="under-test") as engine:
            job = engine.submit(self.small(backend))
            assert held.reached.wait(PATIENCE_S)
            job.cancel()
            with pytest.raises(Cancelled):
                job.result(PATIENCE_S)
        assert run(backend, self.small(backend)).result.images

    # Previews

    def test_previews_come_only_when_asked_for(self, backend: Backend) -> None:
        """They cost device time."""
        assert run(backend, self.small(backend)).of(PreviewReady) == []
        seen = run(backend, self.small(backend), preview_every=1).of(PreviewReady)
        assert bool(seen) is backend.probe().capabilities.previews
        for preview in seen:
            assert 1 <= preview.step <= STEPS
            decode(preview.picture)

    # Seeds, and what was resolved

    def test_the_same_request_gives_the_same_picture_and_another_seed_another(self, backend: Backend) -> None:
        """A seed means something."""
        if "seed" not in backend.probe().capabilities.carries:
            return
        first, again = (run(backend, self.small(backend)).result.images[0] for _ in range(2))
        self.assert_same(first, again)
        assert largest_difference(first, run(backend, self.small(backend, seed=8)).result.images[0]) > 0

    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_picture_i_has_seed_plus_i_alone_or_in_a_batch(self, backend: Backend, batch_size: int) -> None:
        """Also where the seed wraps around."""
        capabilities = backend.probe().capabilities
        if not {"seed", "count"} <= capabilities.carries or batch_size > capabilities.max_batch:
            return
        changes = {"batch_size": batch_size} if "batch_size" in capabilities.carries else {}
        together = run(backend, self.many(backend, 3, seed=LAST_SEED_BUT_ONE, **changes)).result
        for index, image in enumerate(together.images):
            alone = run(backend, self.small(backend, seed=together.resolved.seed_of(index))).result
            tolerance = max(self.pixel_tolerance, self.batch_tolerance)
            assert largest_difference(image, alone.images[0]) <= tolerance

    def test_what_was_resolved_makes_the_same_picture_again(self, backend: Backend) -> None:
        """Nothing is left open: not the seed, not the size, not the sampler."""
        done = run(backend, self.small(backend, seed=None)).result
        again = done.resolved.as_request()
        carried = backend.probe().capabilities.carries
        kept = {name: getattr(again, name) for name in again.said() & carried}
        self.assert_same(done.images[0], run(backend, GenerationRequest(**kept)).result.images[0])

    # The end

    def test_it_can_be_closed_twice(self, disposable: Backend) -> None:
        """After work, as after none."""
        run(disposable, self.small(disposable))
        disposable.close()
        disposable.close()

"""The engine before backends that are quick, slow, silent, broken and gone."""

import random
import threading
from collections.abc import Callable, Iterator

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import JobContext
from sdenv.core.errors import Busy, Cancelled, InternalError, Kind, NoStepInTime, UnavailableError
from sdenv.core.events import (
    Event,
    Failed,
    Outcome,
    PhaseStarted,
    PictureReady,
    PreviewReady,
    RequestResolved,
    StepDone,
    Succeeded,
)
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import QUEUE_SIZE, Engine, Job
from sdenv.testing.fakes import (
    PATIENCE_S,
    BrokenBackend,
    HangUpBackend,
    SilentBackend,
    SlowBackend,
    Spy,
)
from sdenv.testing.samples import picture
from tests.support.scripted import Scripted

SMALL = GenerationRequest(prompt="a cat", width=64, height=64, steps=4, seed=1)


def fake_engine(**settings: object) -> Engine:
    return Engine(FakeBackend(FakeSettings.model_validate(settings)), name="fake")


@pytest.fixture
def slow() -> Iterator[SlowBackend]:
    backend = SlowBackend()
    yield backend
    backend.let(10_000)  # whatever still waits for a step may end


def outcomes(seen: list[Event | Outcome]) -> list[Outcome]:
    return [each for each in seen if isinstance(each, Succeeded | Failed)]


# What a job tells


def test_a_job_tells_all_from_the_start_and_ends_with_one_outcome() -> None:
    with fake_engine() as engine:
        seen = list(engine.submit(SMALL).events())
    assert [type(each) for each in seen] == [
        RequestResolved,
        PhaseStarted,
        *[StepDone] * 4,
        PictureReady,
        Succeeded,
    ]


def test_a_job_that_has_ended_tells_all_again() -> None:
    with fake_engine() as engine:
        job = engine.submit(SMALL)
        assert list(job.events()) == list(job.events())


def test_many_see_the_same_at_the_same_time(slow: SlowBackend) -> None:
    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        seen: list[list[Event | Outcome]] = [[] for _ in range(5)]
        threads = [threading.Thread(target=lambda own=own: own.extend(job.events())) for own in seen]
        for thread in threads:
            thread.start()
        slow.let(4)
        for thread in threads:
            thread.join(PATIENCE_S)
    assert outcomes(seen[0]) != []
    assert seen == [seen[0]] * 5


def test_ids_are_ulids_and_differ() -> None:
    with fake_engine() as engine:
        ids = {engine.submit(SMALL).id for _ in range(3)}
    assert len(ids) == 3
    assert {len(each) for each in ids} == {26}


def test_a_snapshot_is_the_fold_of_the_events(slow: SlowBackend) -> None:
    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        slow.let(3)
        next(event for event in job.events() if isinstance(event, StepDone) and event.step == 3)
        assert job.snapshot().fraction == 0.75
        slow.let(1)
        job.result(PATIENCE_S)
        assert job.snapshot().fraction == 1.0


def test_only_the_newest_preview_is_kept() -> None:
    with fake_engine() as engine:
        job = engine.submit(SMALL, preview_every=1)
        job.result(PATIENCE_S)
        assert [event.step for event in job.events() if isinstance(event, PreviewReady)] == [4]


def test_nobody_who_asks_for_no_previews_gets_one() -> None:
    with fake_engine() as engine:
        assert not [event for event in engine.submit(SMALL).events() if isinstance(event, PreviewReady)]


def test_a_backend_that_makes_no_previews_is_not_asked_for_any() -> None:
    asked: list[int] = []
    backend = Scripted(lambda context: asked.append(context.preview_every), SlowBackend.declared)
    with Engine(backend, name="scripted") as engine:
        engine.submit(SMALL, preview_every=3).result(PATIENCE_S)
    assert asked == [0]


def test_steps_that_do_not_rise_are_left_out() -> None:
    def script(context: JobContext) -> None:
        for step in (1, 2, 2, 1, 3):
            context.emit(StepDone(step, 3))

    with Engine(Scripted(script), name="scripted") as engine:
        steps = [event.step for event in engine.submit(SMALL).events() if isinstance(event, StepDone)]
    assert steps == [1, 2, 3]


def test_waiting_for_the_result_ends_when_the_time_is_over(slow: SlowBackend) -> None:
    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        with pytest.raises(NoStepInTime, match="has not ended within"):
            job.result(timeout_s=0.01)
        slow.let(4)
        assert job.result(PATIENCE_S).images


# Bugs and other ends


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError, SystemExit, KeyboardInterrupt, MemoryError, RecursionError]
)
def test_a_bug_in_a_backend_becomes_the_outcome_with_its_traceback(bug: type[BaseException]) -> None:
    with Engine(BrokenBackend(bug), name="broken") as engine:
        seen = list(engine.submit(SMALL).events())
    assert len(outcomes(seen)) == 1
    assert isinstance(seen[-1], Failed)
    error = seen[-1].error
    assert isinstance(error, InternalError)
    assert type(error.__cause__) is bug
    assert error.__cause__.__traceback__ is not None
    assert bug.__name__ in error.why


def test_the_worker_lives_on_after_a_bug() -> None:
    healthy = FakeBackend(FakeSettings())
    bugs = iter([ZeroDivisionError, SystemExit])

    def script(context: JobContext) -> None:
        if (bug := next(bugs, None)) is not None:
            raise bug
        healthy.generate(SMALL, context)

    with Engine(Scripted(script), name="scripted") as engine:
        for _ in range(2):
            with pytest.raises(InternalError):
                engine.submit(SMALL).result(PATIENCE_S)
        assert engine.submit(SMALL).result(PATIENCE_S).backend == "scripted"


def test_a_failed_job_keeps_no_variables_alive() -> None:
    class Tensor:
        pass

    import gc
    import weakref

    alive: list[weakref.ref[Tensor]] = []

    def script(context: JobContext) -> None:
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        raise RuntimeError("out of memory")

    with Engine(Scripted(script), name="scripted") as engine:
        job = engine.submit(SMALL)
        list(job.events())
        gc.collect()
        assert isinstance(job.outcome, Failed)
        assert alive[0]() is None


def test_an_error_that_causes_itself_ends_the_job_too() -> None:
    def script(context: JobContext) -> None:
        error = RuntimeError("odd")
        raise error from error

    with Engine(Scripted(script), name="scripted") as engine, pytest.raises(InternalError):
        engine.submit(SMALL).result(PATIENCE_S)


def test_a_peer_that_hangs_up_costs_one_job() -> None:
    with Engine(HangUpBackend(), name="hang-up") as engine:
        with pytest.raises(UnavailableError, match="hung up"):
            engine.submit(SMALL).result(PATIENCE_S)
        assert engine.submit(SMALL).result(PATIENCE_S).images


def test_pictures_that_were_handed_over_survive_a_failure() -> None:
    with fake_engine(fail_at_step=6) as engine:
        seen = list(engine.submit(SMALL.model_copy(update={"count": 2})).events())
    assert [event.index for event in seen if isinstance(event, PictureReady)] == [0]
    assert isinstance(seen[-1], Failed)
    assert seen[-1].error.kind is Kind.FAILED


def test_an_event_from_another_thread_is_a_bug_of_the_backend() -> None:
    errors: list[Exception] = []

    def elsewhere(context: JobContext) -> None:
        try:
            context.emit(StepDone(1, 4))
        except InternalError as error:
            errors.append(error)

    def script(context: JobContext) -> None:
        thread = threading.Thread(target=elsewhere, args=(context,))
        thread.start()
        thread.join()

    with Engine(Scripted(script), name="scripted") as engine:
        seen = list(engine.submit(SMALL).events())
    assert [type(each) for each in seen] == [Succeeded]
    assert len(errors) == 1


def test_after_the_outcome_there_is_nothing() -> None:
    kept: list[JobContext] = []
    with Engine(Scripted(kept.append), name="scripted") as engine:
        job = engine.submit(SMALL)
        job.result(PATIENCE_S)
        with pytest.raises(InternalError):
            kept[0].emit(StepDone(1, 4))
        job.cancel()
        assert [type(each) for each in job.events()] == [Succeeded]


# Cancel


def test_a_cancel_unblocks_a_silent_backend() -> None:
    silent = SilentBackend()
    with Engine(silent, name="silent") as engine:
        job = engine.submit(SMALL)
        assert silent.began.wait(PATIENCE_S)
        job.cancel()
        with pytest.raises(Cancelled):
            job.result(PATIENCE_S)
    assert silent.unblocked.is_set()


def test_a_cancel_stops_a_slow_backend_at_the_next_step(slow: SlowBackend) -> None:
    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        slow.let(1)
        next(event for event in job.events() if isinstance(event, StepDone))
        job.cancel()
        slow.let(1)
        with pytest.raises(Cancelled):
            job.result(PATIENCE_S)
        assert [event.step for event in job.events() if isinstance(event, StepDone)] == [1]
        slow.let(4)
        assert engine.submit(SMALL).result(PATIENCE_S).images


def test_a_cancelled_job_never_succeeds_even_if_its_backend_does_not_listen() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def deaf(context: JobContext) -> None:
        reached.set()
        go_on.wait(PATIENCE_S)

    with Engine(Scripted(deaf), name="scripted") as engine:
        job = engine.submit(SMALL)
        assert reached.wait(PATIENCE_S)
        job.cancel()
        go_on.set()
        with pytest.raises(Cancelled):
            job.result(PATIENCE_S)


def test_what_breaks_because_of_a_cancel_is_a_cancel() -> None:
    reached = threading.Event()

    def script(context: JobContext) -> None:
        closed = threading.Event()
        with context.on_cancel(closed.set):
            reached.set()
            closed.wait(PATIENCE_S)
        raise OSError("read from a closed socket")

    with Engine(Scripted(script), name="scripted") as engine:
        job = engine.submit(SMALL)
        assert reached.wait(PATIENCE_S)
        job.cancel()
        with pytest.raises(Cancelled) as cancelled:
            job.result(PATIENCE_S)
    assert cancelled.value.__cause__ is not None


def test_a_cancelled_job_leaves_the_queue_without_running(slow: SlowBackend) -> None:
    spy = Spy(slow)
    with Engine(spy, name="slow") as engine:
        running, waiting, last = (engine.submit(SMALL) for _ in range(3))
        waiting.cancel()
        assert list(waiting.events()) == [waiting.outcome]
        slow.let(8)
        running.result(PATIENCE_S)
        last.result(PATIENCE_S)
    assert len(spy.calls) == 2


def test_a_cancel_may_be_repeated() -> None:
    silent = SilentBackend()
    with Engine(silent, name="silent") as engine:
        job = engine.submit(SMALL)
        for _ in range(3):
            job.cancel()
        assert len(outcomes(list(job.events()))) == 1


def on_cancel_calls(script: Callable[[JobContext, Callable[[], None]], None]) -> int:
    """How often the callback that a script registers is called by a cancel in the middle of it."""
    reached, cancelled, calls = threading.Event(), threading.Event(), []

    def run(context: JobContext) -> None:
        script(context, lambda: calls.append(1))
        reached.set()
        cancelled.wait(PATIENCE_S)

    with Engine(Scripted(run), name="scripted") as engine:
        job = engine.submit(SMALL)
        assert reached.wait(PATIENCE_S)
        job.cancel()
        cancelled.set()
        list(job.events())
    return len(calls)


def test_an_unblock_is_not_called_after_its_context_has_ended() -> None:
    def script(context: JobContext, unblock: Callable[[], None]) -> None:
        with context.on_cancel(unblock):
            pass

    assert on_cancel_calls(script) == 0


def test_an_unblock_that_comes_after_the_cancel_is_called_at_once() -> None:
    seen: list[str] = []
    reached, cancelled = threading.Event(), threading.Event()

    def script(context: JobContext) -> None:
        reached.set()
        cancelled.wait(PATIENCE_S)
        with context.on_cancel(lambda: seen.append("unblocked")):
            seen.append("inside")

    with Engine(Scripted(script), name="scripted") as engine:
        job = engine.submit(SMALL)
        assert reached.wait(PATIENCE_S)
        job.cancel()
        cancelled.set()
        list(job.events())
    assert seen == ["unblocked", "inside"]


def test_a_broken_unblock_does_not_keep_the_others_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reached, unblocked = threading.Event(), threading.Event()

    def broken() -> None:
        raise RuntimeError("cannot unblock")

    def script(context: JobContext) -> None:
        with context.on_cancel(broken), context.on_cancel(unblocked.set):
            reached.set()
            unblocked.wait(PATIENCE_S)

    with Engine(Scripted(script), name="scripted") as engine:
        job = engine.submit(SMALL)
        assert reached.wait(PATIENCE_S)
        job.cancel()
        assert unblocked.is_set()
        list(job.events())
    assert "cannot unblock" in caplog.text


# The queue


def test_a_full_queue_is_busy_at_once(slow: SlowBackend) -> None:
    with Engine(slow, name="slow", queue_size=2) as engine:
        jobs = [engine.submit(SMALL) for _ in range(3)]
        with pytest.raises(Busy, match="3 jobs are running or waiting"):
            engine.submit(SMALL)
        slow.let(4 * 3)
        for job in jobs:
            job.result(PATIENCE_S)
        slow.let(4)
        engine.submit(SMALL).result(PATIENCE_S)


def test_a_cancelled_job_frees_its_place(slow: SlowBackend) -> None:
    with Engine(slow, name="slow", queue_size=1) as engine:
        engine.submit(SMALL)
        engine.submit(SMALL).cancel()
        engine.submit(SMALL)
        with pytest.raises(Busy):
            engine.submit(SMALL)
        slow.let(8)


def test_the_default_queue_holds_what_the_conventions_say() -> None:
    assert QUEUE_SIZE == 256


def test_jobs_run_in_the_order_they_came() -> None:
    spy = Spy(FakeBackend(FakeSettings()))
    with Engine(spy, name="fake") as engine:
        jobs = [engine.submit(SMALL.model_copy(update={"seed": seed})) for seed in range(5)]
        jobs[-1].result(PATIENCE_S)
    assert [request.seed for request in spy.calls] == [0, 1, 2, 3, 4]


def test_as_many_jobs_run_at_once_as_the_backend_says() -> None:
    meeting = threading.Barrier(3)
    capabilities = SlowBackend(concurrency=3).probe().capabilities
    with Engine(Scripted(lambda context: meeting.wait(PATIENCE_S), capabilities), name="wide") as engine:
        jobs = [engine.submit(SMALL) for _ in range(6)]
        for job in jobs:
            job.result(PATIENCE_S)


def test_one_job_at_a_time_where_the_backend_says_so() -> None:
    running, most = [0], [0]

    def script(context: JobContext) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        for step in range(1, 50):
            context.emit(StepDone(step, 50))
        running[0] -= 1

    with Engine(Scripted(script), name="scripted") as engine:
        for job in [engine.submit(SMALL) for _ in range(10)]:
            job.result(PATIENCE_S)
    assert most == [1]


def test_in_a_storm_of_jobs_and_cancels_every_job_ends_once() -> None:
    jobs: list[Job] = []

    def storm(seed: int) -> None:
        dice = random.Random(seed)
        for number in range(20):
            job = engine.submit(SMALL.model_copy(update={"seed": number}))
            jobs.append(job)
            if dice.random() < 0.5:
                job.cancel()

    with Engine(FakeBackend(FakeSettings(concurrency=4)), name="fake") as engine:
        threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        seen = [list(job.events()) for job in jobs]
    assert len(seen) == 120
    for each in seen:
        assert outcomes(each) == [each[-1]]
        steps = [event.step for event in each if isinstance(event, StepDone)]
        assert steps == sorted(set(steps))


# Probing and closing


def test_the_backend_is_probed_once_unless_asked_again() -> None:
    spy = Spy(FakeBackend(FakeSettings()))
    with Engine(spy, name="fake") as engine:
        engine.submit(SMALL).result(PATIENCE_S)
        engine.status()
        assert spy.probes == 1
        engine.status(refresh=True)
        assert spy.probes == 2


def test_close_cancels_what_runs_and_what_waits_and_ends_the_threads() -> None:
    silent = SilentBackend()
    spy = Spy(silent)
    engine = Engine(spy, name="closing")
    running, waiting = engine.submit(SMALL), engine.submit(SMALL)
    assert silent.began.wait(PATIENCE_S)
    engine.close()
    for job in (running, waiting):
        assert isinstance(job.outcome, Failed)
        assert isinstance(job.outcome.error, Cancelled)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sdenv-closing")]
    assert spy.closed >= 1


def test_close_may_be_called_twice_and_ends_the_taking_of_jobs() -> None:
    engine = fake_engine()
    engine.submit(SMALL).result(PATIENCE_S)
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError, match="closed"):
        engine.submit(SMALL)


def test_close_gives_up_on_a_backend_that_does_not_obey(slow: SlowBackend) -> None:
    spy = Spy(slow)
    engine = Engine(spy, name="slow")
    job = engine.submit(SMALL)
    assert slow.began.wait(PATIENCE_S)
    engine.close(timeout_s=0.01)
    assert job.outcome is None
    assert spy.closed == 0
    slow.let(1)
    engine.close()
    assert spy.closed == 1


def test_pictures_equal_those_of_the_backend_alone() -> None:
    from sdenv.testing.requests import run

    with fake_engine() as engine:
        through = engine.submit(SMALL).result(PATIENCE_S).images
    assert through == run(FakeBackend(FakeSettings()), SMALL).result.images
    assert through != (picture(),)

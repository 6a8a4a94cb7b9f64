"""Jobs seen from an event loop, and from a main thread that is interrupted."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.errors import Cancelled
from sdenv.core.events import Event, Failed, Outcome, StepDone
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine, Job
from sdenv.testing.fakes import PATIENCE_S, SilentBackend, SlowBackend

ROOT = Path(__file__).parents[2]
SMALL = GenerationRequest(prompt="a cat", width=64, height=64, steps=4, seed=1)


async def all_of(job: Job) -> list[Event | Outcome]:
    return [event async for event in job.aevents()]


def test_an_event_loop_sees_what_a_thread_sees() -> None:
    with Engine(FakeBackend(FakeSettings()), name="fake") as engine:
        job = engine.submit(SMALL, preview_every=2)
        job.result(PATIENCE_S)
        assert asyncio.run(all_of(job)) == list(job.events())


def test_an_event_loop_is_woken_by_each_step_and_goes_on_meanwhile() -> None:
    slow = SlowBackend()

    async def watch(job: Job) -> list[int]:
        turns, steps = 0, []

        async def others_turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others_turn())
        await asyncio.sleep(0)
        slow.let(1)
        async for event in job.aevents():
            if isinstance(event, StepDone):
                assert turns > 0
                turns = 0
                steps.append(event.step)
                await asyncio.sleep(0)
                slow.let(1)
        other.cancel()
        return steps

    with Engine(slow, name="slow") as engine:
        assert asyncio.run(asyncio.wait_for(watch(engine.submit(SMALL)), PATIENCE_S)) == [1, 2, 3, 4]


def test_many_watch_from_one_event_loop() -> None:
    slow = SlowBackend()

    async def watch(job: Job) -> list[list[Event | Outcome]]:
        watchers = [asyncio.create_task(all_of(job)) for _ in range(10)]
        await asyncio.sleep(0)
        slow.let(4)
        return await asyncio.wait_for(asyncio.gather(*watchers), PATIENCE_S)

    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        # In debug mode a loop refuses to be woken in any way that is not safe from another thread.
        assert asyncio.run(watch(job), debug=True) == [list(job.events())] * 10


def test_a_watcher_whose_task_is_cancelled_leaves_the_job_alone() -> None:
    slow = SlowBackend()

    async def give_up(job: Job) -> None:
        watcher = asyncio.create_task(all_of(job))
        await asyncio.sleep(0)
        watcher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watcher

    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        asyncio.run(give_up(job))
        slow.let(4)
        assert job.result(PATIENCE_S).images


def test_a_loop_that_was_closed_under_its_watcher_does_not_fail_the_job() -> None:
    slow = SlowBackend()

    async def first_event(watcher: object) -> None:
        await watcher.__anext__()  # type: ignore[attr-defined]  # an async generator, left behind unfinished

    with Engine(slow, name="slow") as engine:
        job = engine.submit(SMALL)
        watcher = job.aevents()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(first_event(watcher))
        loop.close()
        slow.let(4)
        assert job.result(PATIENCE_S).images


def test_a_cancel_reaches_a_watching_event_loop() -> None:
    silent = SilentBackend()

    async def watch(job: Job) -> Event | Outcome:
        watcher = asyncio.create_task(all_of(job))
        await asyncio.sleep(0)
        job.cancel()
        return (await asyncio.wait_for(watcher, PATIENCE_S))[-1]

    with Engine(silent, name="silent") as engine:
        last = asyncio.run(watch(engine.submit(SMALL)))
    assert isinstance(last, Failed)
    assert isinstance(last.error, Cancelled)


PRELUDE = """
import os, signal, sys, threading, time
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.testing.fakes import SilentBackend, SlowBackend

def ctrl_c_when_in(function):
    main = threading.main_thread().ident
    def reached():
        frame = sys._current_frames()[main]
        while frame is not None and frame.f_code.co_name != function:
            frame = frame.f_back
        return frame is not None
    def watch():
        while not reached():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=watch, daemon=True).start()

silent = SilentBackend()
engine = Engine(silent, name="silent")
job = engine.submit(GenerationRequest())
silent.began.wait()
"""


def output_of(script: str) -> str:
    """What a fresh interpreter prints, in whose main thread the script runs."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_ctrl_c_ends_the_watching_and_the_job_can_then_be_cancelled() -> None:
    printed = output_of("""
        ctrl_c_when_in("events")
        try:
            for event in job.events():
                pass
        except KeyboardInterrupt:
            job.cancel()
            print([type(event).__name__ for event in job.events()], silent.unblocked.is_set())
            engine.close()
    """)
    assert printed == "['Failed'] True\n"


def test_ctrl_c_ends_the_waiting_for_a_result() -> None:
    printed = output_of("""
        ctrl_c_when_in("result")
        try:
            job.result()
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert printed == "interrupted\n"


def test_a_job_may_be_cancelled_from_a_signal_handler() -> None:
    printed = output_of("""
        signal.signal(signal.SIGINT, lambda number, frame: job.cancel())
        ctrl_c_when_in("events")
        print([type(event).__name__ for event in job.events()])
    """)
    assert printed == "['Failed']\n"


def test_a_job_that_still_runs_does_not_keep_the_interpreter_from_exiting() -> None:
    assert output_of("print('the end')") == "the end\n"


def test_ctrl_c_ends_the_closing_of_an_engine_whose_backend_does_not_obey() -> None:
    printed = output_of("""
        slow = SlowBackend()
        stuck = Engine(slow, name="slow")
        stuck.submit(GenerationRequest())
        slow.began.wait()
        ctrl_c_when_in("_join")
        try:
            stuck.close()
        except KeyboardInterrupt:
            print("left")
    """)
    assert printed == "left\n"

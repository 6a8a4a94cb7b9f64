"""Kills a server at random moments under load, again and again, and looks at what has become of its jobs.

    python -m tests.stress.kill_loop --backend fake --kills 50
    python -m tests.stress.kill_loop --backend local --kills 10

Clients submit jobs all the time, each with a key of its own, and ask again when an answer was lost; some
watch events. The server is ended by SIGKILL, at a random moment of its start, its recovery or its work, half
of the times while a request is on its way; where it has a child process, that one is killed now and then as
well. At the end every accepted job must be done, with the pixels of an undisturbed run.

A job may lose two tries; the third loss fails it, as the job may be the cause. So after two kills in
a row between which no job has ended, the third waits until one has; all else is left to chance.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from tests.stress.aftermath import check_files, check_jobs, ended_jobs
from tests.stress.load import PAUSE_S, Counts, Load, Plan
from tests.stress.served import Served, is_running

QUEUES: Final = {"fake": 24, "local": 6}
GONE_S: Final = 10.0
SAFE_KILLS: Final = 2
ENDED_METRIC: Final = "sdenv_jobs_ended_total{"


def run_loop(plan: Plan, folder: Path) -> Counts:
    """Kills, lets all jobs end, and checks; what was found wrong is in `faults` of the counts."""
    counts = Counts()
    slow = ["-O", "step_seconds=0.01"] if plan.backend == "fake" else []
    served = Served(folder, ["-b", plan.backend, "--queue", str(QUEUES[plan.backend]), *slow])
    load = Load(plan, counts, served.url)
    served.start()
    load.start()
    try:
        _Killer(plan, served, load, counts).kill_all()
        served.wait_until_listening()
        load.stop()
        load.wait_for_watchers()
        jobs = ended_jobs(served.url, load.accepted)
        check_jobs(plan, served.url, load.accepted, jobs, counts)
    finally:
        load.close()
        code = served.stop()
    if code not in (0, 128 + signal.SIGTERM):
        counts.faults.append(f"the last server ended with exit code {code}: {served.said()}")
    check_files(served.data, jobs, counts)
    return counts


@final
class _Killer:
    """Ends one life of a server after another."""

    def __init__(self, plan: Plan, served: Served, load: Load, counts: Counts) -> None:
        self._plan = plan
        self._served = served
        self._load = load
        self._counts = counts
        self._chance = random.Random(plan.seed)
        self._kills_in_a_row = 0  # since a job has ended
        self._ended_before = 0  # as the server counts that lives now

    def kill_all(self) -> None:
        """Begins with a life that runs, and ends with one."""
        for _ in range(self._plan.kills):
            self._live_for_a_while()
            self._kill()
            self._served.start()

    def _live_for_a_while(self) -> None:
        longest_s = self._plan.longest_life_s
        time.sleep(self._chance.uniform(0.0, longest_s))
        workers = self._served.workers()
        if workers and self._chance.random() < self._plan.child_kills:
            self._wait_for_leave()
            self._counts.child_kills += 1
            self._ended_before = self._ended()
            with suppress(ProcessLookupError):
                os.kill(workers[0], signal.SIGKILL)
            time.sleep(self._chance.uniform(0.0, longest_s / 2))
        self._wait_for_leave()
        if self._chance.random() < 0.5:  # while a request is on its way: its answer is likely to be lost
            self._load.sending.clear()
            self._load.sending.wait(longest_s)
            time.sleep(self._chance.uniform(0.0, 0.02))

    def _kill(self) -> None:
        workers = self._served.workers()
        self._counts.server_kills += 1
        self._counts.kills_before_it_listened += not self._served.is_listening()
        self._served.kill()
        self._ended_before = 0
        deadline = time.monotonic() + GONE_S
        while any(is_running(each) for each in workers):
            if time.monotonic() > deadline:
                self._counts.faults.append(f"the processes {workers} have outlived their server")
                return
            time.sleep(PAUSE_S)

    def _wait_for_leave(self) -> None:
        """Before each kill: lets a job end where this would be the third loss in a row."""
        if self._ended() > self._ended_before:
            self._kills_in_a_row = 0
        if self._kills_in_a_row >= SAFE_KILLS:
            while self._ended() <= self._ended_before:
                time.sleep(PAUSE_S)
            self._kills_in_a_row = 0
        self._kills_in_a_row += 1

    def _ended(self) -> int:
        """How many jobs have ended in this life, as far as the server says."""
        if not self._served.is_listening():
            return 0
        try:
            with urllib.request.urlopen(f"{self._served.url}/metrics", timeout=5.0) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(ENDED_METRIC))


def main() -> int:
    """Runs it and prints what was counted; 1 = there were faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=("fake", "local"), default="fake")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest-life", type=float, metavar="SECONDS", help="4 for fake, 25 for local")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    longest_s = arguments.longest_life or {"fake": 4.0, "local": 25.0}[arguments.backend]
    plan = Plan(arguments.backend, arguments.kills, longest_s, seed=arguments.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sdenv-kill-loop-") as folder:
        counts = run_loop(plan, Path(folder))
    print(f"{plan}, {time.monotonic() - began:.0f} s")
    for line in counts.lines():
        print(f"  {line}")
    return 1 if counts.faults else 0


if __name__ == "__main__":
    sys.exit(main())

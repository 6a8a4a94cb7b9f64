"""How long `sdenv --help` takes, against a bare `import typer, rich.console`, side by side.

python tests/benchmarks/bench_help.py [rounds]

Both are started in turn, so that a busy machine slows both; CPU seconds (user and system) of each process.
The ratio of the minima is the answer, since nothing but other work makes a start slower.
"""

import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIDES = {
    "import typer, rich.console": [sys.executable, "-c", "import typer, rich.console"],
    "sdenv --help": [sys.executable, "-m", "sdenv", "--help"],
    "sdenv generate --help": [sys.executable, "-m", "sdenv", "generate", "--help"],
}
LIMIT = 2.0


def cpu_seconds(command: list[str]) -> float:
    """CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measures and prints."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    taken: dict[str, list[float]] = {name: [] for name in SIDES}
    for command in SIDES.values():
        cpu_seconds(command)  # files into the cache, bytecode onto the disk
    for _ in range(rounds):
        for name, command in SIDES.items():
            taken[name].append(cpu_seconds(command))
    bare = min(taken["import typer, rich.console"])
    print(f"{'CPU seconds':<28} {'min':>7} {'median':>7} {'ratio':>7}   ({rounds} rounds)")
    for name, seconds in taken.items():
        print(f"{name:<28} {min(seconds):7.3f} {statistics.median(seconds):7.3f} {min(seconds) / bare:7.2f}")
    ratio = min(taken["sdenv --help"]) / bare
    print(f"sdenv --help takes {ratio:.2f} times the bare import; the limit is {LIMIT:g}.")


if __name__ == "__main__":
    main()

"""How soon `sdenv generate` says its first word when a server on this machine has the model loaded.

    python tests/benchmarks/bench_first_line.py [RUNS]

Starts a server over the built-in model, then measures from the start of the process to the first line on
stderr: with the server, and on the backend `fake` without any, which is sdenv's own share. The target for the
first is 0.3 s. Bytecode is compiled before, as it is in an installed sdenv.
"""

import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
WARM = ("-b", "local", "--steps", "4")
FAKE = ("-b", "fake", "--steps", "4", "--size", "64x64")


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SDENV_", "PYTHOND"))}
    places = {"SDENV_CONFIG": str(home / "config.toml"), "SDENV_DATA_DIR": str(home / "data")}
    return {**kept, **places, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}


@contextmanager
def served(home: Path) -> Iterator[None]:
    """A server of this user, which has said where it listens."""
    command = [sys.executable, "-m", "sdenv", "serve", "http", "--port", "0"]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.wait()


def first_line_s(home: Path, flags: Sequence[str]) -> float:
    """Seconds to the first line, of a command that then runs to its end."""
    out = str(home / "picture.png")
    command = [sys.executable, "-m", "sdenv", "generate", "a pizza, 3d", "--force", "-o", out, *flags]
    began_s = time.perf_counter()
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stderr is not None
        run.stderr.readline()
        took_s = time.perf_counter() - began_s
        run.communicate()
    assert run.returncode == 0
    return took_s


def main(runs: int) -> None:
    """Measures both by turns, and prints medians and extremes."""
    compileall.compile_dir(str(ROOT / "sdenv"), quiet=2)
    found: dict[str, list[float]] = {"warm": [], "fake": []}
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)):
        first_line_s(Path(folder), WARM)  # the server loads the model
        for _ in range(runs):
            found["warm"].append(first_line_s(Path(folder), WARM))
            found["fake"].append(first_line_s(Path(folder), FAKE))
    for name, seconds in found.items():
        middle, low, high = (1000 * each for each in (statistics.median(seconds), min(seconds), max(seconds)))
        print(f"{name}: first line after {middle:.0f} ms (median of {runs}; {low:.0f} to {high:.0f})")
    print(f"ratio: {statistics.median(found['warm']) / statistics.median(found['fake']):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

"""Running the command line in this process, and transcripts of it as text files."""

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdenv.cli import run
from sdenv.cli.terminal import color_choice

REFRESH = bool(os.environ.get("SDENV_GOLDEN_REASON"))


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class _Stdin(io.TextIOWrapper):
    """A pipe that somebody feeds, or a terminal at which nobody types."""

    def __init__(self, text: bytes | None) -> None:
        super().__init__(io.BytesIO(text or b""), encoding="utf-8")
        self._read, write = os.pipe()
        os.close(write)
        self._is_pipe = text is not None

    def fileno(self) -> int:
        if self._is_pipe:
            return self._read
        raise OSError("no file")

    def isatty(self) -> bool:
        return not self._is_pipe

    def close(self) -> None:
        if not self.closed:
            os.close(self._read)
        super().close()


class Screen(io.TextIOWrapper):
    """A stream that keeps what is written; a terminal if it says so."""

    def __init__(self, tty: bool = False) -> None:
        self.kept = io.BytesIO()
        super().__init__(self.kept, encoding="utf-8", errors="backslashreplace", newline="")
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    @property
    def text(self) -> str:
        self.flush()
        return self.kept.getvalue().decode()


@contextmanager
def streams(stdin: bytes | None, tty: bool) -> Iterator[tuple[Screen, Screen]]:
    """The process's streams replaced until the context ends."""
    before = sys.stdin, sys.stdout, sys.stderr
    out, err = Screen(), Screen(tty)
    source = _Stdin(stdin)
    sys.stdin, sys.stdout, sys.stderr = source, out, err
    try:
        yield out, err
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        source.close()


def sdenv(*arguments: str, stdin: bytes | None = None, tty: bool = False) -> Done:
    """Runs `sdenv ARGUMENTS` in this process; `tty` = stderr is a terminal."""
    token = color_choice.set("")
    try:
        with streams(stdin, tty) as (out, err):
            code = run(list(arguments))
            return Done(code, out.kept.getvalue(), err.text)
    finally:
        color_choice.reset(token)


def fake(*arguments: str, stdin: bytes | None = None, **keywords: Any) -> Done:
    """Runs `sdenv generate ARGUMENTS` on the fake backend, without progress."""
    return sdenv("generate", "-b", "fake", "--progress", "off", *arguments, stdin=stdin, **keywords)


# A transcript: `$ command`, lines for stdin after `< `, then stdout as it is, stderr after `! `, and the exit
# code after `= ` unless it is 0. `$ ls` lists the files below the current folder, those given in `in/` left
# out. Lines with `#` at the start say why.


def transcribed(text: str, folder: Path) -> str:
    """The transcript with what really happens."""
    lines: list[str] = []
    for block in re.split(r"(?m)^(?=\$ )", text):
        if not block.startswith("$ "):
            lines += block.splitlines()
            continue
        command, *rest = block.splitlines()
        fed = [line for line in rest if line.startswith("< ")]
        lines += [command, *fed]
        stdin = "".join(f"{line[2:]}\n" for line in fed).encode() if fed else None
        lines += _happened(shlex.split(command[2:]), stdin, folder)
        lines += _kept_comments(rest)
    return "\n".join(lines) + "\n"


def _kept_comments(rest: Sequence[str]) -> list[str]:
    """Empty lines and comments between two commands."""
    tail: list[str] = []
    for line in reversed(rest):
        if line and not line.startswith("#"):
            break
        tail.insert(0, line)
    return tail


def _happened(words: list[str], stdin: bytes | None, folder: Path) -> list[str]:
    if words[0] == "ls":
        there = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        return sorted(_same_everywhere(path, folder) for path in there if not path.startswith("in/"))
    assert words[0] == "sdenv", words
    done = sdenv(*words[1:], stdin=stdin)
    shown = [_same_everywhere(line, folder) for line in done.out.splitlines()]
    shown += [f"! {_same_everywhere(line, folder)}" for line in done.stderr.splitlines()]
    return [*shown, *([f"= {done.code}"] if done.code else [])]


def _same_everywhere(line: str, folder: Path) -> str:
    """Without what differs from run to run: job ids, the folder, the version, times, sizes of files."""
    import sdenv as package

    line = line.replace(str(folder), "HERE").replace(os.environ.get("HOME", "HOME"), "HOME")
    line = re.sub(r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "JOB", line)
    line = line.replace(package.__version__, "VERSION")
    line = re.sub(r'"picture_bytes": \d+', '"picture_bytes": N', line)
    line = re.sub(r"(?<=\S) {2,}", "  ", line)
    line = re.sub(r"http://127\.0\.0\.1:\d+", "http://SERVER", line)
    line = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{3}Z)?", "TIME", line)
    line = re.sub(r'"sha256": "[0-9a-f]{64}"', '"sha256": "SUM"', line)
    line = re.sub(r'"(size_bytes|seconds)": [\d.]+', r'"\1": N', line)
    return re.sub(r"\d+(\.\d+)? (s|kB)\b", r"N \2", line).rstrip()

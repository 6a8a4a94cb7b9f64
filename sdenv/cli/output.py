"""What goes to stdout: paths, JSON lines, bytes of pictures. Nothing else ever does."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

STDOUT: Final = "-"  # what `-o` calls it
RESULT_VERSION: Final = 1  # `v` of the JSON objects; raised when the meaning of a field changes


def print_path(path: Path) -> None:
    """Writes a path as the bytes that it is, so that every name can be used again, and flushes."""
    _write(os.fsencode(path))


def print_json(record: Mapping[str, object]) -> None:
    """Writes one JSON object on one line, and flushes."""
    _write(json.dumps({"v": RESULT_VERSION, **record}).encode())


def print_text(text: str) -> None:
    """Writes text for people who asked for a list, and flushes."""
    _write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def _write(line: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()

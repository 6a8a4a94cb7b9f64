"""Times, ages and sizes: how people say them, and how they are shown to them."""

import datetime
import re
from typing import Final

from sdenv.core.errors import UsageError

_UNITS_S: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_UNITS_BYTES: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
"""Powers of ten, as shops and disks count, and as `sdenv models` shows."""

_NOW_S: Final = 5.0  # clocks of two machines differ by about as much
_DATES_FROM_S: Final = 14 * _UNITS_S["d"]  # nobody counts the days of a month


def ago_text(then_s: float, now_s: float) -> str:
    """How long ago that was, as short as a column wants it: `12 s ago`, `3 h ago`, `2026-11-20`.

    Args:
        then_s: UTC, seconds since 1970; a time that is yet to come is "now": it is another machine's.
        now_s: The time now, likewise.
    """
    past_s = now_s - then_s
    if past_s < _NOW_S:
        return "now"
    if past_s >= _DATES_FROM_S:
        return _local(then_s).strftime("%Y-%m-%d")
    for unit, next_unit in (("s", "min"), ("min", "h"), ("h", "d")):
        if past_s < _UNITS_S[next_unit]:
            return f"{past_s / _UNITS_S[unit]:.0f} {unit} ago"
    return f"{past_s / _UNITS_S['d']:.0f} d ago"


def iso_text(then_s: float) -> str:
    """The time in UTC as ISO 8601, to the millisecond: `2026-11-20T20:40:12.345Z`."""
    moment = datetime.datetime.fromtimestamp(then_s, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_and_date(then_s: float) -> str:
    """The time on the clocks of this place: `2026-11-20 21:40:12`."""
    return _local(then_s).strftime("%Y-%m-%d %H:%M:%S")


def _local(then_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(then_s, datetime.UTC).astimezone()


def bytes_text(size_bytes: int) -> str:
    """`912 B`, `62.1 kB`, `1.4 MB`, `5.1 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} B"


def parse_age(text: str, flag: str) -> float:
    """An age as it is typed (`90s`, `10min`, `12h`, `30d`, `4w`), in seconds.

    Raises:
        UsageError: It is none.
    """
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)\s*", text, re.ASCII)
    if found is None or found[2] not in _UNITS_S:
        raise UsageError(f"{flag} {text!r} is not an age.", hint=f"For example: {flag} 30d (s, min, h, d, w)")
    return float(found[1]) * _UNITS_S[found[2]]


def parse_bytes(text: str, flag: str) -> int:
    """A size as it is typed (`500MB`, `2GB`), in bytes.

    Raises:
        UsageError: It is none.
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([a-zA-Z]*)\s*", text, re.ASCII)
    if found is None or found[2].casefold() not in _UNITS_BYTES:
        raise UsageError(
            f"{flag} {text!r} is not a size.", hint=f"For example: {flag} 2GB (B, kB, MB, GB, TB)"
        )
    return int(float(found[1]) * _UNITS_BYTES[found[2].casefold()])

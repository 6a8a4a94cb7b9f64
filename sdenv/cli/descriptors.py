"""How many files and connections this process may have open at once."""

from contextlib import suppress
from typing import Final

MOST: Final = 65_536


def raise_limit() -> None:
    """Raises the limit as far as the system lets an ordinary user: many start at 1,024 (or 256 on macOS)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    wanted = MOST if hard == endless else min(hard, MOST)
    if soft != endless and soft < wanted:
        with suppress(ValueError, OSError):  # some systems have a lower limit than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

"""How many connections the system lets this process keep open beside its files."""

from typing import Final

RESERVED: Final = 128
"""For the database, results, pipes of the child process, the listeners and the loop itself."""


def most_connections(wanted: int) -> int:
    """So many connections that what each of them needs can still be opened.

    A server that runs out of descriptors accepts nobody, and can write no result either.

    Args:
        wanted: As it is set.
    """
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - RESERVED))

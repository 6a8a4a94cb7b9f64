"""Bodies that are small and make much work: a long run of tiny JSON values.

`[],[],[],...` of the size of one picture is twenty million lists: parsing it takes minutes and gigabytes in
one go, in which nobody else is answered. No parser counts as it reads, so the signs that make values are
counted before. Pictures hold none of them, since base64 has no commas and no brackets.
"""

import asyncio
from typing import Final

from sdenv.core.errors import RequestTooLarge

MAX_SIGNS: Final = 100_000
"""Commas, colons and opening brackets of a body; a request that says everything there is has hundreds."""
_SIGNS: Final = (b",", b":", b"[", b"{")
_PIECE_BYTES: Final = 1 << 20  # counted in less than a millisecond
_FORM: Final = b"--"
"""How a multipart form begins, and no JSON text does."""


async def check_values(body: bytes) -> None:
    """Lets a body pass that can be parsed in a moment, whatever it says that it is.

    Args:
        body: The whole body; multipart forms pass, since only their few small fields are parsed.

    Raises:
        RequestTooLarge: It holds more values than any request has.
    """
    if len(body) <= MAX_SIGNS or body[:64].lstrip().startswith(_FORM):
        return
    found = 0
    for start in range(0, len(body), _PIECE_BYTES):
        found += sum(body.count(sign, start, start + _PIECE_BYTES) for sign in _SIGNS)
        if found > MAX_SIGNS:
            raise RequestTooLarge(
                "The body of the request holds too many values.",
                why=f"It has more than {MAX_SIGNS} commas, colons and brackets.",
            )
        await asyncio.sleep(0)  # others are answered in between

"""`KEY=VALUE` as it is typed after a flag."""

from collections.abc import Sequence

from sdenv.core.errors import UsageError


def key_values(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Keys and values; of a key given twice the last one counts.

    Raises:
        UsageError: A text without `=`, or without a key.
    """
    pairs = [text.partition("=") for text in texts]
    for key, separator, _ in pairs:
        if not (key and separator):
            raise UsageError(f"{flag} {key!r} is not KEY=VALUE.", hint=f"For example: {flag} device=cpu")
    return {key: value for key, _, value in pairs}

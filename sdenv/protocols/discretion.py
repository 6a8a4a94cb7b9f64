"""What an error says to somebody on another machine: all but where things lie on this one."""

from sdenv.core.errors import SdenvError
from sdenv.core.privacy import without_folders


def discreet(error: SdenvError) -> SdenvError:
    """The error with the last part of each absolute path only; itself where it names none."""
    said = (error.what, error.why, error.hint)
    shown = tuple(without_folders(text) for text in said)
    if shown == said:
        return error
    told = type(error).__new__(type(error), *shown)  # not its constructor, which may want something else
    vars(told).update(vars(error))
    told.what, told.why, told.hint = shown
    return told

"""What the user wants to see, from flags, settings and the terminal: a renderer, and a way for pictures."""

import os
import secrets
import sys
from dataclasses import dataclass
from typing import Final, final

from sdenv.cli.barview import LiveBars
from sdenv.cli.inline import Graphics, graphics_of, inline_picture
from sdenv.cli.live import Region
from sdenv.cli.render import JsonLines, PlainLines, ProgressForm, Renderer, Silent, form_for
from sdenv.cli.terminal import Terminal, resized, terminal_of
from sdenv.core.errors import BadImage, UsageError, did_you_mean
from sdenv.core.image import ImageData

_PICTURE_CELLS: Final = (48, 24)
_PICTURE_CELLS_OF_SEVERAL: Final = (32, 16)
_ROWS_KEPT: Final = 6
_USUAL_STEPS: Final = 20
_PREVIEWS: Final = 6  # in the course of a picture: enough to see it grow, a few per cent of the work
_FORMS: Final[tuple[ProgressForm, ...]] = ("auto", "bar", "plain", "json", "off")
_WAYS: Final = {
    "kitty": Graphics.KITTY,
    "iterm": Graphics.ITERM,
    "sixel": Graphics.SIXEL,
    "blocks": Graphics.BLOCKS,
}


@final
@dataclass(frozen=True, slots=True)
class Viewer:
    """How a command shows what it does.

    Attributes:
        renderer: Shows progress.
        graphics: How pictures are shown.
        terminal: What stderr can show.
        previews_every: As the user said it: a number of steps, 0 = never, None = as is sensible.
        shows_result: Whether the finished picture is shown.
    """

    renderer: Renderer
    graphics: Graphics
    terminal: Terminal
    previews_every: int | None
    shows_result: bool

    def preview_every(self, steps: int | None) -> int:
        """Every how many steps a preview is worth its time; 0 = never.

        Args:
            steps: Steps of the picture, if they are known.
        """
        if self.previews_every is not None:
            return self.previews_every
        if self.graphics is Graphics.NONE or not isinstance(self.renderer, LiveBars):
            return 0
        return max(1, (steps or _USUAL_STEPS) // _PREVIEWS)

    def show(self, image: ImageData, one_of: int = 1) -> None:
        """Shows a finished picture, if that is wanted and possible.

        Args:
            image: The picture.
            one_of: How many there will be; several are shown smaller.
        """
        if not self.shows_result or self.graphics is Graphics.NONE:
            return
        now = resized(self.terminal, sys.stderr)
        room = _PICTURE_CELLS if one_of == 1 else _PICTURE_CELLS_OF_SEVERAL
        columns, rows = min(room[0], now.columns - 1), min(room[1], now.rows - _ROWS_KEPT)
        try:
            picture = inline_picture(image, self.graphics, max(4, columns), max(4, rows), new_picture_id())
        except BadImage:  # it is saved; that this program cannot show it is no failure of the work
            return
        with self.renderer.paused():
            Region(sys.stderr).print("", picture)


def new_picture_id() -> int:
    """A number for kitty that no other picture on the screen is likely to have; 24 bits."""
    return secrets.randbelow(0xFF0000) + 0x010000


def make_viewer(
    progress: str, preview: str, *, show: bool | None = None, as_json: bool = False, quiet: bool = False
) -> Viewer:
    """What the flags and settings mean on this terminal.

    Args:
        progress: auto, bar, plain, json or off.
        preview: auto, kitty, iterm, sixel, blocks; off = no pictures, but for `show`; or a number of steps.
        show: Whether to show the finished picture; None = if a person watches.
        as_json: Results are for a program.
        quiet: Nothing but errors.

    Raises:
        UsageError: A word that there is not.
    """
    terminal = terminal_of(sys.stderr)
    form = next((each for each in _FORMS if each == progress), None)
    if form is None:
        raise UsageError(f"There is no progress form {progress!r}.", why=did_you_mean(progress, _FORMS))
    form = form_for(form, terminal)
    graphics, previews_every = _graphics(preview, terminal)
    renderer: Renderer
    if form == "json":
        renderer = JsonLines(sys.stderr)
    elif quiet or form == "off":
        renderer = Silent(sys.stderr, terminal, quiet=quiet)
    elif form == "bar":
        renderer = LiveBars(sys.stderr, terminal, graphics, new_picture_id())
    else:
        renderer = PlainLines(sys.stderr, terminal)
    watched = form != "json" and preview != "off" and not (as_json or quiet)
    return Viewer(
        renderer, graphics, terminal, previews_every, shows_result=watched if show is None else show
    )


def _graphics(preview: str, terminal: Terminal) -> tuple[Graphics, int | None]:
    """The way to show pictures, and every how many steps, None = as is sensible."""
    if preview == "off":
        return graphics_of(terminal), 0
    if preview.isdecimal():
        return graphics_of(terminal), int(preview)
    if preview == "auto":
        return graphics_of(terminal), None
    way = _WAYS.get(preview)
    if way is None:
        raise UsageError(
            f"There is no preview {preview!r}.", why=did_you_mean(preview, ["auto", "off", *_WAYS])
        )
    if way is Graphics.KITTY and os.environ.get("TMUX"):
        way = Graphics.KITTY_IN_TMUX
    return way if terminal.is_tty else Graphics.NONE, None

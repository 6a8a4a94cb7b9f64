"""The region that is drawn over: what is written to the terminal, and what is not."""

from sdenv.cli.inline import InlinePicture
from sdenv.cli.live import Region
from tests.cli.support import Screen

OVERLAY = InlinePicture(("", "", ""), "<picture>")


def test_a_picture_is_drawn_once_room_is_made_for_it() -> None:
    screen = Screen(tty=True)
    Region(screen).draw(OVERLAY, ["bar"])
    assert "\r\n\r\n\r\n\x1b[3A\r<picture>\x1b[3B\rbar\x1b[K\r\n" in screen.text


def test_the_same_picture_is_not_drawn_again() -> None:
    screen = Screen(tty=True)
    region = Region(screen)
    region.draw(OVERLAY, ["bar 1"])
    region.draw(OVERLAY, ["bar 2"])
    assert screen.text.count("<picture>") == 1
    assert "\x1b[4A\r\x1b[3B\rbar 2" in screen.text


def test_a_picture_that_goes_away_takes_its_rows_with_it() -> None:
    screen = Screen(tty=True)
    region = Region(screen)
    region.draw(OVERLAY, ["bar"])
    before = len(screen.text)
    region.draw(None, ["bar"])
    assert screen.text[before:].startswith("\x1b[?2026h\x1b[4A\r\x1b[J")


def test_a_picture_is_drawn_again_after_the_region_was_cleared() -> None:
    screen = Screen(tty=True)
    region = Region(screen)
    region.draw(OVERLAY, ["bar"])
    region.clear()
    region.draw(OVERLAY, ["bar"])
    assert screen.text.count("<picture>") == 2


def test_a_region_that_drew_nothing_leaves_nothing() -> None:
    screen = Screen(tty=True)
    region = Region(screen)
    region.clear()
    region.close()
    assert screen.text == ""

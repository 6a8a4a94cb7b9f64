"""Addresses of pictures end after an hour, and cannot be guessed or piled up."""

from sdenv.core.image import PNG
from sdenv.servers.http import file_links
from sdenv.servers.http.file_links import VALID_S, FileLinks, Link

LINK = Link("01", 0, PNG, 100)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_is_valid_for_an_hour() -> None:
    clock = Clock()
    links = FileLinks(clock)
    secret = links.add(LINK)
    clock.now += VALID_S - 1
    later = links.add(LINK)
    assert links.find(secret) == LINK
    clock.now += 1
    assert links.find(secret) is None
    assert links.find(later) == LINK


def test_an_address_cannot_be_guessed() -> None:
    links = FileLinks()
    secrets = {links.add(LINK) for _ in range(100)}
    assert len(secrets) == 100
    assert min(len(each) for each in secrets) >= 32
    assert links.find("") is None


def test_the_oldest_address_goes_when_there_are_too_many() -> None:
    links = FileLinks()
    first = links.add(LINK)
    for _ in range(file_links.MOST_LINKS):
        last = links.add(LINK)
    assert links.find(first) is None
    assert links.find(last) == LINK

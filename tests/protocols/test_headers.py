"""Texts of anybody in headers: every value can be sent."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.protocols.headers import LONGEST_CHARACTERS, header_fields, header_text


@pytest.mark.parametrize(
    ("texts", "header"),
    [
        (["a", "b"], "a, b"),
        (["line\r\nX-Evil: 1"], "line??X-Evil: 1"),
        (["größe\x7f\x00"], "gr??e??"),
        (["a; b"], "a; b"),
        ([" a ", "b "], "a , b"),
        (["x" * 5000], "x" * LONGEST_CHARACTERS),
        (["x" * (LONGEST_CHARACTERS - 1) + " y"], "x" * (LONGEST_CHARACTERS - 1)),
        ([], ""),
        (["   "], ""),
    ],
)
def test_a_header_is_one_short_line_of_ascii_without_blanks_at_its_ends(
    texts: list[str], header: str
) -> None:
    assert header_text(texts) == header


@given(st.lists(st.text(max_size=20), max_size=4))
def test_whatever_it_was_it_can_be_sent(texts: list[str]) -> None:
    value = header_text(texts)
    h11.Response(status_code=200, headers=[("X-Sdenv-Ignored", value)])


def test_what_says_nothing_is_no_header_and_separators_stay_what_they_are() -> None:
    texts = {"A": (" ",), "B": (), "C": ("one; two", "three")}
    assert header_fields(texts, {"C": "; "}) == {"C": "one, two; three"}

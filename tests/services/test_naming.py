"""File names: what a template may say, and that no text of a request leads out of a folder."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import InvalidRequest
from sdenv.services.naming import before_suffix, check_template, fill, literal, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat, flat", "a-cat-flat"),
        ("", "untitled"),
        ("../../etc/passwd", "etc-passwd"),
        ("!?…", "untitled"),
        ("a (red:1.2) fox <lora:ink:0.6>", "a-red-1-2-fox"),
        ("Ein Schloß, weiß", "ein-schloß-weiß"),
        ("日本の富士山", "日本の富士山"),
        ("con", "con-picture"),
        ("LPT1", "lpt1-picture"),
        ("ﬁne ﬁsh", "fine-fish"),
    ],
)
def test_a_slug_is_readable_and_safe(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_long_prompt_is_cut_between_words() -> None:
    assert slug("word " * 40) == "-".join(["word"] * 12)


def test_a_word_that_alone_is_too_long_is_cut_inside() -> None:
    assert slug("x" * 100) == "x" * 60


@given(st.text(max_size=300))
def test_every_slug_is_short_not_empty_and_without_separators(text: str) -> None:
    made = slug(text)
    assert made
    assert len(made) <= 60
    assert len(made.encode()) <= 120
    assert not set(made) & set('./\\:*?"<>| \0\n')
    assert made.strip("-") == made


def test_a_filled_template_has_every_field() -> None:
    values: dict[str, str | int] = {
        "seed": 5, "index": 2, "model": "v1/5", "prompt": "A fox", "date": "2026-11-20",
        "width": 512, "height": 768, "steps": 20, "backend": "local",
    }  # fmt: skip
    template = "{date}/{model}-{backend}/{prompt}-{seed}-{index:03d}-{width}x{height}-{steps}.png"
    assert check_template(template) == values.keys()
    assert fill(template, values) == "2026-11-20/v1-5-local/a-fox-5-002-512x768-20.png"


@pytest.mark.parametrize(
    ("template", "nearest"),
    [("{promt}.png", "'prompt'"), ("{seeds}.png", "'seed'"), ("{0}.png", "{0}"), ("{}.png", "{}")],
)
def test_an_unknown_field_is_refused_with_the_nearest(template: str, nearest: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(nearest)):
        check_template(template)


@pytest.mark.parametrize(
    "template",
    ["{prompt.__class__}.png", "{prompt[0]}.png", "{seed!r}.png", "{seed:9999999999}.png", "{prompt:>99}.png",
     "{seed:{width}}.png", "{seed", "}", "a\0.png"],
)  # fmt: skip
def test_a_template_can_do_nothing_but_name_its_fields(template: str) -> None:
    with pytest.raises(InvalidRequest):
        check_template(template)


def test_braces_of_a_folder_name_stay_as_they_are() -> None:
    assert fill(literal("a{b}"), {}) == "a{b}"


def test_an_addition_goes_before_the_suffix() -> None:
    assert before_suffix("a.b/out.png", "-2") == "a.b/out-2.png"

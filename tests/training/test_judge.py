"""The judge, on drawings whose names are known."""

from PIL import Image, ImageDraw, ImageFilter

from sdenv.training.judge import Judge, cut_out, self_check, share_named, to_lab
from tests.training.support import draw

NAMES = [f"thing-{number}" for number in range(14)]


def _shifted(picture: Image.Image, right: int, down: int) -> Image.Image:
    moved = Image.new("RGB", picture.size, "white")
    moved.paste(picture, (right, down))
    return moved


def _judge() -> Judge:
    pictures = [draw(number) for number in range(14)]
    sharp = [*pictures, *(each.filter(ImageFilter.GaussianBlur(2)) for each in pictures)]
    return Judge.of(NAMES * 2, ["sharp"] * 14 + ["soft"] * 14, sharp)


def test_names_what_it_knows_even_when_shifted_and_recoloured_a_little() -> None:
    moved = [
        _shifted(draw(number), 9, -7).point([min(255, 12 + round(level * 0.93)) for level in range(256)] * 3)
        for number in range(14)
    ]
    assert share_named(_judge().name(moved), NAMES, 1) == 1.0


def test_names_real_pictures_of_a_style_it_has_never_seen() -> None:
    assert self_check(_judge()) == {"sharp": 1.0, "soft": 1.0}


def test_shuffled_names_are_not_confirmed() -> None:
    ranked = _judge().name([draw(number) for number in range(14)])
    assert share_named(ranked, NAMES[1:] + NAMES[:1], 1) == 0.0


def test_each_name_is_listed_once_however_many_references_have_it() -> None:
    row = _judge().name([draw(3)], depth=5)[0]
    assert row[0] == "thing-3"
    assert len(set(row)) == 5


def test_the_cut_out_does_not_depend_on_where_the_drawing_stands() -> None:
    picture = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(picture).rectangle((60, 60, 160, 120), fill="teal")
    assert cut_out(picture).tobytes() == cut_out(_shifted(picture, 20, 30)).tobytes()


def test_an_empty_picture_is_judged_too() -> None:
    assert len(_judge().name([Image.new("RGB", (256, 256), "white")])) == 1


def test_lab_of_white_and_of_red_are_those_of_the_standard() -> None:
    import numpy as np

    white, red = to_lab(np.array([[255.0, 255.0, 255.0], [255.0, 0.0, 0.0]]))
    assert np.allclose(white, [100, 0, 0], atol=0.1)
    assert np.allclose(red, [53.2, 80.1, 67.2], atol=0.2)  # CIE 15, D65; rounded published values

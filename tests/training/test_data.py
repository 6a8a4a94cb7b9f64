"""The split, the captions and the order of the pictures."""

from pathlib import Path

import pytest
from PIL import Image

from sdenv.core.errors import BadTrainingData
from sdenv.training.data import (
    Sample,
    batch_rows,
    canonical_caption,
    chance_for,
    load_pictures,
    read_samples,
    read_split,
    training_samples,
    varied_caption,
)
from tests.training.support import prepared_folder

PIZZA = Sample("pizza", "3d", "a pizza", ("cheese", "slice"), Path("pizza.png"))


def test_the_split_holds_out_32_concepts_and_40_pairs_of_other_concepts() -> None:
    split = read_split()
    assert len(split.held_out_concepts) == 32
    assert len(split.held_out_pairs) == 40
    assert not {slug for slug, _ in split.held_out_pairs} & split.held_out_concepts


def test_no_held_out_picture_is_among_the_training_pictures() -> None:
    split = read_split()
    training = set(split.training_pairs())
    assert not training & split.held_out_pairs
    assert not {slug for slug, _ in training} & split.held_out_concepts
    assert len(training) == (len(split.concepts) - 32) * len(split.styles) - 40


def test_every_trained_thing_is_seen_in_three_styles_or_more_and_there_are_300_of_them() -> None:
    training = read_split().training_pairs()
    styles_of = {slug: [style for each, style in training if each == slug] for slug, _ in training}
    assert len(styles_of) >= 300
    assert min(map(len, styles_of.values())) >= 3


def test_training_samples_leave_out_what_the_split_holds_out(tmp_path: Path) -> None:
    split = read_split()
    held_out = sorted(split.held_out_concepts)[0]
    folder = prepared_folder(tmp_path, ["pizza", held_out])
    assert [each.slug for each in training_samples(folder, split)] == ["pizza"]


def test_a_split_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(
        '{"styles": ["flat"], "held_out_concepts": ["dragon"], "held_out_pairs": [],'
        ' "concepts": [{"slug": "pizza", "emoji": "P", "phrase": "a pizza"}]}'
    )
    with pytest.raises(BadTrainingData, match="dragon"):
        read_split(path)


def test_the_canonical_caption_is_the_phrase_and_the_style() -> None:
    assert canonical_caption("a pizza", "flat") == "a pizza, flat"


def test_captions_vary_but_always_name_the_thing_and_often_say_just_the_canonical_words() -> None:
    texts = [varied_caption(PIZZA, chance_for(number)) for number in range(400)]
    assert all("pizza" in text for text in texts)
    assert 0.4 < texts.count("a pizza, 3d") / len(texts) < 0.7
    assert {"3d pizza", "pizza 3d", "a pizza", "pizza"} <= set(texts)
    assert any("cheese" in text for text in texts)


def test_every_picture_comes_once_a_pass_in_an_order_that_the_seed_decides() -> None:
    rows = [row for step in range(5) for row in batch_rows(step, 4, 10, seed=3)]
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10] != rows[10:]
    assert rows == [row for step in range(5) for row in batch_rows(step, 4, 10, seed=3)]


def test_a_folder_that_was_not_prepared_is_named_with_the_command_that_prepares_it(tmp_path: Path) -> None:
    with pytest.raises(BadTrainingData, match="sdenv train prepare"):
        read_samples(tmp_path)


def test_a_picture_that_is_gone_is_an_error_not_a_gap(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path, ["pizza", "rocket"])
    (folder / "flat" / "rocket.png").unlink()
    with pytest.raises(BadTrainingData, match=r"rocket\.png"):
        read_samples(folder)


def test_a_damaged_picture_is_named_and_never_replaced(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path, ["pizza"])
    (folder / "flat" / "pizza.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(BadTrainingData, match=r"pizza\.png"):
        load_pictures(read_samples(folder))


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path, ["pizza"])
    Image.new("RGB", (64, 64)).save(folder / "flat" / "pizza.png")
    with pytest.raises(BadTrainingData, match="64"):
        load_pictures(read_samples(folder))

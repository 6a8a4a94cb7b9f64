"""The score script: what it prints, and that a judge below the bar does not count."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdenv.training import score
from sdenv.training.data import INDEX_NAME
from tests.training.support import draw, prepared_folder

SLUGS = [f"thing-{number}" for number in range(6)]


def _two_alike_styles(folder: Path) -> Path:
    prepared_folder(folder, SLUGS, ("flat", "modern"))
    for number, slug in enumerate(SLUGS):
        for style in ("flat", "modern"):
            draw(number).save(folder / style / f"{slug}.png")
    return folder


def test_a_judge_that_names_real_pictures_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score.main(["--data", str(_two_alike_styles(tmp_path))]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "judge_names_real_pictures": {"flat": 1.0, "modern": 1.0},
        "references": 12,
        "judge_counts": True,
    }


def test_a_judge_that_confuses_real_pictures_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _two_alike_styles(tmp_path)
    rows = json.loads((folder / INDEX_NAME).read_text())["pictures"]
    for row, other in zip(rows, rows[2:] + rows[:2], strict=True):
        if row["style"] == "modern":
            row["slug"] = other["slug"]
    (folder / INDEX_NAME).write_text(json.dumps({"pictures": rows}))
    assert score.main(["--data", str(folder)]) == 1
    assert json.loads(capsys.readouterr().out)["judge_counts"] is False


def test_shuffled_captions_leave_no_name_in_its_place() -> None:
    names = [f"thing-{number % 30}" for number in range(200)]
    shuffled = score._deranged(names, random.Random(1))
    assert sorted(shuffled) == sorted(names)
    assert all(left != right for left, right in zip(names, shuffled, strict=True))


def test_the_sheet_shows_what_was_asked_and_what_was_seen(tmp_path: Path) -> None:
    from sdenv.training.data import read_samples

    samples = read_samples(prepared_folder(tmp_path, SLUGS))
    pictures = [draw(number) for number in range(6)]
    score._sheet(samples, pictures, [[SLUGS[0]]] * 6, tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 112, 2 * (112 + 26))
        red, green, blue = np.asarray(sheet.convert("RGB")).astype(int).transpose(2, 0, 1)
    assert ((red > 200) & (green < 60) & (blue < 60)).any()

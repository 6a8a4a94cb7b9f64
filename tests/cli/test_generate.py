"""`sdenv generate` on the fake backend: pixels, pipes, files."""

import io
import json
from pathlib import Path

import PIL.Image
import pytest

from sdenv.backends.fake import differing_fields
from sdenv.core.image import ImageData
from tests.cli.support import fake, sdenv


def pixels(path: Path) -> bytes:
    with PIL.Image.open(path) as picture:
        return picture.tobytes()


def test_the_same_command_makes_the_same_pixels(here: Path) -> None:
    assert fake("a cat", "--seed", "7", "-o", "one.png").code == 0
    assert fake("a cat", "--seed", "7", "-o", "two.png").code == 0
    assert pixels(here / "one.png") == pixels(here / "two.png")


def test_from_makes_the_same_pixels_again(here: Path) -> None:
    init = here / "init.png"
    PIL.Image.effect_noise((128, 64), 60).convert("RGB").save(init)
    made = fake(
        *(
            "a cat",
            "-n",
            "dogs",
            "--seed",
            "9",
            "-s",
            "7",
            "-g",
            "3.5",
            "--sampler",
            "Euler a",
            "--schedule",
            "Karras",
        ),
        *("--init-image", str(init), "--strength", "0.4", "-o", "one.png"),
    )
    assert made.code == 0, made.stderr
    assert fake("--from", "one.png", "-o", "two.png").code == 0
    assert pixels(here / "one.png") == pixels(here / "two.png")


def test_from_takes_the_one_picture_out_of_a_batch(here: Path) -> None:
    assert fake("a cat", "--seed", "7", "-c", "3", "--batch", "3", "-o", "p.png").code == 0
    done = fake("--from", "p-1.png", "-o", "again.png")
    assert done.lines == ["again.png"]
    assert pixels(here / "again.png") == pixels(here / "p-1.png")


def test_flags_beside_from_change_only_what_they_name(here: Path) -> None:
    fake("a cat", "--seed", "7", "--size", "256x256", "-o", "one.png")
    fake("--from", "one.png", "-s", "9", "-o", "two.png")
    first, second = (ImageData.from_bytes((here / name).read_bytes()) for name in ("one.png", "two.png"))
    assert differing_fields(first, second) == ("steps",)


def test_from_remembers_the_size_that_a_picture_was_fitted_to(here: Path) -> None:
    arguments = ("a cat", "--seed", "7", "-m", "mosaic-native", "--size", "300x280", "--fit")
    assert fake(*arguments, "-o", "one.png").code == 0
    again = fake("--from", "one.png", "-o", "two.png")
    assert again.code == 0, again.stderr
    with PIL.Image.open(here / "two.png") as picture:
        assert picture.size == (300, 280)
    assert pixels(here / "one.png") == pixels(here / "two.png")


def test_a_picture_goes_to_stdout_and_nothing_else_does(here: Path) -> None:
    done = fake("a cat", "--seed", "7", "-o", "-")
    with PIL.Image.open(io.BytesIO(done.stdout)) as picture:
        picture.load()
        assert picture.format == "PNG"
    assert list(here.iterdir()) == []


def test_an_init_image_comes_from_stdin(here: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (512, 256), "teal").save(buffer, "PNG")
    done = fake("a cat", "--init-image", "-", "-o", "out.png", stdin=buffer.getvalue())
    assert done.code == 0, done.stderr
    with PIL.Image.open(here / "out.png") as picture:
        assert picture.size == (512, 256)


def test_a_terminal_without_a_prompt_is_an_error_and_does_not_wait(here: Path) -> None:
    done = fake(stdin=None)
    assert done.code == 2
    assert "There is no prompt" in done.stderr


def test_flags_beside_a_request_win_over_it_and_it_wins_over_the_settings(here: Path) -> None:
    sdenv("config", "set", "steps", "33")
    sdenv("config", "set", "sampler", "Euler")
    (here / "r.json").write_text('[{"prompt": "a cat", "steps": 5, "seed": 1}]')
    done = fake("--request", "r.json", "--seed", "2", "--dry-run", "--json")
    request = json.loads(done.out)["request"]
    assert (request["steps"], request["seed"], request["sampler"]) == (5, 2, "Euler")


def test_each_request_has_its_own_model(here: Path) -> None:
    lines = (
        b'{"prompt": "a", "model": "mosaic-native"}\n{"prompt": "b"}\n{"prompt": "c", "model": "mosaic"}\n'
    )
    done = fake("--request", "-", "--dry-run", "--json", stdin=lines)
    models = [json.loads(line)["request"]["model"] for line in done.lines]
    assert models == ["mosaic-native", "mosaic", "mosaic"]


def test_a_size_in_the_settings_is_not_put_on_an_init_image(here: Path) -> None:
    sdenv("config", "set", "size", "256x512")
    PIL.Image.new("RGB", (512, 256)).save(here / "init.png")
    plain = json.loads(fake("a", "--dry-run", "--json").out)["request"]
    from_image = json.loads(fake("a", "--init-image", "init.png", "--dry-run", "--json").out)["request"]
    assert (plain["width"], plain["height"]) == (256, 512)
    assert (from_image["width"], from_image["height"]) == (512, 256)


@pytest.mark.parametrize(("size", "side"), [("big", 1024), ("medium", 512), ("little", 384), ("BABY", 256)])
def test_the_size_of_the_machine_is_that_of_a_picture(
    here: Path, monkeypatch: pytest.MonkeyPatch, size: str, side: int
) -> None:
    monkeypatch.setenv("MACHINE_SIZE", size)
    request = json.loads(fake("a", "--dry-run", "--json").out)["request"]
    assert (request["width"], request["height"]) == (side, side)
    native = json.loads(fake("a", "--dry-run", "--json", "-m", "mosaic-native").out)["request"]
    assert (native["width"], native["height"]) == (256, 256)


def test_every_request_flag_reaches_the_backend(here: Path) -> None:
    PIL.Image.new("RGB", (64, 64)).save(here / "i.png")
    done = fake(
        *("a", "-n", "b", "-m", "mosaic", "--size", "64x128", "-s", "3", "-g", "2", "--seed", "4", "-c", "2"),
        *("--sampler", "Heun", "--schedule", "Karras", "--batch", "2", "--lora", "x:0.5", "--clip-skip", "2"),
        *("--vae", "v", "--control", "sketch=i.png:0.7", "--init-image", "i.png", "--mask", "i.png"),
        *("--strength", "0.5", "--json", "-o", "out.png"),
    )
    assert done.code == 0, done.stderr
    request = json.loads(done.lines[0])["request"]
    expected = {
        "prompt": "a",
        "negative_prompt": "b",
        "model": "mosaic",
        "width": 64,
        "height": 128,
        "steps": 3,
    }
    expected |= {"guidance_scale": 2.0, "seed": 4, "count": 2, "sampler": "Heun", "schedule": "Karras"}
    expected |= {
        "batch_size": 2,
        "loras": [{"name": "x", "weight": 0.5}],
        "clip_skip": 2,
        "vae": "v",
        "strength": 0.5,
    }
    assert {name: request[name] for name in expected} == expected


def test_a_colon_that_is_not_a_weight_belongs_to_the_name(here: Path) -> None:
    done = fake("a", "--lora", "author:style", "--lora", "author:style:0.5", "--json")
    assert json.loads(done.out)["request"]["loras"] == [
        {"name": "author:style", "weight": 1.0},
        {"name": "author:style", "weight": 0.5},
    ]


def test_json_results_keep_one_schema(here: Path) -> None:
    done = fake("a cat", "--seed", "7", "-c", "2", "--json")
    records = [json.loads(line) for line in done.lines]
    keys = {
        "v",
        "type",
        "job",
        "index",
        "path",
        "seed",
        "width",
        "height",
        "backend",
        "model_hash",
        "made_with",
        "request",
    }
    assert [set(record) for record in records] == [keys, keys]
    assert [(record["v"], record["type"], record["index"], record["seed"]) for record in records] == [
        (1, "picture", 0, 7),
        (1, "picture", 1, 8),
    ]
    assert all((here / record["path"]).is_file() for record in records)


def test_json_progress_ends_with_every_step_and_picture(here: Path) -> None:
    done = sdenv("generate", "a", "-b", "fake", "--progress", "json", "-s", "3", "-c", "2", "--preview", "2")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    types = [event["type"] for event in events]
    assert types.count("step-done") == 6
    assert types.count("picture-ready") == 2
    assert types.count("preview-ready") == 2
    assert len({event["job"] for event in events}) == 1
    assert all(event["v"] == 1 for event in events)


def test_quiet_leaves_stderr_empty(here: Path) -> None:
    done = sdenv("generate", "a", "-b", "fake", "-q", "--size", "250x250", "--fit")
    assert (done.code, done.stderr) == (0, "")


def test_debug_adds_a_traceback_to_an_error(here: Path) -> None:
    assert "Traceback" in fake("a", "-O", "fail_at_step=1", "--debug").stderr
    assert "Traceback" not in fake("a", "-O", "fail_at_step=1").stderr


def test_a_picture_that_was_finished_before_a_failure_is_kept(here: Path) -> None:
    done = fake("a", "-s", "4", "-c", "2", "--seed", "1", "-O", "fail_at_step=6")
    assert done.code == 6
    assert done.lines == ["a-1-0.png"]
    assert [path.name for path in here.iterdir()] == ["a-1-0.png"]


def test_a_read_only_folder_is_refused_before_any_work(here: Path) -> None:
    (here / "file").write_text("")
    done = fake("a", "-o", "file/out.png", "-O", "fail_at_step=1")
    assert done.code == 2
    assert "not-writable" in done.stderr


def test_a_path_is_printed_as_the_bytes_that_it_is(here: Path) -> None:
    import os

    folder = os.fsdecode(b"caf\xe9 \xf0\x9f\x8d\x95")
    done = fake("a", "--seed", "1", "-o", f"{folder}/")
    assert done.stdout == b"caf\xe9 \xf0\x9f\x8d\x95/a-1-0.png\n"


def test_a_missing_extra_is_a_pip_command(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    folder = here / "model"
    folder.mkdir()
    done = sdenv("generate", "a", "-b", "local", "--progress", "off")
    assert done.code == 4, done.stderr
    assert "pip install 'sdenv[local]'" in done.stderr

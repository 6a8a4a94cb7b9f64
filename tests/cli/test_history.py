"""`sdenv history`: what `sdenv generate` made is found, made again, exported and removed."""

import json
import re
from pathlib import Path

import pytest

from sdenv.backends.fake import differing_fields
from sdenv.core.image import ImageData
from tests.cli.support import Done, fake, sdenv
from tests.support.http_servers import http_server, url_of


def history(*words: str, stdin: bytes | None = None) -> Done:
    return sdenv("history", *words, stdin=stdin)


def entries(*words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in history("list", "--json", *words).lines]


def same_picture(one: Path, other: Path) -> bool:
    pictures = [ImageData.from_bytes(each.read_bytes()) for each in (one, other)]
    return differing_fields(*pictures) == ()


def test_before_anything_is_made_the_history_is_empty_and_nothing_is_written(tmp_path: Path) -> None:
    for words in (["list"], ["search", "cat"], ["export"], ["prune", "--keep", "0"]):
        done = history(*words)
        assert (done.code, done.out) == (0, "")
    assert history("show", "last").code == 2


def test_what_is_made_is_kept_with_where_it_lies(here: Path) -> None:
    fake("a cat", "-c", "2", "--seed", "7", "-o", "out/{seed}.png")
    (entry,) = entries()
    assert (entry["state"], entry["dialect"], entry["backend"]) == ("done", "cli", "fake")
    pictures = entry["pictures"]
    assert isinstance(pictures, list)
    assert [(each["seed"], each["path"]) for each in pictures] == [
        (7, str(here / "out/7.png")),
        (8, str(here / "out/8.png")),
    ]
    assert history("list", "--paths").lines == [str(here / "out/7.png"), str(here / "out/8.png")]


def test_each_prompt_is_an_entry_of_its_own_newest_first(here: Path) -> None:
    fake("a cat", "a dog")
    assert [line.split(None, 5)[5] for line in history("list").lines] == ["a dog", "a cat"]
    assert history().out == history("list").out


@pytest.mark.parametrize("words", [["--no-history"], ["--dry-run"]])
def test_nothing_is_kept_when_that_was_asked_for(here: Path, words: list[str]) -> None:
    fake("a cat", *words)
    assert entries() == []


def test_the_setting_turns_it_off_and_the_flag_on_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDENV_HISTORY", "false")
    fake("a cat")
    assert entries() == []
    fake("a cat", "--history")
    assert len(entries()) == 1


def test_a_refused_request_leaves_no_entry(here: Path) -> None:
    fake("a cat", "--sampler", "DPM++ 9M")
    assert entries() == []


def test_what_a_failed_request_has_finished_is_kept_with_its_error(here: Path) -> None:
    done = fake("a cat", "-c", "2", "-s", "3", "-O", "fail_at_step=5", "--seed", "1")
    assert done.code == 6
    (entry,) = entries()
    assert (entry["state"], len(list(entry["pictures"]))) == ("failed", 1)  # type: ignore[call-overload]  # JSON
    assert "The fake backend failed at step 5. [failed]" in history("show", "last").out


def test_a_picture_that_went_to_stdout_can_be_made_again(here: Path) -> None:
    piped = fake("a cat", "--seed", "3", "-o", "-")
    (here / "piped.png").write_bytes(piped.stdout)
    assert history("again", "last", "-b", "fake", "-o", "again.png").lines == ["again.png"]
    assert same_picture(here / "piped.png", here / "again.png")


def test_a_history_that_cannot_be_written_is_a_note_and_no_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("SDENV_DATA_DIR", str(here / "file" / "data"))
    done = fake("a cat", "-o", "cat.png")
    assert (done.code, done.lines) == (0, ["cat.png"])
    assert "note: This is not kept in the history:" in done.stderr


def test_again_makes_the_same_pixels_even_where_the_seed_was_drawn(here: Path) -> None:
    fake("a cat", "--size", "256x128", "--sampler", "Euler a", "-s", "5", "-o", "one.png")
    assert history("again", "last", "-b", "fake", "-o", "two.png").lines == ["two.png"]
    assert same_picture(here / "one.png", here / "two.png")


def test_again_takes_the_flags_of_generate(here: Path) -> None:
    fake("a cat", "--seed", "5", "-o", "one.png")
    first = history("list", "--ids").lines[0]
    done = history("again", first, "-b", "fake", "-s", "9", "-p", "a dog", "--json", "-o", "two.png")
    request = json.loads(done.out)["request"]
    assert (request["prompt"], request["steps"], request["seed"]) == ("a dog", 9, 5)


def test_again_with_a_new_seed_is_another_picture_of_the_same_request(here: Path) -> None:
    fake("a cat", "--seed", "5", "-s", "3")
    done = history("again", "last", "-b", "fake", "--new-seed", "--json")
    request = json.loads(done.out)["request"]
    assert (request["prompt"], request["steps"], request["seed"] != 5) == ("a cat", 3, True)
    assert history("again", "last", "--new-seed", "--seed", "3").code == 2


def test_again_with_another_model_leaves_to_it_what_was_not_asked_for(here: Path) -> None:
    fake("a cat", "--seed", "5", "-s", "3")
    done = history("again", "last", "-b", "fake", "-m", "mosaic-native", "--json")
    request = json.loads(done.out)["request"]
    assert (request["width"], request["steps"], request["seed"]) == (256, 3, 5)


def test_again_brings_input_pictures_back_though_their_files_are_gone(here: Path) -> None:
    import PIL.Image

    PIL.Image.effect_noise((256, 256), 60).save(here / "init.png")
    fake("a cat", "--init-image", "init.png", "--strength", "0.5", "-o", "one.png")
    (here / "init.png").unlink()
    assert history("again", "last", "-b", "fake", "-o", "two.png").code == 0
    assert same_picture(here / "one.png", here / "two.png")


def test_again_of_a_fitted_picture_fits_again(here: Path) -> None:
    fake("a cat", "-m", "mosaic-native", "--size", "300", "--fit", "-o", "one.png")
    done = history("again", "last", "-b", "fake", "-o", "two.png", "--json")
    record = json.loads(done.out)
    assert (record["width"], record["height"]) == (300, 300)
    assert same_picture(here / "one.png", here / "two.png")


def test_an_entry_is_named_by_the_beginning_or_the_end_of_its_id(here: Path) -> None:
    fake("a cat", "a dog")
    dog, cat = history("list", "--ids").lines
    assert history("show", cat[-6:].lower()).out.startswith(cat)
    assert history("show", dog[:25]).out.startswith(dog)
    both = history("show", cat[:6])
    assert (both.code, cat in both.stderr, dog in both.stderr) == (2, True, True)
    assert history("show", "ZZZZZZZ").code == 2


def test_search_finds_words_in_any_case_and_order(here: Path) -> None:
    fake("A red cat on a roof", "a blue cat", "a dog")
    assert len(history("search", "CAT", "--ids").lines) == 2
    assert len(history("search", "roof", "red", "--ids").lines) == 1
    assert history("search", "horse", "--ids").lines == []


def test_lists_are_narrowed_by_age_model_and_number(here: Path) -> None:
    fake("a", "b", "c")
    assert len(history("list", "--since", "1h", "--ids").lines) == 3
    assert len(history("list", "--model", "mosaic", "-n", "2", "--ids").lines) == 2
    assert history("list", "--model", "other", "--ids").lines == []
    assert history("list", "--since", "soon").code == 2


def test_show_names_files_and_leaves_out_those_that_were_moved(here: Path) -> None:
    fake("a cat", "--seed", "1", "-o", "cat.png")
    assert str(here / "cat.png") in history("show", "last").out
    (here / "cat.png").rename(here / "moved.png")
    page = history("show", "last")
    assert (page.code, "cat.png" in page.out) == (0, False)
    assert json.loads(history("show", "last", "--json").out)["pictures"][0]["path"] is None


def test_prune_keeps_the_newest_and_never_touches_files_of_the_user(here: Path) -> None:
    fake("a", "b", "c", "-o", "{prompt}.png")
    ids = history("list", "--ids").lines
    assert sorted(history("prune", "--keep", "1").lines) == sorted(ids[1:])
    assert history("list", "--ids").lines == ids[:1]
    assert {each.name for each in here.glob("*.png")} == {"a.png", "b.png", "c.png"}
    assert history("prune", "--older-than", "1h").lines == []
    assert history("prune", "--max-size", "1B").lines == ids[:1]


def test_prune_wants_to_be_told_what(here: Path) -> None:
    done = history("prune")
    assert (done.code, "--older-than" in done.stderr) == (2, True)
    assert history("prune", "--keep", "-1").code == 2


def test_export_writes_json_lines(here: Path) -> None:
    fake("a", "b", "-o", "{prompt}.png")
    lines = history("export").lines
    assert [json.loads(line)["request"]["prompt"] for line in lines] == ["b", "a"]
    assert history("export", "-o", "all.jsonl").lines == ["all.jsonl"]
    assert (here / "all.jsonl").read_text().splitlines() == lines
    assert history("export", "-o", "all.jsonl").code == 2
    assert history("export", "-o", "all.csv").code == 2


def test_export_makes_a_gallery_in_a_folder(here: Path) -> None:
    fake("a <b>cat</b>", "a dog", "-c", "2", "-o", "made/")
    done = history("export", "-o", "gallery/", "--title", "Mine & yours")
    assert (done.code, done.lines, done.stderr) == (0, ["gallery/index.html"], "4 pictures.\n")
    page = (here / "gallery/index.html").read_text()
    assert "<title>Mine &amp; yours</title>" in page
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert len(sources) == 4
    assert all((here / "gallery" / source).is_file() for source in sources)
    refused = history("export", "-o", "gallery/")
    assert (refused.code, "--force" in refused.stderr) == (2, True)
    assert history("export", "-o", "gallery/", "--force").code == 0


def test_export_of_chosen_entries_leaves_out_the_others(here: Path) -> None:
    fake("a cat", "a dog", "-o", "made/")
    cat = history("search", "cat", "--ids").stdout
    history("export", "-", "-o", "cat.html", stdin=cat)
    page = (here / "cat.html").read_text()
    assert ("a cat" in page, "a dog" in page) == (True, False)


def test_what_a_server_made_is_in_the_history_too_and_only_once(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDENV_DATA_DIR", str(here / "data"))
    with http_server(data_dir=here / "data") as address:
        done = sdenv("generate", "a cat", "-b", url_of(address), "-o", "cat.png", "--progress", "off")
        assert done.code == 0, done.stderr
        (entry,) = entries()
        assert entry["dialect"] == "native"
        (path,) = history("list", "--paths").lines
    assert Path(path).is_relative_to(here / "data" / "results")


def test_what_a_server_elsewhere_made_is_kept_here(here: Path) -> None:
    with http_server(data_dir=here / "elsewhere") as address:
        sdenv("generate", "a cat", "-b", url_of(address), "-o", "cat.png", "--progress", "off")
    (entry,) = entries()
    assert entry["dialect"] == "cli"
    assert history("list", "--paths").lines == [str(here / "cat.png")]


def test_a_path_that_is_no_text_is_kept_as_the_bytes_that_it_is(here: Path) -> None:
    import os

    folder = os.fsdecode(b"caf\xe9")
    fake("a cat", "--seed", "1", "-o", f"{folder}/cat.png")
    assert history("list", "--paths").stdout == os.fsencode(here) + b"/caf\xe9/cat.png\n"
    assert history("show", "last").code == 0
    assert history("export", "-o", "all.html").stderr == "1 picture.\n"

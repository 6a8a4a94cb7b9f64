"""Saving pictures: the names they get, what is refused before work, and that files are whole or not there."""

import errno
import io
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdenv.core.errors import DiskFull, FileAlreadyExists, InvalidRequest, NotWritable, SdenvError
from sdenv.core.image import ImageData, decode, size_of
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.services.files import PictureFacts, PictureWriter
from sdenv.services.metadata import read_metadata
from tests.support.pictures import done, picture

NOTHING: list[str] = []


def facts(index: int = 0, *, number: int | None = None, **changes: object) -> PictureFacts:
    return PictureFacts(done(**changes), index, "fake", number=number)


def save(target: str | None, *made: PictureFacts, force: bool = False) -> list[str]:
    """Checks and writes as a command would; the names of the files in order."""
    writer = PictureWriter(target, force=force)
    writer.check(requests_of(made))
    return [str(writer.write(picture(), each)) for each in made]


def requests_of(made: tuple[PictureFacts, ...]) -> list[GenerationRequest]:
    requests: list[ResolvedRequest] = []
    for each in made:
        if each.resolved not in requests:
            requests.append(each.resolved)
    return [each.as_request() for each in requests]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def refused(target: str | None, *made: PictureFacts, force: bool = False) -> SdenvError:
    with pytest.raises(SdenvError) as caught:
        PictureWriter(target, force=force).check(requests_of(made or (facts(),)))
    return caught.value


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """No file grows beyond this while the context is open: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def no_hard_links(self: Path, target: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


# Names


def test_a_picture_goes_to_the_current_folder_under_prompt_seed_and_index(here: Path) -> None:
    assert save(None, facts()) == ["a-fox-7-0.png"]
    assert files_in(here) == ["a-fox-7-0.png"]


def test_a_name_that_nobody_chose_is_numbered_when_taken(here: Path) -> None:
    assert [save(None, facts())[0] for _ in range(3)] == [
        "a-fox-7-0.png",
        "a-fox-7-0-2.png",
        "a-fox-7-0-3.png",
    ]


def test_each_picture_of_a_request_has_its_own_seed_in_its_name(here: Path) -> None:
    assert save("rockets/", *(facts(i, seed=10, count=3) for i in range(3))) == [
        "rockets/a-fox-10-0.png",
        "rockets/a-fox-11-1.png",
        "rockets/a-fox-12-2.png",
    ]


def test_a_folder_that_exists_needs_no_slash(here: Path) -> None:
    (here / "a{b}").mkdir()
    assert save("a{b}", facts()) == ["a{b}/a-fox-7-0.png"]


def test_a_template_makes_its_folders(here: Path) -> None:
    assert save("x/{model}/{steps:04d}.png", facts()) == ["x/emoji/0020.png"]


def test_one_name_for_several_pictures_gets_their_index(here: Path) -> None:
    assert save("out.png", *(facts(i, count=2) for i in range(2))) == ["out-0.png", "out-1.png"]


def test_several_prompts_with_names_of_their_own_get_no_index(here: Path) -> None:
    assert save("out/{prompt}.png", facts(prompt="a cat"), facts(prompt="a dog", number=1)) == [
        "out/a-cat.png",
        "out/a-dog.png",
    ]


def test_several_prompts_with_one_name_get_the_number_of_their_picture(here: Path) -> None:
    assert save("{seed}.png", facts(prompt="a cat"), facts(prompt="a dog", number=1)) == [
        "7-0.png",
        "7-1.png",
    ]


@pytest.mark.parametrize("prompt", ["../../up", "/etc/passwd", "..", "\\\\share\\x", "a\0b", "C:\\x", ""])
def test_no_prompt_leads_out_of_the_folder(here: Path, prompt: str) -> None:
    (name,) = save("in/{prompt}-{model}.png", facts(prompt=prompt, model=prompt or "x"))
    assert (here / name).resolve().parent == here / "in"
    assert len(files_in(here)) == 1


# Refused before work


def test_an_existing_file_is_refused_and_keeps_its_bytes(here: Path) -> None:
    (here / "out.png").write_bytes(b"precious")
    error = refused("out.png")
    assert isinstance(error, FileAlreadyExists)
    assert "out.png" in error.what
    assert "--force" in error.hint
    assert (here / "out.png").read_bytes() == b"precious"


def test_a_dangling_link_counts_as_an_existing_file(here: Path) -> None:
    (here / "out.png").symlink_to("nowhere.png")
    assert isinstance(refused("out.png"), FileAlreadyExists)


def test_each_of_several_names_is_looked_for(here: Path) -> None:
    (here / "out-1.png").touch()
    assert isinstance(refused("out.png", facts(count=2)), FileAlreadyExists)


def test_force_replaces_the_file(here: Path) -> None:
    (here / "out.png").write_bytes(b"old")
    save("out.png", facts(), force=True)
    assert size_of(ImageData.from_bytes((here / "out.png").read_bytes())) == (32, 24)


def test_force_never_replaces_a_picture_of_the_same_command(here: Path) -> None:
    writer = PictureWriter("{prompt}.png", force=True)
    assert [str(writer.write(picture(), facts(i, count=2))) for i in range(2)] == ["a-fox.png", "a-fox-2.png"]


def test_a_file_in_place_of_the_folder_is_refused(here: Path) -> None:
    (here / "taken").touch()
    assert isinstance(refused("taken/"), NotWritable)
    assert isinstance(refused("taken/deeper/out.png"), NotWritable)


def test_a_folder_that_takes_no_files_is_refused(here: Path) -> None:
    # No user, root included, can make a file there; on systems without /proc the root folder refuses users.
    assert isinstance(refused("/proc/sdenv/out.png"), NotWritable)


def test_a_folder_in_place_of_the_file_is_refused(here: Path) -> None:
    (here / "a-fox.png").mkdir()
    assert isinstance(refused("{prompt}.png", force=True), NotWritable)


def test_a_full_disk_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearly_full = shutil.disk_usage(here)._replace(free=5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    assert isinstance(refused("out.png"), DiskFull)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("out.gif", "'out.gif'"),
        ("out", "no suffix"),
        ("{prmpt}.png", "'prompt'"),
        ("x" * 300 + ".png", "304 bytes"),
    ],
)
def test_a_target_that_cannot_be_is_refused_with_the_reason(here: Path, target: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        PictureWriter(target).check([GenerationRequest()])


def test_checking_leaves_nothing_behind(here: Path) -> None:
    PictureWriter("new/{date}/out.png").check([GenerationRequest()])
    assert list(here.iterdir()) == []


# Whole or not at all


def test_a_full_disk_leaves_no_part_of_a_file(here: Path) -> None:
    writer = PictureWriter("out.png")
    with file_size_limit(100), pytest.raises(DiskFull) as caught:
        writer.write(picture(), facts())
    assert "out.png" in caught.value.what
    assert files_in(here) == NOTHING


def test_a_full_disk_keeps_the_file_that_was_to_be_replaced(here: Path) -> None:
    (here / "out.png").write_bytes(b"precious")
    with file_size_limit(100), pytest.raises(DiskFull):
        PictureWriter("out.png", force=True).write(picture(), facts())
    assert files_in(here) == ["out.png"]
    assert (here / "out.png").read_bytes() == b"precious"


@pytest.mark.parametrize("force", [False, True])
def test_ctrl_c_while_writing_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PictureWriter("out.png", force=force).write(picture(), facts())
    assert files_in(here) == NOTHING


def test_the_bytes_are_on_the_disk_before_the_name_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    fsync = os.fsync

    def looking(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(files_in(here))

    monkeypatch.setattr(os, "fsync", looking)
    PictureWriter("out.png").write(picture(), facts())
    assert "out.png" not in seen[0]
    assert "out.png" in seen[-1]


def test_a_file_that_appeared_meanwhile_is_kept_and_the_picture_too(here: Path) -> None:
    writer = PictureWriter("out.png")
    writer.check([done().as_request()])
    (here / "out.png").write_bytes(b"precious")
    with pytest.raises(FileAlreadyExists, match=r"out-2\.png"):
        writer.write(picture(), facts())
    assert (here / "out.png").read_bytes() == b"precious"
    assert size_of(ImageData.from_bytes((here / "out-2.png").read_bytes())) == (32, 24)


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_in_the_last_moment_is_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    fsync = os.fsync

    def another_process_is_faster(descriptor: int) -> None:
        fsync(descriptor)
        if not (here / "out.png").exists():
            (here / "out.png").write_bytes(b"precious")

    monkeypatch.setattr(os, "fsync", another_process_is_faster)
    if not hard_links:
        monkeypatch.setattr(Path, "hardlink_to", no_hard_links)
    with pytest.raises(FileAlreadyExists, match=r"out-2\.png"):
        PictureWriter("out.png").write(picture(), facts())
    assert (here / "out.png").read_bytes() == b"precious"
    assert files_in(here) == ["out-2.png", "out.png"]


def test_writers_at_the_same_time_never_take_the_same_name(here: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: save(None, facts())[0], range(24)))
    assert len(set(names)) == 24
    assert files_in(here) == sorted(names)


def test_a_disk_without_hard_links_takes_pictures_and_overwrites_none(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", no_hard_links)
    assert save(None, facts()) + save(None, facts()) == ["a-fox-7-0.png", "a-fox-7-0-2.png"]
    assert files_in(here) == ["a-fox-7-0-2.png", "a-fox-7-0.png"]


def test_a_saved_file_has_the_permissions_that_the_umask_says(here: Path) -> None:
    before = os.umask(0o027)
    try:
        save("out.png", facts())
    finally:
        os.umask(before)
    assert stat.S_IMODE((here / "out.png").stat().st_mode) == 0o640


# What is inside


def test_the_pixels_of_a_saved_png_are_those_that_were_made(here: Path) -> None:
    save("out.png", facts())
    saved = decode(ImageData.from_bytes((here / "out.png").read_bytes()))
    assert saved.tobytes() == decode(picture()).tobytes()


@pytest.mark.parametrize(("name", "media_type"), [("a.jpg", "jpeg"), ("a.JPEG", "jpeg"), ("a.webp", "webp")])
def test_the_suffix_decides_about_the_file_type(here: Path, name: str, media_type: str) -> None:
    save(name, facts())
    saved = ImageData.from_bytes((here / name).read_bytes())
    assert saved.media_type == f"image/{media_type}"
    assert size_of(saved) == (32, 24)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_without_metadata_nothing_says_how_a_picture_was_made(here: Path, name: str) -> None:
    PictureWriter(name).write(picture(), facts(prompt="a secret fox"))
    told = ImageData.from_bytes((here / name).read_bytes())
    PictureWriter(name, force=True, strip_metadata=True).write(told, facts(prompt="a secret fox"))
    data = (here / name).read_bytes()
    assert b"fox" not in data
    with pytest.raises(SdenvError, match="does not say"):
        read_metadata(data)


# stdout


def test_stdout_gets_the_bytes_and_nothing_else(here: Path) -> None:
    stream = io.BytesIO()
    writer = PictureWriter("-", stdout=stream)
    writer.check([done().as_request()])
    assert writer.write(picture(), facts()) is None
    assert read_metadata(stream.getvalue()).request.prompt == "a fox"
    assert files_in(here) == NOTHING


def test_stdout_takes_one_picture_only() -> None:
    with pytest.raises(InvalidRequest, match="2 pictures"):
        PictureWriter("-").check([GenerationRequest(count=2)])


def test_a_picture_is_not_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    with open(follower, "w") as terminal, open(leader, "rb"):  # noqa: PTH123  a descriptor is not a path
        monkeypatch.setattr("sys.stdout", terminal)
        with pytest.raises(NotWritable, match="terminal"):
            PictureWriter("-").check([GenerationRequest()])


def test_stdout_on_a_full_disk_is_the_same_clear_error(here: Path) -> None:
    stream = (here / "redirected.png").open("wb")
    with file_size_limit(100), pytest.raises(DiskFull, match="stdout"):
        PictureWriter("-", stdout=stream).write(picture(), facts())
    assert stream.closed


def test_a_picture_that_says_how_it_was_made_is_saved_byte_for_byte(here: Path) -> None:
    made, other = facts(0, prompt="as the server said"), facts(0, prompt="as we would say")
    there = PictureWriter("there.png")
    there.write(picture(), made)
    told = ImageData.from_bytes((here / "there.png").read_bytes())
    PictureWriter("here.png").write(told, other, says_how=True)
    assert (here / "here.png").read_bytes() == told.data
    PictureWriter("other.jpg").write(told, other, says_how=True)
    assert read_metadata((here / "other.jpg").read_bytes()).request.prompt == "as we would say"

"""The seed's backups: read as the original wrote them, written so that nothing is ever missing."""

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from sdenv.core.errors import DiskFull
from sdenv.protocols.seed import Result
from sdenv.services.jobs import Retention, backups
from sdenv.services.jobs.backups import Backups
from sdenv.services.whole_files import remove_quietly

WHEN = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 12, 30, 5)


def result(number: int = 0, **changes: Any) -> Result:
    usual: dict[str, Any] = {
        "uuid": UUID(int=number + 1),
        "prompt": f"a cat {number}",
        "data": b"picture %d" % number,
        "created_time": WHEN + timedelta(seconds=number),
    }
    return Result(**(usual | changes))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def opened(folder: Path, **options: Any) -> Backups:
    return Backups(folder, clock=lambda: NOW, **options)


def test_nothing_is_made_before_there_is_a_result(tmp_path: Path) -> None:
    kept = opened(tmp_path / "disk_backups")
    kept.load()
    assert kept.uuids() == ()
    assert not (tmp_path / "disk_backups").exists()


def test_backups_are_for_the_user_of_the_server_only(tmp_path: Path) -> None:
    opened(tmp_path / "disk_backups").add([result()])
    for each in (tmp_path / "disk_backups", *(tmp_path / "disk_backups").iterdir()):
        assert each.stat().st_mode & 0o077 == 0, each


def test_all_results_are_in_one_file_with_the_name_and_the_lines_of_the_original(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([result(0)])
    kept.add([result(1), result(2)])
    assert len(names(tmp_path)) == 1
    assert names(tmp_path)[0].startswith("2026-11-22-12-30-05-sde-server-flush")
    lines = [json.loads(line) for line in (tmp_path / names(tmp_path)[0]).read_text("utf-8").splitlines()]
    assert [line["prompt"] for line in lines] == ["a cat 0", "a cat 1", "a cat 2"]
    assert list(lines[0]) == ["uuid", "prompt", "data", "created_time", "errors"]


def test_two_results_in_the_same_second_have_two_names_so_none_is_deleted(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    for number in range(3):
        kept.add([result(number)])
        assert len(Backups(tmp_path).uuids()) == number + 1


def test_results_come_back_after_a_restart_in_their_order(tmp_path: Path) -> None:
    opened(tmp_path).add([result(2), result(0)])
    again = opened(tmp_path)
    assert again.uuids() == (result(2).uuid, result(0).uuid)
    assert again.find(result(2).uuid) == result(2)
    assert again.find(uuid4()) is None


def test_a_result_that_is_kept_again_replaces_the_old_one(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([result(0), result(1)])
    kept.add([result(0, prompt="another")])
    again = opened(tmp_path)
    assert len(again.uuids()) == 2
    found = again.find(result(0).uuid)
    assert found is not None
    assert found.prompt == "another"


def test_a_result_can_be_removed_for_good(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([result(0), result(1)])
    assert kept.remove(result(0).uuid)
    assert not kept.remove(result(0).uuid)
    assert opened(tmp_path).uuids() == (result(1).uuid,)


# What the original left behind


def original_line(number: int, **changes: Any) -> str:
    record = {
        "uuid": str(UUID(int=number + 1)),
        "prompt": f"a fox {number}",
        "data": base64.b64encode(b"x").decode(),
        "created_time": "2025-04-12T10:00:00.123456",
        "errors": [],
    }
    return json.dumps(record | changes)


def test_all_files_of_the_original_are_read_and_its_bad_lines_left_out(tmp_path: Path) -> None:
    first = [original_line(0), "not json", "[1, 2]", "", original_line(9, uuid="no uuid"), original_line(1)]
    (tmp_path / "2025-04-12-10-00-00-sde-server-flush.json").write_text("\n".join(first), "utf-8")
    (tmp_path / "2025-04-12-11-00-00-sde-server-flush.json").write_text(original_line(2) + "\n", "utf-8")
    kept = opened(tmp_path)
    assert kept.uuids() == tuple(UUID(int=number) for number in (1, 2, 3))
    found = kept.find(UUID(int=2))
    assert found is not None
    assert found.prompt == "a fox 1"


def test_they_move_into_the_new_file_with_the_next_result(tmp_path: Path) -> None:
    (tmp_path / "2025-04-12-10-00-00-sde-server-flush.json").write_text(original_line(0), "utf-8")
    opened(tmp_path).add([result(5)])
    assert names(tmp_path) == ["2026-11-22-12-30-05-sde-server-flush.json"]
    assert opened(tmp_path).uuids() == (UUID(int=1), result(5).uuid)


def test_files_and_folders_of_others_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    (tmp_path / "saved.json").write_text(original_line(0), "utf-8")
    (tmp_path / "folder").mkdir()
    kept = opened(tmp_path)
    kept.add([result(5)])
    kept.add([result(6)])
    assert {"notes.txt", "saved.json", "folder"} < set(names(tmp_path))
    assert set(opened(tmp_path).uuids()) == {UUID(int=1), result(5).uuid, result(6).uuid}


# When something goes wrong


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opened(tmp_path)
    kept.add([result(0)])

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull):
        kept.add([result(1)])
    monkeypatch.undo()
    assert len(names(tmp_path)) == 1
    assert opened(tmp_path).uuids() == (result(0).uuid,)
    assert kept.find(result(0).uuid) == result(0)


def test_older_files_go_only_after_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = opened(tmp_path)
    kept.add([result(0)])
    seen: list[int] = []
    remove = remove_quietly

    def watched(path: Path) -> None:
        if "flush" in path.name:
            seen.append(len(Backups(tmp_path).uuids()))
        remove(path)

    monkeypatch.setattr("sdenv.services.jobs.backups.remove_quietly", watched)
    kept.add([result(1)])
    assert seen == [2]


# Size, age, owners


def test_many_bytes_are_not_written_anew_after_each_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_REWRITTEN_BYTES", 300)
    monkeypatch.setattr(backups, "_MAX_FILES", 4)
    kept = opened(tmp_path)
    counts = []
    for number in range(8):
        kept.add([result(number)])
        counts.append(len(names(tmp_path)))
    assert max(counts) <= 5
    assert len(set(counts)) > 1
    assert set(opened(tmp_path).uuids()) == {result(number).uuid for number in range(8)}


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(max_jobs=2), {1, 2, 3}),
        (Retention(max_bytes=400), {1, 2, 3}),
        (Retention(max_age_s=NOW.timestamp() - (WHEN + timedelta(seconds=1)).timestamp()), {1, 2, 3}),
    ],
)
def test_the_oldest_go_as_the_retention_says(tmp_path: Path, retention: Retention, left: set[int]) -> None:
    opened(tmp_path).add([result(number) for number in range(3)])
    opened(tmp_path, retention=retention).add([result(3)])
    assert set(opened(tmp_path).uuids()) == {result(number).uuid for number in left}


def test_results_of_one_token_are_not_those_of_another(tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        kept = Backups(folder)
        kept.add([result(0)], "ann")
        kept.add([result(1)], "bob")
        assert kept.uuids("ann") == (result(0).uuid,)
        assert kept.find(result(1).uuid, "ann") is None
        assert not kept.remove(result(1).uuid, "ann")
        assert kept.find(result(1).uuid, None) == result(1)
        assert kept.remove(result(1).uuid, "bob")


def test_without_a_folder_results_are_kept_in_memory() -> None:
    kept = Backups(None)
    kept.add([result(0)])
    assert kept.find(result(0).uuid) == result(0)
    assert kept.uuids() == (result(0).uuid,)

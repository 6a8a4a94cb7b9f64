"""The hash that names a model in its pictures."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from sdenv.backends.local.hashes import model_hash
from sdenv.checkpoints.folder import read_folder
from tests.support.model_folders import paper_model


def test_it_is_the_beginning_of_the_sha256_of_the_unet(tmp_path: Path) -> None:
    folder = read_folder(paper_model(tmp_path))
    data = (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert model_hash(folder) == hashlib.sha256(data).hexdigest()[:10]


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    folder = read_folder(paper_model(tmp_path))
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    before, state = model_hash(folder), path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert model_hash(folder) == before  # same path, size and time of change: not read
    os.utime(path, ns=(0, 0))
    assert model_hash(folder) != before


def test_a_home_that_cannot_be_written_to_or_a_damaged_store_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = read_folder(paper_model(tmp_path / "model"))
    wanted = model_hash(folder)
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert model_hash(folder) == wanted
    for text in ("{", "[]"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        store = tmp_path / "cache" / "sdenv" / "weight-hashes.json"
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(text, "utf-8")
        assert model_hash(folder) == wanted


def test_a_model_without_a_part_for_every_step_has_none(tmp_path: Path) -> None:
    folder = read_folder(paper_model(tmp_path))
    rest = {name: part for name, part in folder.components.items() if name != "unet"}
    assert model_hash(replace(folder, components=MappingProxyType(rest))) == ""

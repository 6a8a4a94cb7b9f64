"""Weights files are judged by their bytes: whole, damaged, or a pickle under another name."""

import io
import json
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdenv.checkpoints.header import MAX_HEADER_BYTES, read_header
from sdenv.core.errors import ModelIncomplete, UnsafeWeights

TABLE = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def encoded(table: object, data_bytes: int = 32) -> bytes:
    header = json.dumps(table).encode()
    return len(header).to_bytes(8, "little") + header + bytes(data_bytes)


def file_of(folder: Path, data: bytes) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(data)
    return path


def test_a_whole_file_tells_its_tensors(tmp_path: Path) -> None:
    facts = read_header(file_of(tmp_path, encoded(TABLE)))
    assert {name: (fact.dtype, fact.shape, fact.size_bytes) for name, fact in facts.items()} == {
        "a": ("F32", (2, 3), 24),
        "b": ("BF16", (4,), 8),
    }
    assert facts["a"].elements == 6


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_under_the_name_of_safetensors(tmp_path: Path, protocol: int) -> None:
    with pytest.raises(UnsafeWeights, match="pickle") as refused:
        read_header(file_of(tmp_path, pickle.dumps({"weight": [1, 2]}, protocol)))
    assert "model.safetensors" in refused.value.what
    assert refused.value.exit_code == 3
    assert refused.value.repeats


def test_a_zipped_pickle_as_torch_saves_it_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(UnsafeWeights):
        read_header(file_of(tmp_path, zipped(pickle.dumps({}))))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "only 0 bytes"),
        (b"\x01\x02", "only 2 bytes"),
        (encoded(TABLE)[:-1], "outside"),
        (encoded(TABLE) + b"x", "do not fill"),
        (encoded(TABLE)[:40], "claims"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(64), "claims"),
        ((2**63).to_bytes(8, "little") + bytes(64), "claims"),
        ((4).to_bytes(8, "little") + b"{{{{", "not JSON"),
        (encoded([1, 2], 0), "not a table"),
        (encoded({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}), "outside"),
        (encoded({"a": {"dtype": "F32", "shape": [-8], "data_offsets": [0, 32]}}), "outside"),
        (encoded({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 32]}}), "shape says otherwise"),
        (encoded({"a": {"dtype": "F32", "data_offsets": [0, 32]}}), "is not one"),
    ],
)
def test_a_damaged_file_is_refused_with_the_fault(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(ModelIncomplete, match=why) as refused:
        read_header(file_of(tmp_path, data))
    assert "model.safetensors" in refused.value.what
    assert refused.value.exit_code == 2


def test_the_pointer_that_git_leaves_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModelIncomplete) as refused:
        read_header(file_of(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"))
    assert refused.value.hint == "git lfs pull"


def test_a_missing_file_is_an_error_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(ModelIncomplete, match="cannot be read"):
        read_header(tmp_path / "none.safetensors")


@given(data=st.binary(max_size=400))
@settings(max_examples=60)
def test_arbitrary_bytes_are_tensors_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.safetensors"
    path.write_bytes(data)
    with suppress(ModelIncomplete, UnsafeWeights):
        read_header(path)


@given(at=st.integers(0, 200), value=st.integers(0, 255))
@settings(max_examples=100)
def test_one_wrong_byte_in_a_header_is_tensors_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    data = bytearray(encoded(TABLE))
    data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(bytes(data))
    with suppress(ModelIncomplete, UnsafeWeights):
        read_header(path)

"""What people type and what they get, as text files; `make golden REASON=...` writes them anew."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from tests.cli.support import REFRESH, transcribed
from tests.support.http_servers import http_server, url_of

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


def png(path: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    PIL.Image.new(mode, size, "white" if mode == "L" else "teal").save(path)


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 30000x30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def stage(here: Path) -> Path:
    """The folder in which transcripts run: some good and some bad files."""
    inputs = here / "in"
    inputs.mkdir()
    png(inputs / "init.png", (512, 256))
    png(inputs / "mask.png", (512, 256), "L")
    png(inputs / "small-mask.png", (64, 64), "L")
    buffer = io.BytesIO()
    PIL.Image.effect_noise((64, 64), 50).save(buffer, format="PNG")
    (inputs / "truncated.png").write_bytes(buffer.getvalue()[:400])
    (inputs / "notes.png").write_bytes(b"just some words, no picture")
    (inputs / "bomb.png").write_bytes(bomb())
    (inputs / "empty.txt").write_text("\n\n")
    (inputs / "prompts.txt").write_text("a cat\n\na dog\n")
    (inputs / "request.json").write_text(json.dumps({"prompt": "a whale", "seed": 3, "steps": 4}, indent=1))
    (inputs / "bad.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b", "stpes": 3}\n')
    (inputs / "torn.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n')
    model = inputs / "models" / "half"
    model.mkdir(parents=True)
    (model / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]})
    )
    pickled = inputs / "models" / "pickled"
    (pickled / "unet").mkdir(parents=True)
    (pickled / "model_index.json").write_text((model / "model_index.json").read_text())
    (pickled / "unet" / "config.json").write_text("{}")
    (pickled / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    return here


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For transcripts about jobs: a server that draws at once is the configured backend."""
    with http_server(data_dir=tmp_path_factory.mktemp("server")) as address:
        monkeypatch.setenv("SDENV_BACKEND", url_of(address))
        yield


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_command_line_says_what_the_transcript_says(
    path: Path, stage: Path, request: pytest.FixtureRequest
) -> None:
    if path.stem.startswith("jobs"):
        request.getfixturevalue("server")
    expected = path.read_text(encoding="utf-8")
    happened = transcribed(expected, stage)
    if REFRESH:
        path.write_text(happened, encoding="utf-8")
    else:
        assert happened == expected


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 5

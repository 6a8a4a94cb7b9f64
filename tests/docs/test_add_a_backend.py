"""The how-to page on backends is run as it stands: its class, its test and its entry point."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/add-a-backend.md"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The page's files, installed as pip would: modules beside a dist-info with the entry point."""
    text = PAGE.read_text(encoding="utf-8")
    for name, body in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(body, encoding="utf-8")
    toml = re.search(r"```toml\n\[project\.entry-points\.\"(\S+)\"\]\n(\w+) = \"(\S+)\"\n```", text)
    assert toml is not None
    info = tmp_path / "sdenv_squares-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: sdenv-squares\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[{toml[1]}]\n{toml[2]} = {toml[3]}\n", encoding="utf-8")
    return tmp_path


def run(package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    import os

    environment = {**os.environ, "PYTHONPATH": f"{package}:{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_pages_backend_passes_the_contract_suite(package: Path) -> None:
    done = run(package, "pytest", "-q", "-p", "no:cacheprovider", "test_squares.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_pages_backend_makes_a_picture_from_the_command_line(package: Path) -> None:
    done = run(
        package, "sdenv", "generate", "anything", "-b", "squares", "-O", "brightness=200", "-o", "out.png"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "out.png"), done.stderr


def test_the_pages_backend_refuses_what_it_does_not_carry(package: Path) -> None:
    done = run(
        package, "sdenv", "generate", "anything", "-b", "squares", "--negative", "blurry", "-o", "out.png"
    )
    assert done.returncode == 3
    assert "negative_prompt" in done.stderr
    assert not (package / "out.png").exists()

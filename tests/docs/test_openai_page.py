"""The Python of the page about OpenAI's images API is run; its tables name what the code knows."""

import re
from pathlib import Path

import pytest

from sdenv.protocols import openai
from tests.support.http_servers import http_server, url_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_python_of_the_page_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "how-to/use-openai-clients.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    with http_server() as address:
        for block in blocks:
            exec(block.replace("http://127.0.0.1:9090", url_of(address)), names)
        names.pop("client").close()  # type: ignore[attr-defined]  # the package's client
    said = capsys.readouterr().out
    assert said.startswith("7 ")
    assert "image_generation.completed" in said


def test_the_reference_names_every_word_and_every_header() -> None:
    page = (DOCS / "reference/dialects.md").read_text(encoding="utf-8")
    words = {name for names in openai.EXTENSIONS.values() for name in names}
    headers = {openai.MODEL_HEADER, openai.NOTICE_HEADER, openai.IGNORED_HEADER}
    for word in words | headers | set(openai.CARRIES) | set(openai.FORMATS):
        assert f"`{word}`" in page, word

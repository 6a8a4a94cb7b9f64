"""The Python of the page about AUTOMATIC1111's clients is run; the reference names what the code knows."""

import re
from pathlib import Path

import pytest

from sdenv.core.capabilities import EVERYTHING
from sdenv.protocols import a1111, seed
from sdenv.protocols.a1111 import lists
from sdenv.protocols.a1111.options import HONOURED
from tests.support.http_servers import http_server

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference/dialects.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "how-to/use-a1111-clients.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    with http_server() as address:
        for block in blocks:
            exec(block.replace('"127.0.0.1", port=9090', f'"{address.host}", port={address.port}'), names)
        names.pop("api").session.close()  # type: ignore[attr-defined]  # the package's client
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("7 a cat, flat")
    assert said[-1] == "7"
    assert (here / "hat.png").exists()


def section(title: str) -> str:
    return REFERENCE.partition(f"\n## {title}")[2].partition("\n## ")[0]


def test_the_reference_names_every_field_and_setting_that_means_something() -> None:
    page = section("AUTOMATIC1111")
    for word in (*EVERYTHING, *HONOURED, *lists.EMPTY_LISTS):
        assert re.search(rf"\b{word}`", page), word
    not_carried = page.partition("Not carried:")[2].partition(";")[0]
    assert {word for word in EVERYTHING if f"`{word}`" in not_carried} == EVERYTHING - a1111.CARRIES


def test_the_reference_names_every_further_field_of_the_seed_dialect() -> None:
    page = section("The seed's server")
    for word in (*seed.EXTRAS, "generation_uuid", "is_available", "created_time", "errors", "dry_run"):
        assert word in page, word
    assert seed.BUSY in page
    assert seed.DRY_RUN_DATA in page

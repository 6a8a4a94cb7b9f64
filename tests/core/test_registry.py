"""Tables of names, and what other packages add to them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sdenv.backends import BACKENDS, ROWS
from sdenv.core.backend import Backend
from sdenv.core.errors import ExtraMissing, InternalError, UnknownBackend, UnknownName
from sdenv.core.registry import Entry, Registry
from tests.support.packages import install

ROOT = Path(__file__).parents[2]
GROUP = "sdenv.backends"
MINE = {"mine": "mine_module:MyBackend"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for site-packages."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in [each for each in sys.modules if each.endswith("_module")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def backends() -> Registry[Backend]:
    """The table as a new process would read it."""
    return Registry("backend", GROUP, ROWS, UnknownBackend)


def test_names_come_sorted_and_built_in_ones_belong_to_sdenv() -> None:
    assert list(BACKENDS) == sorted(BACKENDS)
    assert {BACKENDS.entry(name).package for name in ROWS} == {"sdenv"}


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_leads_to_a_class_of_its_kind(name: str) -> None:
    assert issubclass(BACKENDS.load(name), Backend)


def test_an_unknown_name_is_the_tables_own_error_with_the_nearest_name() -> None:
    with pytest.raises(UnknownBackend, match=r"There is no backend 'loca'\. Did you mean 'local'\?"):
        BACKENDS.load("loca")
    with pytest.raises(UnknownName, match="There is no recipe 'x'"):
        Registry("recipe", "tests.none", {}).entry("x")


def test_names_of_other_packages_are_listed_without_importing_them(site: Path) -> None:
    install(site, "sdenv-mine", {GROUP: MINE}, {"mine_module.py": "raise SystemExit('imported')"})
    table = backends()
    assert "mine" in table
    assert list(table) == sorted([*ROWS, "mine"])
    assert table.entry("mine") == Entry("mine_module:MyBackend", "", "from sdenv-mine", "sdenv-mine")


def test_a_class_of_another_package_is_loaded_when_it_is_chosen(site: Path) -> None:
    source = "from sdenv.backends.fake import FakeBackend as MyBackend\n"
    install(site, "sdenv-mine", {GROUP: MINE}, {"mine_module.py": source})
    assert issubclass(backends().load("mine"), Backend)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'."),
        ("from sdenv.core import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        ("MyBackend = ", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero."),
        ("", "AttributeError: module 'mine_module' has no attribute 'MyBackend'."),
    ],
)
def test_a_broken_package_fails_alone_when_it_is_chosen(site: Path, source: str, reason: str) -> None:
    install(site, "sdenv-mine", {GROUP: MINE}, {"mine_module.py": source})
    table = backends()
    assert issubclass(table.load("fake"), Backend)
    with pytest.raises(InternalError) as broken:
        table.load("mine")
    assert broken.value.what == "The backend 'mine' of the package 'sdenv-mine' cannot be loaded."
    assert broken.value.why.startswith(reason)
    assert broken.value.__cause__ is not None


def test_a_name_taken_twice_names_both_packages_and_harms_no_other(site: Path) -> None:
    install(site, "sdenv-one", {GROUP: MINE}, {})
    install(site, "sdenv-two", {GROUP: MINE}, {})
    table = backends()
    assert issubclass(table.load("fake"), Backend)
    with pytest.raises(InternalError, match="'mine' is taken twice, by sdenv-one and sdenv-two"):
        table.load("mine")


def test_a_built_in_name_cannot_be_taken_in_silence(site: Path) -> None:
    install(site, "sdenv-rival", {GROUP: {"fake": "mine_module:MyBackend"}}, {})
    with pytest.raises(InternalError, match="by sdenv and sdenv-rival"):
        backends().load("fake")


def test_a_row_whose_extra_is_missing_says_what_to_install() -> None:
    rows = {"far": Entry("no_such_package.inside:Far", extra="drawthings")}
    with pytest.raises(ExtraMissing) as missing:
        Registry("backend", "tests.none", rows).load("far")
    assert str(missing.value) == (
        "The backend 'far' needs the optional part 'drawthings' of sdenv. "
        "The Python package 'no_such_package' is not installed. pip install 'sdenv[drawthings]'"
    )


def test_a_missing_module_of_sdenv_itself_is_no_missing_extra() -> None:
    rows = {"far": Entry("sdenv.no_such_module:Far", extra="drawthings")}
    with pytest.raises(InternalError):
        Registry("backend", "tests.none", rows).load("far")


def output_with(site: Path, script: str) -> str:
    """What a fresh interpreter prints that finds the packages of a folder."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_backends_front_ends_and_recipes_of_other_packages_are_found(tmp_path: Path) -> None:
    groups = {
        f"sdenv.{kind}": {f"my-{kind}": "mine_module:Mine"} for kind in ("backends", "servers", "recipes")
    }
    install(tmp_path, "sdenv-mine", groups, {})
    script = """
        from sdenv.backends import BACKENDS
        from sdenv.servers import SERVERS
        from sdenv.training import RECIPES
        print("my-backends" in BACKENDS, "my-servers" in SERVERS, "my-recipes" in RECIPES)
    """
    assert output_with(tmp_path, script) == "True True True\n"


def test_a_plug_in_makes_a_picture_end_to_end(tmp_path: Path) -> None:
    source = "from sdenv.backends.fake import FakeBackend as MyBackend\n"
    install(tmp_path, "sdenv-mine", {GROUP: MINE}, {"mine_module.py": source})
    script = """
        from sdenv.backends import BACKENDS
        from sdenv.core.request import GenerationRequest
        from sdenv.services.engine import Engine

        assert "mine" in list(BACKENDS)
        backend_type = BACKENDS.load("mine")
        with Engine(backend_type(backend_type.Settings()), name="mine") as engine:
            result = engine.submit(GenerationRequest(prompt="a cat", width=64, height=64)).result()
        print(result.images[0].media_type)
    """
    assert output_with(tmp_path, script) == "image/png\n"

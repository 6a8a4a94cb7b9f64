"""Choosing a backend: names, URLs and options lead to it, and what does not is a clear error."""

from pathlib import Path
from typing import Any, ClassVar, final

import pytest

from sdenv.backends import BACKENDS, ROWS
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import BadConfig, ExtraMissing, UnknownBackend, UnknownModel
from sdenv.core.registry import Entry
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.services import models
from sdenv.services.choose import EXTRA_MODULES, SCHEMES, choose_backend, list_backends
from sdenv.services.models import FoundModel
from sdenv.services.preferences import NamedBackend
from sdenv.services.settings import Settings


class RemoteSettings(BackendSettings):
    url: str
    token: str = ""
    timeout_s: float = 5.0


class HereSettings(BackendSettings):
    models: dict[str, str]
    device: str = "auto"


class _Kept(Backend):
    """Keeps its settings for the test to look at."""

    def __init__(self, settings: BackendSettings) -> None:
        self.settings = settings

    def probe(self) -> BackendStatus:
        return BackendStatus("kept", "1", (), Capabilities())

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        raise NotImplementedError

    def close(self) -> None:
        pass


@final
class Remote(_Kept):
    Settings: ClassVar[type[BackendSettings]] = RemoteSettings


@final
class Here(_Kept):
    Settings: ClassVar[type[BackendSettings]] = HereSettings


@pytest.fixture(autouse=True)
def more_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with a client, a backend on this machine, and one whose extra is not installed."""
    rows = {
        "http": Entry(f"{__name__}:Remote"),
        "here": Entry(f"{__name__}:Here"),
        "plugin": Entry(f"{__name__}:Remote", package="sdenv-plugin"),
        "absent": Entry("no_such_package_of_anybody:Backend", "drawthings"),
    }
    for name, entry in rows.items():
        monkeypatch.setitem(BACKENDS._all, name, [entry])


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models on this machine, `emoji` being the default, and one at a path."""

    def resolve(wanted: str | None, _: object) -> FoundModel:
        found = {"emoji": "/models/emoji", "fox": "/models/fox", "/home/ann/mine": "/home/ann/mine"}
        path = found.get(wanted or "emoji")
        if path is None:
            raise UnknownModel(f"There is no model {wanted!r}.")
        return FoundModel(Path(path).name, Path(path), "v1", "folder")

    monkeypatch.setattr(models, "resolve_model", resolve)


def settings(backends: dict[str, dict[str, Any]] | None = None, **values: object) -> Settings:
    named = {name: NamedBackend(**each) for name, each in (backends or {}).items()}
    return Settings.model_validate({"backends": named, **values})


def kept(name: str, options: dict[str, str] | None = None, **backends: dict[str, Any]) -> BackendSettings:
    chosen = choose_backend(name, options or {}, settings(backends))
    assert isinstance(chosen.backend, _Kept)
    return chosen.backend.settings


def test_a_name_is_looked_up_in_the_table() -> None:
    chosen = choose_backend("fake", {"step_seconds": "0.5"}, settings())
    assert (chosen.name, chosen.kind, chosen.model) == ("fake", "fake", None)
    assert type(chosen.backend).__name__ == "FakeBackend"


@pytest.mark.parametrize(
    ("url", "kind"), [("http://gpu:9090", "http"), ("https://gpu", "http"), ("plugin://x", "plugin")]
)
def test_the_scheme_of_a_url_names_the_backend(url: str, kind: str) -> None:
    chosen = choose_backend(url, {}, settings())
    assert chosen.kind == kind
    assert isinstance(chosen.backend, _Kept)
    assert chosen.backend.settings == RemoteSettings(url=url)


def test_a_user_and_password_reach_the_backend_and_nothing_else() -> None:
    chosen = choose_backend("http://ann:hush@gpu:9090", {}, settings())
    assert chosen.name == "http://gpu:9090"
    assert isinstance(chosen.backend, _Kept)
    assert chosen.backend.settings == RemoteSettings(url="http://ann:hush@gpu:9090")


def test_a_backend_of_the_user_has_its_url_and_options() -> None:
    gpu = {"url": "http://gpu", "token": "hush", "timeout_s": 3}
    assert kept("gpu", gpu=gpu) == RemoteSettings(url="http://gpu", token="hush", timeout_s=3)


def test_options_on_the_command_line_win_over_those_of_the_file() -> None:
    gpu = {"url": "http://gpu", "timeout_s": 3}
    assert kept("gpu", {"timeout_s": "9"}, gpu=gpu) == RemoteSettings(url="http://gpu", timeout_s=9)


@pytest.mark.usefixtures("two_models")
def test_a_backend_of_the_user_can_be_another_one_with_options() -> None:
    models_here = {"emoji": "/models/emoji"}
    assert kept("slow", slow={"backend": "here", "device": "cpu"}) == HereSettings(
        models=models_here, device="cpu"
    )
    assert kept("here", here={"device": "mps"}) == HereSettings(models=models_here, device="mps")


@pytest.mark.usefixtures("two_models")
def test_a_backend_on_this_machine_gets_paths_and_is_asked_by_name() -> None:
    chosen = choose_backend("here", {}, settings(), "/home/ann/mine", ["fox", None, "/home/ann/mine"])
    assert chosen.model == "mine"
    assert chosen.names == {"/home/ann/mine": "mine", "fox": "fox", None: "emoji"}
    assert isinstance(chosen.backend, _Kept)
    paths = {"mine": "/home/ann/mine", "fox": "/models/fox", "emoji": "/models/emoji"}
    assert chosen.backend.settings == HereSettings(models=paths)


@pytest.mark.usefixtures("two_models")
def test_the_model_is_the_one_said_then_that_of_the_backend_then_that_of_the_settings() -> None:
    ours = settings({"mine": {"backend": "here", "model": "fox"}}, model="emoji")
    assert choose_backend("mine", {}, ours, "emoji").model == "emoji"
    assert choose_backend("mine", {}, ours).model == "fox"
    assert choose_backend("here", {}, ours).model == "emoji"
    assert choose_backend("http://gpu", {}, ours).model == "emoji"
    assert choose_backend("http://gpu", {}, settings()).model is None


@pytest.mark.usefixtures("two_models")
def test_an_unknown_model_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownModel, match="'dog'"):
        choose_backend("here", {}, settings(), "dog")


@pytest.mark.parametrize(
    ("name", "said"),
    [("lcoal", "'local'"), ("gpuu", "'gpu'"), ("htp://x", "'http'"), ("", "There is no backend")],
)
def test_an_unknown_name_or_scheme_is_refused_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UnknownBackend, match=said):
        choose_backend(name, {}, settings({"gpu": {"url": "http://gpu"}}))


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_leads_to_its_backend_or_says_what_there_is(scheme: str) -> None:
    if SCHEMES[scheme] in BACKENDS:
        assert choose_backend(f"{scheme}://host", {}, settings()).kind == SCHEMES[scheme]
    else:
        with pytest.raises(UnknownBackend, match=r"There are: .*absent, fake, "):
            choose_backend(f"{scheme}://host", {}, settings())


def test_a_table_of_the_user_that_names_no_backend_is_refused() -> None:
    with pytest.raises(UnknownBackend, match=r"\[backends.gpu\]"):
        choose_backend("gpu", {}, settings({"gpu": {"device": "cpu"}}))


def test_a_missing_extra_is_refused_with_the_command_to_type() -> None:
    with pytest.raises(ExtraMissing) as caught:
        choose_backend("absent", {}, settings())
    assert caught.value.hint == "pip install 'sdenv[drawthings]'"


def test_a_missing_extra_is_said_before_a_missing_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRA_MODULES, "local", ("no_such_package_of_anybody",))
    with pytest.raises(ExtraMissing, match="no_such_package_of_anybody"):
        choose_backend("local", {}, settings(), "no such model")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": "3"}, "no option 'timeout'.*'timeout_s'"),
        ({"timeout_s": "long"}, "'timeout_s'.*'long'"),
        ({"url": "http://other"}, "no option 'url'"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(options: dict[str, str], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        choose_backend("http://gpu", options, settings())


def test_an_option_of_the_file_that_cannot_be_is_refused_too() -> None:
    with pytest.raises(BadConfig, match=r"no option 'tokken'.*'token'"):
        kept("gpu", gpu={"url": "http://gpu", "tokken": "hush"})


def test_models_cannot_be_given_as_an_option() -> None:
    with pytest.raises(BadConfig, match="no option 'models'"):
        choose_backend("here", {"models": "x"}, settings())


def test_a_client_without_an_address_says_what_it_needs() -> None:
    with pytest.raises(BadConfig, match="'url'"):
        choose_backend("http", {}, settings())


def test_a_faulty_secret_is_not_shown() -> None:
    with pytest.raises(BadConfig) as caught:
        kept("gpu", gpu={"url": "http://gpu", "token": ["hush"]})
    assert "hush" not in str(caught.value)


def test_the_list_names_all_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRA_MODULES, "drawthings", ("no_such_package_of_anybody",))
    rows = {row.name: row for row in list_backends(settings({"gpu": {"url": "http://ann:hush@gpu"}}))}
    assert list(rows) == [*sorted({*ROWS, "absent", "here", "http", "plugin"}), "gpu"]
    assert (rows["fake"].installed, rows["fake"].hint) == (True, "")
    assert (rows["absent"].installed, rows["absent"].hint) == (False, "pip install 'sdenv[drawthings]'")
    assert rows["plugin"].package == "sdenv-plugin"
    assert rows["gpu"].summary == "yours: http://gpu"


def test_every_extra_of_the_table_says_what_it_is_made_of() -> None:
    rows = [BACKENDS.entry(name) for name in BACKENDS]
    assert {row.extra for row in rows if row.extra} <= EXTRA_MODULES.keys()

"""A warm server is used when it makes the very same pictures, and costs nothing when it does not."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.backends.http import HttpBackend
from sdenv.core.backend import Backend
from sdenv.services import warm
from sdenv.services.choose import Chosen, choose_backend
from sdenv.services.settings import Settings, load_settings
from sdenv.services.warm import find_warm, runtime_folder, socket_path, warm_client
from tests.support.http_servers import http_server


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """The runtime folder, as a server makes it."""
    folder = runtime_folder(settings)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def local(settings: Settings, **options: str) -> Chosen:
    """What `-b local` means: the built-in model, not loaded."""
    return choose_backend("local", options, settings)


@contextmanager
def serving_warm(settings: Settings, backend: Backend | None = None) -> Iterator[None]:
    """A server of this user over the local backend, or another one."""
    path = socket_path(settings)
    assert path is not None
    with http_server(backend or local(settings).backend, socket_path=path):
        yield


def found(settings: Settings, **options: str) -> Chosen | None:
    chosen = local(settings, **options)
    warm_one = find_warm(chosen, settings)
    (warm_one or chosen).backend.close()
    return warm_one


def test_a_server_with_the_same_model_and_settings_is_used(settings: Settings) -> None:
    with serving_warm(settings):
        chosen = found(settings)
    assert chosen is not None
    assert isinstance(chosen.backend, HttpBackend)
    assert (chosen.kind, chosen.name, chosen.model) == ("local", "local", local(settings).model)


def test_it_says_of_itself_that_it_is_the_local_backend(settings: Settings) -> None:
    """So that pictures carry what they would carry without it."""
    with serving_warm(settings):
        chosen = find_warm(local(settings), settings)
        assert chosen is not None
        assert chosen.backend.probe().name == "local"
        chosen.backend.close()


def test_other_settings_make_other_pixels_and_are_not_served(settings: Settings) -> None:
    with serving_warm(settings):
        assert found(settings, precision="float16") is None


def test_another_model_folder_of_the_same_name_is_not_served(settings: Settings, tmp_path: Path) -> None:
    import shutil

    chosen = local(settings)
    built_in = Path(chosen.settings.models[chosen.model])  # type: ignore[attr-defined]  # of LocalSettings
    chosen.backend.close()
    copy = shutil.copytree(built_in, tmp_path / built_in.name)
    with serving_warm(settings):
        other = choose_backend("local", {}, settings, str(copy))
        assert other.model == chosen.model
        assert find_warm(other, settings) is None
        other.backend.close()


def test_a_server_of_another_version_is_not_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_warm(settings):
        monkeypatch.setattr(warm, "__version__", "9.9.9")
        assert found(settings) is None


def test_a_server_over_another_backend_is_not_used(settings: Settings) -> None:
    with serving_warm(settings, FakeBackend(FakeSettings())):
        assert found(settings) is None


def test_only_the_local_backend_is_looked_for(settings: Settings) -> None:
    with serving_warm(settings):
        assert find_warm(choose_backend("fake", {}, settings), settings) is None


def test_without_a_server_there_is_none(settings: Settings) -> None:
    assert found(settings) is None
    assert warm_client(settings) is None


def test_a_socket_that_a_killed_server_left_behind_costs_nothing(settings: Settings, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "http.sock"))
    assert found(settings) is None
    assert warm_client(settings) is None


def test_a_server_that_hangs_is_not_waited_for(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "ANSWER_S", 0.1)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(folder / "http.sock"))
        hanging.listen()
        assert found(settings) is None
        assert warm_client(settings) is None


def test_a_socket_where_others_could_have_put_it_is_not_trusted(settings: Settings, folder: Path) -> None:
    with serving_warm(settings):
        folder.chmod(0o777)
        assert found(settings) is None
        assert warm_client(settings) is None
        folder.chmod(0o700)


def test_a_file_that_is_no_socket_is_none(settings: Settings, folder: Path) -> None:
    (folder / "http.sock").touch()
    assert found(settings) is None


def test_jobs_of_any_server_of_this_user_are_reached(settings: Settings) -> None:
    with serving_warm(settings, FakeBackend(FakeSettings())):
        client = warm_client(settings)
        assert client is not None
        assert client.find().jobs == ()
        client.close()


def changed(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update=changes)


def test_the_socket_lies_where_no_other_user_can_write(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    usual = changed(settings, runtime_dir=None, data_dir=tmp_path)
    assert runtime_folder(changed(usual, sources={})) == Path("/run/user/1000/sdenv")
    elsewhere = changed(usual, sources={"data_dir": "flag"})
    assert runtime_folder(elsewhere) == tmp_path / "runtime"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_folder(changed(usual, sources={})) == tmp_path / "runtime"


def test_a_folder_that_is_too_deep_for_a_socket_means_none(settings: Settings, tmp_path: Path) -> None:
    assert socket_path(changed(settings, runtime_dir=tmp_path / ("x" * 100))) is None


def test_a_model_without_an_identity_is_never_the_same(settings: Settings) -> None:
    chosen = local(settings)
    here = chosen.backend.probe()
    there = replace(here, models=tuple(replace(model, detail={}) for model in here.models))
    assert warm._identity(there, None) == ""
    chosen.backend.close()

"""Settings: which source wins, where each value comes from, and what a faulty file says."""

import os
import stat
from pathlib import Path

import pytest

from sdenv.core.errors import BadConfig, NotWritable, SdenvError
from sdenv.services.preferences import (
    VARIABLES,
    ConfigFile,
    Preferences,
    parse_size,
    without_secrets,
)
from sdenv.services.settings import Setting, config_path, load_settings, read_config, set_value

PROFILES = """\
steps = 20
[profiles.gpu]
steps = 30
[profiles.draft]
size = "256x128"
"""


def config(text: str) -> Path:
    path = config_path()
    path.write_text(text, encoding="utf-8")
    return path


def rows(profile: str | None = None, **flags: object) -> dict[str, Setting]:
    return {row.name: row for row in load_settings(profile, flags).table()}


def refused(text: str) -> BadConfig:
    config(text)
    with pytest.raises(BadConfig) as caught:
        load_settings()
    return caught.value


def test_without_any_source_everything_has_its_default() -> None:
    settings = load_settings()
    assert settings.backend == "local"
    assert settings.steps is None
    assert settings.models_dirs == (settings.data_dir / "models",)
    places_of_the_test = {"data_dir", "runtime_dir"}
    assert {row.source for row in settings.table() if row.name not in places_of_the_test} == {"default"}


def test_a_flag_wins_over_a_variable_over_a_profile_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config(PROFILES)
    assert (rows()["steps"].value, rows()["steps"].source) == (20, "config.toml")
    assert (rows("gpu")["steps"].value, rows("gpu")["steps"].source) == (30, "config.toml [profiles.gpu]")
    monkeypatch.setenv("SDENV_STEPS", "40")
    assert (rows("gpu")["steps"].value, rows("gpu")["steps"].source) == (40, "SDENV_STEPS")
    assert (rows("gpu", steps=50)["steps"].value, rows("gpu", steps=50)["steps"].source) == (50, "flag")


def test_a_flag_that_says_nothing_changes_nothing() -> None:
    config(PROFILES)
    assert rows(steps=None)["steps"].source == "config.toml"


def test_a_profile_leaves_what_it_does_not_say() -> None:
    config(PROFILES)
    settings = load_settings("draft")
    assert (settings.size, settings.steps, settings.profile) == ((256, 128), 20, "draft")


def test_a_profile_is_chosen_by_flag_then_variable_then_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config('profile = "draft"\n' + PROFILES)
    assert load_settings().profile == "draft"
    monkeypatch.setenv("SDENV_PROFILE", "gpu")
    assert load_settings().profile == "gpu"
    assert load_settings("draft").profile == "draft"


def test_a_profile_that_there_is_not_is_refused_with_the_nearest() -> None:
    config(PROFILES)
    with pytest.raises(BadConfig, match="'draft'"):
        load_settings("darft")


@pytest.mark.parametrize(("variable", "name"), VARIABLES.items())
def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch, variable: str, name: str) -> None:
    values = {"size": "64x64", "steps": "3", "guidance_scale": "2", "progress": "off", "preview": "off"}
    values |= {"color": "never", "machine_size": "big", "history": "no"}
    monkeypatch.setenv(variable, values.get(name, "x"))
    assert rows()[name].source == variable


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDENV_STEPS", "")
    assert rows()["steps"].source == "default"


@pytest.mark.parametrize("said", ["tiny", "TINY", "baby", "Baby"])
def test_the_size_of_the_machine_is_known_in_any_case(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MACHINE_SIZE", said)
    assert load_settings().machine_size == "tiny"


def test_an_unknown_size_of_the_machine_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHINE_SIZE", "enormous")
    with pytest.raises(BadConfig, match="MACHINE_SIZE"):
        load_settings()


def test_a_faulty_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDENV_STEPS", "many")
    with pytest.raises(BadConfig, match="SDENV_STEPS"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# first\nstpes = 3\n", ["'stpes'", "line 2", "'steps'"]),
        ('[profiles.gpu]\n\nsampelr = "Euler"\n', ["'profiles.gpu.sampelr'", "line 3", "'sampler'"]),
        ("[profile.gpu]\nsteps = 3\n[profiles.a]\nsteps = 3\n", ["'profile'", "line 1"]),
        ("size = 3\nsteps = 5\n", ["'size'", "line 1"]),
        ("steps = 5\nsize = '3xx4'\n", ["'size'", "line 2", "512x768"]),
        ("steps = 0\n", ["'steps'", "line 1"]),
        ("models_dirs = 5\n", ["'models_dirs'", "line 1"]),
        ("machine_size = 5\n", ["'machine_size'", "line 1"]),
        ("steps = \n", ["not TOML", "line 1"]),
        ('progress = "fast"\n', ["'progress'", "'bar'"]),
        ("[backends]\ngpu = 'http://gpu'\n", ["'backends.gpu'", "line 2"]),
    ],
)
def test_a_fault_in_the_file_is_named_with_its_line(text: str, said: list[str]) -> None:
    error = str(refused(text))
    assert [part for part in said if part not in error] == []


def test_a_faulty_value_is_never_shown_for_it_may_be_a_secret() -> None:
    assert "hush" not in str(refused('steps = "hush"\n'))
    assert "hush" not in str(refused('[backends.gpu]\nurl = ["hush"]\n'))


def test_a_file_that_is_no_text_is_an_error_and_no_file_is_none() -> None:
    config_path().write_bytes(b"\xff\xfe\0")
    with pytest.raises(BadConfig, match="Cannot read"):
        load_settings()
    config_path().unlink()
    assert read_config(config_path()) == ConfigFile()


def test_paths_in_the_file_start_at_its_folder_and_know_the_home_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    config('models_dirs = ["mine", "/all", "~/more"]\noutput = "~/Pictures/"\n')
    settings = load_settings()
    assert settings.models_dirs == (config_path().parent / "mine", Path("/all"), Path("/home/ann/more"))
    assert settings.output == "/home/ann/Pictures/"


def test_a_variable_holds_several_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDENV_MODELS_DIR", os.pathsep.join(["/a", "b", ""]))
    assert load_settings().models_dirs == (Path("/a"), Path("b"))


def test_models_lie_in_the_data_folder_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDENV_DATA_DIR", "/data")
    assert load_settings().models_dirs == (Path("/data/models"),)


def test_secrets_are_never_shown() -> None:
    config('[backends.gpu]\nurl = "http://ann:hush@gpu:9090"\ntoken = "hush"\ntoken_file = "/etc/token"\n')
    shown = {name: row.shown() for name, row in rows().items() if name.startswith("backends")}
    assert shown == {
        "backends.gpu.url": "http://gpu:9090",
        "backends.gpu.token": "(hidden)",
        "backends.gpu.token_file": "/etc/token",
    }
    assert without_secrets("x", {"a": [{"api_key": "hush"}]}) == {"a": [{"api_key": "(hidden)"}]}


def test_every_setting_is_described() -> None:
    for model in (Preferences, ConfigFile):
        assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("text", "size"), [("512x768", (512, 768)), (" 64 X 32 ", (64, 32)), ("512", (512, 512))]
)
def test_a_size_is_width_by_height(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "512x", "0x5", "5x9999", "-5x5", "5x5x5", "5.5x5", "५x५"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"side|size"):
        parse_size(text)


# Writing


def test_a_value_is_written_and_read_back() -> None:
    for key, text in {
        "steps": "30",
        "guidance_scale": "2.5",
        "size": "512",
        "sampler": "DPM++ 2M",
        "models_dirs": '["~/models", "/more"]',
        "profiles.gpu.steps": "12",
        "profile": "gpu",
        "backends.gpu.url": "http://gpu:9090",
        "backends.gpu.retries": "3",
        "backends.gpu.name": "3 blind mice",
    }.items():
        assert set_value(key, text) == config_path()
    settings = load_settings()
    assert (settings.steps, settings.guidance_scale, settings.size) == (12, 2.5, (512, 512))
    assert (settings.sampler, len(settings.models_dirs), settings.profile) == ("DPM++ 2M", 2, "gpu")
    assert settings.backends["gpu"].url == "http://gpu:9090"
    assert settings.backends["gpu"].options == {"retries": 3, "name": "3 blind mice"}
    assert "steps = 30" in config_path().read_text("utf-8")


def test_comments_and_order_are_kept() -> None:
    config("# mine\nsteps = 20  # enough\n\n# boxes\n[profiles.gpu]\nsteps = 30\n# last\n")
    set_value("steps", "25")
    set_value("sampler", "Euler")
    text = config_path().read_text("utf-8")
    assert text.startswith("# mine\nsteps = 25  # enough\n")
    assert text.endswith("[profiles.gpu]\nsteps = 30\n# last\n")
    assert "# boxes\n" in text
    assert (load_settings().sampler, load_settings("gpu").steps) == ("Euler", 30)


def test_only_the_owner_can_read_what_is_written() -> None:
    set_value("backends.gpu.token", "hush")
    assert stat.S_IMODE(config_path().stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("stpes", "3", "'steps'"),
        ("steps", "many", "'steps'"),
        ("steps.x", "3", "value, not a table"),
        ("profiles.gpu.stpes", "3", "'steps'"),
        ("backends.gpu", "http://gpu", "'backends.gpu'"),
        ("models_dirs", "[1, 2]", "'models_dirs"),
        ("a.b.c", "1", "'a'"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(key: str, text: str, said: str) -> None:
    before = config("steps = 20\n").read_bytes()
    with pytest.raises(BadConfig, match=said):
        set_value(key, text)
    assert config_path().read_bytes() == before


def test_a_value_can_be_taken_out() -> None:
    config(PROFILES)
    set_value("profiles.gpu.steps", None)
    assert rows("gpu")["steps"].source == "config.toml"
    for key in ("profiles.gpu.steps", "nothing", "steps.x", "a.b.c"):
        with pytest.raises(BadConfig, match="not set"):
            set_value(key, None)


def test_a_faulty_file_is_not_written_over() -> None:
    path = config("steps = \n")
    with pytest.raises(BadConfig):
        set_value("steps", "3")
    assert path.read_text("utf-8") == "steps = \n"


def test_a_place_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SDENV_CONFIG", str(tmp_path / "file" / "config.toml"))
    with pytest.raises(SdenvError) as caught:
        set_value("steps", "3")
    assert isinstance(caught.value, (NotWritable, BadConfig))


def test_without_a_variable_the_file_lies_where_the_system_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDENV_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/ann")
    assert config_path().parts[-2:] == ("sdenv", "config.toml")

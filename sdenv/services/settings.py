"""What holds now, each value with its source.

Precedence: flag, then `SDENV_*` variable, then profile in config.toml, then config.toml, then default.
No library does this for us: those that merge sources keep no record of where a value came from.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from sdenv.core.errors import BadConfig, did_you_mean
from sdenv.services.preferences import VARIABLES, ConfigFile, NamedBackend, Preferences, without_secrets
from sdenv.services.whole_files import write_error, write_whole

DEFAULT: Final = "default"
FLAG: Final = "flag"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it comes from: `flag`, `SDENV_BACKEND`, `config.toml [profiles.gpu]`, `default`."""

    name: str
    value: object
    source: str

    def shown(self) -> str:
        """The value as text for people; secrets are never shown."""
        value = without_secrets(self.name, self.value)
        if isinstance(value, list):
            return os.pathsep.join(str(each) for each in value)
        return "" if value is None else str(value)


class Settings(Preferences):
    """The values that hold now.

    Attributes:
        sources: Where each value comes from, by name; a name that is missing has its default.
        profile: Name of the profile in use.
        backends: The user's own backends by name.
    """

    sources: Mapping[str, str] = Field(default_factory=dict)
    profile: str | None = None
    backends: Mapping[str, NamedBackend] = Field(default_factory=dict)

    def table(self) -> tuple[Setting, ...]:
        """Every value with its source, in the order of the documentation; the user's backends last."""
        values = self.model_dump(mode="json", include=set(Preferences.model_fields))
        rows = [Setting(name, values[name], self.source_of(name)) for name in Preferences.model_fields]
        for name, backend in sorted(self.backends.items()):
            for key, value in backend.model_dump(exclude_unset=True).items():
                rows.append(Setting(f"backends.{name}.{key}", value, self.source_of(f"backends.{name}")))
        return tuple(rows)

    def source_of(self, name: str) -> str:
        """Where the value of this name comes from."""
        return self.sources.get(name, DEFAULT)


def config_path() -> Path:
    """Where config.toml lies: `SDENV_CONFIG`, or the system's place for user configuration."""
    named = os.environ.get("SDENV_CONFIG")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_config_path("sdenv", appauthor=False) / "config.toml"


def load_settings(profile: str | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """Reads every source and says what holds now.

    Args:
        profile: Name of a `[profiles.NAME]` table; None = `SDENV_PROFILE`, then `profile` in config.toml.
        flags: Values from the command line by name; None says nothing.

    Raises:
        BadConfig: A key, value or profile that there is not; the error names its place and the nearest name.
    """
    path = config_path()
    config = read_config(path)
    chosen = profile or os.environ.get("SDENV_PROFILE") or config.profile
    values: dict[str, Any] = {}
    sources = {f"backends.{name}": path.name for name in config.backends}
    for source, layer in _layers(config, path, chosen, flags or {}):
        for name in layer.model_fields_set & Preferences.model_fields.keys():
            values[name] = getattr(layer, name)
            sources[name] = source
    found = Settings(**values, sources=sources, profile=chosen, backends=config.backends)
    if found.models_dirs:
        return found
    return found.model_copy(update={"models_dirs": (found.data_dir / "models",)})


def _layers(
    config: ConfigFile, path: Path, chosen: str | None, flags: Mapping[str, object]
) -> Iterator[tuple[str, Preferences]]:
    """The sources from weakest to strongest, each with its name and what it says."""
    yield path.name, config
    if chosen is not None:
        yield f"{path.name} [profiles.{chosen}]", _profile(config, path, chosen)
    for variable, name in VARIABLES.items():
        text = os.environ.get(variable, "")
        if text:
            yield variable, _checked({name: text}, variable)
    for name, value in flags.items():
        if value is not None:
            yield FLAG, _checked({name: value}, "the command line")


def _profile(config: ConfigFile, path: Path, chosen: str) -> Preferences:
    if chosen not in config.profiles:
        raise BadConfig(
            f"There is no profile {chosen!r} in {str(path)!r}.",
            why=did_you_mean(chosen, list(config.profiles)),
            hint=f"Add a table [profiles.{chosen}], or leave --profile and SDENV_PROFILE out.",
        )
    return config.profiles[chosen]


def _checked(values: Mapping[str, object], place: str) -> Preferences:
    try:
        return Preferences.model_validate(dict(values))
    except ValidationError as error:
        raise _bad_config(error, place) from error


def read_config(path: Path) -> ConfigFile:
    """The checked content of config.toml; empty if there is no such file.

    Raises:
        BadConfig: Not TOML, an unknown key, a value of the wrong type; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ConfigFile()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"Cannot read {str(path)!r}.", why=f"{error}.") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path, place: str = "") -> ConfigFile:
    """As `read_config`, from the text that the file has or would have; errors name `place` instead."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{str(path)!r} is not TOML.", why=f"{error}.") from error
    try:
        return ConfigFile.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        raise _bad_config(error, place or str(path), "" if place else text) from error


def _bad_config(error: ValidationError, place: str, text: str = "") -> BadConfig:
    """The first fault as a sentence with its place, without the value: it may be a secret."""
    fault = error.errors(include_url=False, include_input=False)[0]
    keys = [str(part) for part in fault["loc"]]
    named = ".".join(keys)
    line = _line_of(keys, text)
    where = f"{place}, line {line}" if line else place
    if fault["type"] == "extra_forbidden":
        known = Preferences.model_fields if len(keys) > 1 else ConfigFile.model_fields
        return BadConfig(f"There is no setting {named!r} ({where}).", why=did_you_mean(keys[-1], list(known)))
    message = fault["msg"].removeprefix("Value error, ")
    return BadConfig(f"The setting {named!r} has a value that it cannot have ({where}).", why=f"{message}.")


def _line_of(keys: list[str], text: str) -> int | None:
    """The line of a key in TOML text, else of the table it stands in; for error texts only."""
    best: int | None = None
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.fullmatch(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?", line)
        assigned = re.match(r"\s*([\w\-.\"' ]+?)\s*=", line)
        if header:
            table = _dotted(header[1])
            shared = min(len(table), len(keys))
            if table[:shared] == keys[:shared]:
                best = number
        elif assigned:
            full = table + _dotted(assigned[1])
            if full == keys[: len(full)]:
                return number
    return best


def _dotted(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]


def set_value(key: str, text: str | None) -> Path:
    """Writes one value into config.toml, comments and order kept.

    Args:
        key: A setting, or `profiles.NAME.KEY`, `backends.NAME.KEY`.
        text: The value as typed; None takes the key out.

    Returns:
        The file that was written.

    Raises:
        BadConfig: There is no such key, or it cannot have this value; nothing is written.
        NotWritable: The file or its folder cannot be written.
    """
    import tomlkit

    path = config_path()
    read_config(path)
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    keys = key.split(".")
    if text is None:
        _remove(document, keys, path)
    else:
        _table(document, keys)[keys[-1]] = _typed(keys, text)
    new_text = tomlkit.dumps(document)
    parse_config(new_text, path, place=f"sdenv config set {key}")
    _write_config(path, new_text)
    return path


def _table(document: Any, keys: list[str]) -> Any:
    """The table that a key belongs in, made where it is missing."""
    import tomlkit

    table = document
    for part in keys[:-1]:
        if part not in table:
            table[part] = tomlkit.table(is_super_table=table is document)
        table = table[part]
        if not isinstance(table, dict):
            raise BadConfig(
                f"There is no setting {'.'.join(keys)!r}.", why=f"{part!r} is a value, not a table."
            )
    return table


def _remove(document: Any, keys: list[str], path: Path) -> None:
    table = document
    for part in keys[:-1]:
        table = table.get(part, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or keys[-1] not in table:
        raise BadConfig(f"{'.'.join(keys)!r} is not set in {str(path)!r}.", hint="sdenv config show")
    del table[keys[-1]]


def _typed(keys: list[str], text: str) -> object:
    """The text as a TOML value: as the setting's type has it; a backend's option as it looks."""
    literal = _literal(text)
    if keys[0] == "backends" or isinstance(literal, list):
        return literal
    name = keys[-1]
    if name not in Preferences.model_fields:
        return text
    values = _checked({name: text}, f"sdenv config set {name}").model_dump(mode="json", include={name})
    return values[name]


def _literal(text: str) -> object:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (bool, int, float, list)) else text


def _write_config(path: Path, text: str) -> None:
    """Writes config.toml for its owner's eyes only, since it may hold a token."""
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    write_whole(target, text.encode(), replace=True, mode=0o600)

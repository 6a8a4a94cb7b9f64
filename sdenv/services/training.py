"""Runs a training recipe: finds it, reads its configuration, and watches over it while it works."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Final, final

from sdenv.core.errors import BadConfig, Cancelled, UsageError, did_you_mean
from sdenv.core.events import Event
from sdenv.core.recipe import Recipe, TrainingResult, config_from
from sdenv.core.registry import extra_missing
from sdenv.training import RECIPES

CONFIGS: Final = Path(__file__).parent.parent / "training" / "configs"
"""The configurations that come with sdenv, `NAME.yaml`."""


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key of a recipe's configuration: name, type, default as text, and what it is for."""

    name: str
    type_name: str
    default: str
    text: str


@final
class TrainingContext:
    """What a recipe reports to; the thread that runs it calls `emit`, any other may call `cancel`.

    Args:
        show: Called with each event.
    """

    def __init__(self, show: Callable[[Event], None]) -> None:
        self.preview_every = 0
        self._show = show
        self._lock = threading.RLock()  # re-entrant, so that a signal handler may cancel
        self._cancelled = False
        self._unblocks: list[Callable[[], None]] = []

    def emit(self, event: Event) -> None:
        """Shows the event; raises `Cancelled` once that was asked for."""
        self.check()
        self._show(event)

    def check(self) -> None:
        """Raises `Cancelled` once that was asked for."""
        if self._cancelled:
            raise Cancelled

    @contextmanager
    def on_cancel(self, unblock: Callable[[], None]) -> Iterator[None]:
        """While the context is open, a cancel calls `unblock`."""
        with self._lock:
            self._unblocks.append(unblock)
            if self._cancelled:
                unblock()
        try:
            yield
        finally:
            with self._lock:
                self._unblocks.remove(unblock)

    def cancel(self) -> None:
        """Asks the recipe to save and stop; returns at once."""
        with self._lock:
            self._cancelled = True
            for unblock in tuple(self._unblocks):
                unblock()


def train(recipe: str, values: Mapping[str, Any], where: str, context: TrainingContext) -> TrainingResult:
    """Runs a recipe in this thread until it is done or cancelled.

    Args:
        recipe: Its name.
        values: Keys of its configuration.
        where: What to call their source in an error.
        context: What it reports to.

    Raises:
        UnknownName: There is no such recipe.
        ExtraMissing: The optional part `train` is not installed.
        BadConfig: The configuration is not valid.
        Cancelled: As asked for; what was reached is saved.
    """
    recipe_type: type[Recipe] = RECIPES.load(recipe)
    config = config_from(recipe_type.Config, values, where)
    return recipe_type().run(config, context)


def list_recipes() -> list[tuple[str, str]]:
    """Names and summaries of all recipes; imports none of them."""
    return [(name, RECIPES.entry(name).summary) for name in RECIPES]


def config_keys(recipe: str) -> list[ConfigKey]:
    """The keys of a recipe's configuration, in its order.

    Raises:
        UnknownName: There is no such recipe.
        ExtraMissing: The optional part `train` is not installed.
    """
    config_type = RECIPES.load(recipe).Config
    texts = _described(config_type.__doc__ or "")
    return [
        ConfigKey(each.name, _type_name(each), _default(each), texts.get(each.name, ""))
        for each in fields(config_type)
    ]


def _type_name(each: "Field[Any]") -> str:
    return each.type.__name__ if isinstance(each.type, type) else str(each.type)


def _default(each: "Field[Any]") -> str:
    if each.default is not MISSING:
        return "" if each.default is None else str(each.default)
    return str(each.default_factory()) if each.default_factory is not MISSING else "(required)"


def _described(docstring: str) -> dict[str, str]:
    """What the "Attributes" part of a docstring says of each name; several names may share a line."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.partition("Attributes:")[2].splitlines():
        head, separator, text = line.strip().partition(": ")
        if separator and line.startswith(" " * 8) and not line.startswith(" " * 9):
            names = [name.strip() for name in head.split(",")]
            found |= dict.fromkeys(names, text.strip())
        elif line.strip() and names:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def shipped_configs() -> list[str]:
    """Names of the configurations that come with sdenv."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def read_config(name_or_file: str | None, changes: Sequence[str]) -> dict[str, Any]:
    """Keys and values for a recipe.

    Args:
        name_or_file: A configuration that comes with sdenv, or a YAML file; None = all defaults.
        changes: `key=value` or `key.part=value`, the value as YAML; they win.

    Raises:
        UsageError: There is no such file or name.
        BadConfig: Not YAML, not a mapping, or a change that is not `key=value`.
        ExtraMissing: The optional part `train` is not installed.
    """
    values = {} if name_or_file is None else _mapping(_config_path(name_or_file))
    for change in changes:
        key, separator, text = change.partition("=")
        if not (key and separator):
            raise BadConfig(f"--set {change!r} is not KEY=VALUE.", hint="For example: --set steps=1000")
        *parents, last = key.split(".")
        table = values
        for part in parents:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise BadConfig(f"--set {change!r}: {part!r} is a value and has no parts.")
        table[last] = _yaml(text, f"--set {change!r}")
    return values


def _config_path(name_or_file: str) -> Path:
    if name_or_file in shipped_configs():
        return CONFIGS / f"{name_or_file}.yaml"
    path = Path(name_or_file).expanduser()
    if not path.is_file():
        raise UsageError(
            f"There is no configuration {name_or_file!r}, neither with sdenv nor as a file.",
            why=did_you_mean(name_or_file, shipped_configs()),
            hint="sdenv train --list",
        )
    return path


def _mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{str(path)!r} cannot be read.", why=f"{error}.") from error
    values = _yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadConfig(f"{str(path)!r} is not a list of keys and values.", hint="For example: steps: 1000")
    return values


def _yaml(text: str, where: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise extra_missing("Training", "train", "yaml") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadConfig(f"{where} is not YAML.", why=f"{' '.join(str(error).split())}.") from error

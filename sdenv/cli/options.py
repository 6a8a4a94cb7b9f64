"""Flags: rows that become a command, and the names that a shell completes. Imports typer only."""

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar, get_type_hints

import typer

FlagsT = TypeVar("FlagsT")
Completer = Callable[[str], list[str]]

REQUEST: Final = "Request"
INPUT: Final = "Pictures and requests that go in"
OUTPUT: Final = "Output"
WATCHING: Final = "Watching"
BACKEND: Final = "Backend"


def command_from(
    flags_type: type[FlagsT], body: Callable[[FlagsT], object], help_text: str
) -> Callable[..., object]:
    """A function for Typer whose parameters are the fields of a dataclass, so that each flag is written once.

    Args:
        flags_type: A dataclass whose fields are annotated with `flag(...)`.
        body: What runs with the values.
        help_text: What the help page says.
    """

    def callback(**values: object) -> object:
        return body(flags_type(**values))

    callback.__signature__ = inspect.signature(flags_type)  # type: ignore[attr-defined]  # read by inspect
    callback.__annotations__ = get_type_hints(flags_type, include_extras=True)
    callback.__doc__ = help_text
    return callback


def flag(panel: str, names: str, metavar: str, text: str, complete: Completer | None = None) -> Any:
    """One flag.

    Args:
        panel: The section of the help page.
        names: Short and long name, separated by a space.
        metavar: What its value is called; "" for a switch.
        text: What it does.
        complete: What a shell offers after it.
    """
    return typer.Option(
        *names.split(), metavar=metavar or None, rich_help_panel=panel, autocompletion=complete, help=text
    )


def one_of(*words: str) -> Completer:
    """Completes a fixed list of words."""
    return lambda incomplete: _starting(list(words), incomplete)


def backend_names(incomplete: str) -> list[str]:
    """Completes names of backends, the user's own included."""
    from sdenv.backends import BACKENDS
    from sdenv.services.settings import load_settings

    return _starting([*BACKENDS, *load_settings().backends], incomplete)


def front_end_names(incomplete: str) -> list[str]:
    """Completes names of front ends."""
    import importlib

    return _starting(list(importlib.import_module("sdenv.servers").SERVERS), incomplete)


def model_names(incomplete: str) -> list[str]:
    """Completes names of models found on this machine."""
    from sdenv.services.models import find_models
    from sdenv.services.settings import load_settings

    return _starting([model.name for model in find_models(load_settings().models_dirs)], incomplete)


def sampler_names(incomplete: str) -> list[str]:
    """Completes AUTOMATIC1111's names of samplers."""
    from sdenv.core.samplers import SAMPLERS

    return _starting(list(SAMPLERS), incomplete)


def schedule_names(incomplete: str) -> list[str]:
    """Completes names of noise schedules."""
    from sdenv.core.samplers import SCHEDULES

    return _starting(list(SCHEDULES), incomplete)


def recipe_names(incomplete: str) -> list[str]:
    """Completes names of training recipes."""
    from sdenv.training import RECIPES

    return _starting(list(RECIPES), incomplete)


def config_names(incomplete: str) -> list[str]:
    """Completes names of training configurations."""
    from sdenv.services.training import shipped_configs

    return _starting(shipped_configs(), incomplete)


def _starting(names: list[str], incomplete: str) -> list[str]:
    """Those that begin so; bash puts them on the command line as they are, so spaces are escaped for it."""
    found = [name for name in names if name.startswith(incomplete)]
    if os.environ.get("_SDENV_COMPLETE") == "complete_bash":
        return [name.replace(" ", "\\ ") for name in found]
    return found


_FORMS: Final = one_of("auto", "bar", "plain", "json", "off")
_COLORS: Final = one_of("auto", "always", "never")

Progress = Annotated[
    str | None,
    flag(WATCHING, "--progress", "FORM", "auto, bar, plain, json (events, one a line) or off.", _FORMS),
]
Json = Annotated[bool, flag(WATCHING, "--json", "", "Results as JSON on stdout, errors as JSON on stderr.")]
Quiet = Annotated[bool, flag(WATCHING, "-q --quiet", "", "Nothing on stderr but errors.")]
Debug = Annotated[bool, flag(WATCHING, "--debug", "", "With an error, show where in the code it comes from.")]
Color = Annotated[str | None, flag(WATCHING, "--color", "WHEN", "auto, always or never.", _COLORS)]
Profile = Annotated[str | None, flag(BACKEND, "--profile", "NAME", "Use a profile of config.toml.")]

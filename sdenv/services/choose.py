"""From a name or a URL to a backend that is ready to use: where names, options and models meet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

from pydantic import ValidationError

from sdenv.backends import BACKENDS
from sdenv.core.backend import Backend, BackendSettings
from sdenv.core.errors import BadConfig, UnknownBackend, did_you_mean
from sdenv.core.privacy import is_secret, without_user
from sdenv.core.registry import extra_missing
from sdenv.services.settings import Settings

SCHEMES: Final[Mapping[str, str]] = {
    "http": "http",
    "https": "http",
    "a1111": "a1111",
    "a1111+https": "a1111",
    "openai": "openai",
    "openai+https": "openai",
    "socket": "socket",
    "socket+tls": "socket",
    "drawthings": "drawthings",
    "drawthings+plain": "drawthings",
    "ray": "ray",
}
"""Which backend a URL means; the scheme of any other backend is its name."""

EXTRA_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "local": ("torch", "diffusers", "transformers", "safetensors", "numpy", "scipy"),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "cryptography", "filelock"),
    "drawthings": ("grpc", "flatbuffers"),
    "train": ("torch", "diffusers", "transformers", "tokenizers", "yaml", "resvg_py", "jaxtyping"),
}
"""The Python packages behind each optional part, to see without an import whether it is installed."""


TRUST_FILE: Final = "trust.json"
"""In the data folder: the certificates that were trusted when servers were first met."""

FILLED_IN: Final = frozenset({"url", "models", "trust_file", "shown_as", "greeting"})
"""Settings of backends that nobody types: they are filled in here, and are no options."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A backend ready to use.

    Attributes:
        backend: The backend; it has opened nothing yet.
        name: What the user typed after `-b`, without users and passwords.
        kind: The name in the table of backends.
        model: The model to ask for; None = the backend's default.
        names: What to ask for instead of what the user said (None = nothing), for each model that was named
            to `choose_backend`; a path has become a name.
        settings: What the backend was built with.
    """

    backend: Backend
    name: str
    kind: str
    model: str | None
    names: Mapping[str | None, str | None]
    settings: BackendSettings = field(default_factory=BackendSettings)


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One line of `sdenv backends`.

    Attributes:
        name: What to type after `-b`.
        summary: What it is.
        package: The package that brings it; "config.toml" for the user's own.
        installed: Whether everything it needs is there.
        hint: The pip command, where it is not.
    """

    name: str
    summary: str
    package: str
    installed: bool
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a name or URL means, before any backend is imported."""

    kind: str
    url: str | None = None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def choose_backend(
    name_or_url: str,
    options: Mapping[str, str],
    settings: Settings,
    model: str | None = None,
    others: Iterable[str | None] = (),
) -> Chosen:
    """Builds a backend; nothing is loaded or connected yet.

    Args:
        name_or_url: A backend, a name from `[backends.NAME]`, or a URL whose scheme names the backend.
        options: The backend's own options as typed; they win over those of `[backends.NAME]`.
        settings: What the user configured: own backends, places of models.
        model: A model name, or for a backend on this machine also a path; None = `model` of
            `[backends.NAME]`, then `model` of the settings.
        others: Further models that will be asked for, None as above.

    Raises:
        UnknownBackend: No such name or scheme; the error names the nearest.
        ExtraMissing: The backend's optional part is not installed.
        BadConfig: An option that the backend does not have, or a value that it cannot have.
        UnknownModel: A backend on this machine does not find a model.
    """
    found = _find(name_or_url, settings)
    _require_extra(found.kind)
    backend_type = BACKENDS.load(found.kind)
    _refuse_unknown(backend_type.Settings, found.kind, [*options, *found.options])
    values: dict[str, Any] = {**found.options, **options}
    if found.url is not None:
        values["url"] = found.url
    if "trust_file" in backend_type.Settings.model_fields:
        values["trust_file"] = settings.data_dir / TRUST_FILE
    default = found.model or settings.model
    names = {each: each or default for each in (model, *others)}
    if "models" in backend_type.Settings.model_fields:
        here = {each: _model_here(wanted, settings) for each, wanted in names.items()}
        names = {each: name for each, (name, _) in here.items()}
        values["models"] = dict(here.values())
    chosen = _checked(backend_type.Settings, found.kind, values)
    backend = backend_type(chosen)
    return Chosen(backend, without_user(name_or_url), found.kind, names[model], names, chosen)


def kind_of(name_or_url: str, settings: Settings) -> str:
    """The name in the table of backends that a name or a URL means; imports no backend.

    Raises:
        UnknownBackend: As `choose_backend`.
    """
    return _find(name_or_url, settings).kind


def _find(name_or_url: str, settings: Settings) -> _Found:
    if "://" in name_or_url:
        return _Found(_kind_of_scheme(name_or_url), name_or_url)
    own = settings.backends.get(name_or_url)
    if own is None:
        if name_or_url not in BACKENDS:
            raise _unknown(
                f"There is no backend {name_or_url!r}.", name_or_url, [*BACKENDS, *settings.backends]
            )
        return _Found(name_or_url)
    if own.url is not None:
        return _Found(_kind_of_scheme(own.url), own.url, own.model, own.options)
    kind = own.backend or name_or_url
    if kind not in BACKENDS:
        what = (
            f"[backends.{name_or_url}] in config.toml names no backend: neither `url` nor a known `backend`."
        )
        raise _unknown(what, kind, list(BACKENDS))
    return _Found(kind, None, own.model, own.options)


def _kind_of_scheme(url: str) -> str:
    scheme = url.partition("://")[0].casefold()
    kind = SCHEMES.get(scheme, scheme)
    if kind in BACKENDS:
        return kind
    if scheme in SCHEMES:
        what = f"The backend {kind!r}, which {scheme}:// URLs are for, is not part of this installation."
        raise UnknownBackend(what, why=f"There are: {', '.join(BACKENDS)}.", hint="sdenv backends")
    known = [each for each, name in SCHEMES.items() if name in BACKENDS] or list(SCHEMES)
    raise _unknown(f"No backend is reached by {scheme}:// URLs.", scheme, known)


def _unknown(what: str, name: str, known: list[str]) -> UnknownBackend:
    return UnknownBackend(what, why=did_you_mean(name, known), hint="sdenv backends")


def _model_here(wanted: str | None, settings: Settings) -> tuple[str, str]:
    """Name and path of a model on this machine."""
    from sdenv.services.models import resolve_model

    found = resolve_model(wanted, settings.models_dirs)
    return found.name, str(found.path)


def _refuse_unknown(settings_type: type[BackendSettings], kind: str, options: Iterable[str]) -> None:
    known = sorted(settings_type.model_fields.keys() - FILLED_IN)
    for name in options:
        if name not in known:
            raise BadConfig(
                f"The backend {kind!r} has no option {name!r}.",
                why=did_you_mean(name, known) or "It has none.",
                hint=f"sdenv backends {kind}",
            )


def _checked(settings_type: type[BackendSettings], kind: str, values: Mapping[str, Any]) -> BackendSettings:
    try:
        return settings_type.model_validate(dict(values))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "missing":
            raise BadConfig(
                f"The backend {kind!r} needs the option {name!r}.", hint=f"-O {name}=..."
            ) from error
        given = "" if is_secret(name) else f" (given: {str(fault['input'])[:60]!r})"
        message = fault["msg"].removeprefix("Value error, ")
        raise BadConfig(
            f"The option {name!r} of the backend {kind!r} has a value that it cannot have.",
            why=f"{message}{given}.",
            hint=f"sdenv backends {kind}",
        ) from error


def list_backends(settings: Settings | None = None) -> list[BackendRow]:
    """Every backend that can be chosen, sorted by name, the user's own last; imports none of them."""
    rows = [_row(name) for name in BACKENDS]
    own = settings.backends if settings is not None else {}
    for name, backend in sorted(own.items()):
        what = without_user(backend.url or backend.backend or name)
        rows.append(BackendRow(name, f"yours: {what}", "config.toml", installed=True))
    return rows


def is_installed(extra: str) -> bool:
    """Whether all packages of an optional part are there; imports none of them. "" = nothing is needed."""
    return not _missing_modules(extra)


def _missing_modules(extra: str) -> list[str]:
    return [module for module in EXTRA_MODULES.get(extra, ()) if find_spec(module) is None]


def _require_extra(kind: str) -> None:
    """Says what is not installed before anything else can go wrong, the search for a model for example."""
    extra = BACKENDS.entry(kind).extra
    if missing := _missing_modules(extra):
        raise extra_missing(f"The backend {kind!r}", extra, missing[0])


def _row(name: str) -> BackendRow:
    entry = BACKENDS.entry(name)
    installed = is_installed(entry.extra)
    hint = "" if installed else f"pip install 'sdenv[{entry.extra}]'"
    return BackendRow(name, entry.summary, entry.package, installed, hint)

"""Finding models, offline: the built-in one, those in models directories, those in the Hugging Face cache.

A model is a folder with a `model_index.json`; what it is gets read from its configurations, never from its
name. Listing reads two small files a model; `resolve_model` reads the chosen one's weight headers as well
and refuses what is damaged, incomplete or unsafe.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sdenv
from sdenv.checkpoints.facts import facts_of, family_of
from sdenv.checkpoints.folder import INDEX, OWN_SETTINGS, read_folder, read_index, read_json
from sdenv.core.errors import SdenvError, UnknownModel, did_you_mean

BUILT_IN: Final = "emoji"
"""Name of the model that sdenv carries, which is also the default."""

_DEPTH: Final = 3
"""How many folders below a models directory a model may lie: `runwayml/stable-diffusion-v1-5` has two."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model folder that was found.

    Attributes:
        name: What to type after `-m`: the path below the models directory, or the repository's name in the
            cache.
        path: The folder.
        family: A name in `core.families.FAMILIES`; `other` for what is not known.
        source: `built-in`, `folder` or `huggingface-cache`.
        problem: Why it cannot be used, as far as its index and configuration tell; empty = nothing found.
    """

    name: str
    path: Path
    family: str
    source: str
    problem: str = ""


def built_in_path() -> Path:
    """Where the built-in model lies inside the installed package."""
    return Path(sdenv.__file__).parent / "assets" / BUILT_IN


def find_models(models_dirs: Sequence[Path]) -> list[FoundModel]:
    """All models there are: the built-in one first, then by directory in the given order, then the cache.

    A name that occurs twice belongs to the first; the others can be used by their path.

    Args:
        models_dirs: Where to look; a directory that does not exist is passed over.
    """
    found: dict[str, FoundModel] = {}
    for name, path, source in _candidates(models_dirs):
        if name not in found:
            found[name] = _described(name, path, source)
    return list(found.values())


def resolve_model(wanted: str | None, models_dirs: Sequence[Path]) -> FoundModel:
    """The model of a name, or at a path; checked to be whole and safe.

    Args:
        wanted: A name that `find_models` lists, or a path; None = the built-in model.
        models_dirs: Where to look for names.

    Raises:
        UnknownModel: There is no such name or folder; the error names the nearest.
        UnsafeWeights: Its weights are a pickle, or it brings code of its own.
        ModelIncomplete: A file is missing or damaged; the error names it.
        UnsupportedError: It is a single file.
    """
    name = BUILT_IN if wanted is None else wanted
    found = _by_name(name, models_dirs) or _by_path(name)
    if found is None:
        names = [each for each, _, _ in _candidates(models_dirs)]
        raise UnknownModel(
            f"There is no model {name!r}.",
            why=did_you_mean(name, list(dict.fromkeys(names))),
            hint="sdenv models list",
        )
    facts = facts_of(read_folder(found.path))
    return FoundModel(found.name, found.path, facts.family.name, found.source)


def _by_name(name: str, models_dirs: Sequence[Path]) -> FoundModel | None:
    for each, path, source in _candidates(models_dirs):
        if each == name:
            return FoundModel(name, path, "other", source)
    return None


def _by_path(text: str) -> FoundModel | None:
    """A path names a model only if something is there; it carries the name of the folder."""
    path = Path(text).expanduser()
    if not path.exists():
        return None
    whole = path.resolve()
    return FoundModel(whole.name, whole, "other", "folder")


def _candidates(models_dirs: Sequence[Path]) -> Iterator[tuple[str, Path, str]]:
    """Name, folder and source of everything that has an index, the first of a name first."""
    if (built_in_path() / INDEX).is_file():
        yield BUILT_IN, built_in_path(), "built-in"
    for directory in models_dirs:
        for path in _folders_with_index(directory, _DEPTH):
            yield path.relative_to(directory).as_posix(), path, "folder"
    yield from ((name, path, "huggingface-cache") for name, path in _cached(_cache_directory()))


def _folders_with_index(directory: Path, depth: int) -> Iterator[Path]:
    """Model folders below a directory, sorted; folders inside a model are not looked at."""
    for path in _subfolders(directory):
        if (path / INDEX).is_file():
            yield path
        elif depth > 1:
            yield from _folders_with_index(path, depth - 1)


def _subfolders(directory: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # not there, or not ours to read: nothing to find in either case
        return ()


def _cache_directory() -> Path:
    """Where huggingface_hub keeps what it downloaded (its documentation, "Environment variables")."""
    if named := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME")
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return (Path(home) / "hub" if home else caches / "huggingface" / "hub").expanduser()


def _cached(cache: Path) -> Iterator[tuple[str, Path]]:
    """Repository name and snapshot folder; the layout is `models--OWNER--NAME/snapshots/REVISION`."""
    for repository in _subfolders(cache):
        kind, _, name = repository.name.partition("--")
        snapshot = _snapshot(repository) if kind == "models" else None
        if snapshot is not None:
            yield name.replace("--", "/"), snapshot


def _snapshot(repository: Path) -> Path | None:
    """The snapshot that `refs/main` names, else the newest; None when none holds an index."""
    try:
        revision = (repository / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        revision = ""
    snapshots = repository / "snapshots"
    newest = sorted(_subfolders(snapshots), key=lambda path: path.stat().st_mtime, reverse=True)
    chosen = [path for path in newest if path.name == revision] + newest
    return next((path for path in chosen if (path / INDEX).is_file()), None)


def _described(name: str, path: Path, source: str) -> FoundModel:
    try:
        index = read_index(path)
        unet = read_json(path / "unet" / "config.json") if "unet" in index else {}
        own = read_json(path / OWN_SETTINGS) if (path / OWN_SETTINGS).is_file() else {}
    except SdenvError as error:
        return FoundModel(name, path, "other", source, str(error))
    return FoundModel(name, path, family_of(str(index["_class_name"]), unet, own), source)

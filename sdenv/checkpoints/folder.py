"""A diffusers model folder, read without loading it: what it is, and whether it is whole and safe.

The layout is that of `DiffusionPipeline.save_pretrained`: `model_index.json` names the pipeline class and,
for each component, a library and a class; the folder of the same name holds its configuration and its
weights.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sdenv.checkpoints.header import PICKLE_SUFFIXES, TensorFact, read_header, unsafe_weights
from sdenv.core.errors import ModelIncomplete, UnknownModel, UnsafeWeights, UnsupportedError

INDEX: Final = "model_index.json"
OWN_SETTINGS: Final = "sdenv.json"
MAX_JSON_BYTES: Final = 16 * 2**20  # the longest of all tokenizers has 11 MB; configurations have kilobytes

_WITH_THE_CHECKER: Final = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Components that are not loaded where there is a safety checker: it judges finished pictures, the feature
extractor belongs to it, and the image encoder to adapters."""

_LIBRARIES: Final = frozenset(
    {
        "diffusers",
        "transformers",
        "stable_diffusion",
        "stable_diffusion_xl",
        "stable_diffusion_3",
        "latent_diffusion",
    }
)
"""Where classes may come from: the two libraries, and pipeline modules of diffusers that old indexes name."""

_VOCABULARIES: Final = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model", "vocab.txt")


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a pipeline.

    Attributes:
        name: `unet`, `vae`, `text_encoder`, ...
        library: Where its class comes from.
        class_name: Its class.
        folder: Where its files are.
        config: Its configuration; empty for tokenizers.
        weights: Its safetensors files, in order; empty where it has no weights.
        elements: How many numbers its weights are.
    """

    name: str
    library: str
    class_name: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Path, ...] = ()
    elements: int = 0

    def headers(self) -> Mapping[str, TensorFact]:
        """All tensors of its weights by name, from the file headers; see `read_header` for the errors."""
        return {name: fact for path in self.weights for name, fact in read_header(path).items()}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder whose files are all there.

    Attributes:
        path: The folder.
        pipeline: Name of the diffusers pipeline class.
        components: The parts that are loaded, by name.
        own: What the folder's `sdenv.json` says; empty without one.
        variant: `fp16` where the weights carry that word in their names; else None.
    """

    path: Path
    pipeline: str
    components: Mapping[str, Component]
    own: Mapping[str, Any] = field(default_factory=dict)
    variant: str | None = None

    @property
    def denoiser(self) -> Component | None:
        """The part that is run once a step: the UNet or the transformer."""
        return self.components.get("unet") or self.components.get("transformer")

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Time of change and size of the files that decide what is loaded; equal = as when it was read.

        Raises:
            OSError: One of them is gone.
        """
        files = [self.path / INDEX, *(file for each in self.components.values() for file in each.weights)]
        return tuple((state.st_mtime_ns, state.st_size) for state in (file.stat() for file in files))

    def config(self, name: str) -> Mapping[str, Any]:
        """The configuration of a component; empty where there is none."""
        found = self.components.get(name)
        return {} if found is None else found.config


def unused(index: Mapping[str, Any]) -> frozenset[str]:
    """The components of an index that are not loaded."""
    return _WITH_THE_CHECKER & index.keys() if "safety_checker" in index else frozenset()


def read_index(path: Path) -> Mapping[str, Any]:
    """The `model_index.json` of a folder.

    Raises:
        UnknownModel: The folder has none, so it is not a diffusers model.
        ModelIncomplete: It is damaged.
        UnsafeWeights: It names code of its own.
    """
    index_path = path / INDEX
    if not index_path.is_file():
        raise UnknownModel(f"{path} is not a diffusers model folder.", why=f"It has no {INDEX}.")
    index = read_json(index_path)
    if isinstance(index.get("_class_name"), list):
        raise _custom_code(path, f"{INDEX} names a pipeline class in a file of the folder")
    if not isinstance(index.get("_class_name"), str):
        raise ModelIncomplete(f"{index_path} does not name a pipeline class.")
    return index


def read_folder(path: Path) -> ModelFolder:
    """Reads a model folder and checks that it is whole and safe, weight headers included.

    Raises:
        UnknownModel: There is no such folder, or it is not a diffusers model.
        UnsafeWeights: Weights are a pickle, or the folder brings code of its own.
        ModelIncomplete: A file is missing, truncated or damaged; the error names it.
        UnsupportedError: It is a single file, not a folder.
    """
    _refuse_files(path)
    index = read_index(path)
    components: dict[str, Component] = {}
    for name, library, class_name in _entries(path, index):
        component = _read_component(path, name, library, class_name)
        elements = sum(fact.elements for fact in component.headers().values())
        components[name] = replace(component, elements=elements)
    own = read_json(path / OWN_SETTINGS) if (path / OWN_SETTINGS).is_file() else {}
    variant = (
        "fp16"
        if any(".fp16." in file.name for each in components.values() for file in each.weights)
        else None
    )
    return ModelFolder(
        path, index["_class_name"], MappingProxyType(components), MappingProxyType(own), variant
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder.

    Raises:
        ModelIncomplete: It is missing, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelIncomplete(f"{path} is larger than any configuration file is.")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelIncomplete(f"The model lacks the file {path}.", why=f"{error}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelIncomplete(
            f"{path} is damaged: it is not JSON.", hint="Copy or download it again."
        ) from error
    if not isinstance(value, dict):
        raise ModelIncomplete(f"{path} is damaged: it is not a JSON object.")
    return value


def _refuse_files(path: Path) -> None:
    if path.is_dir():
        return
    if not path.exists():
        raise UnknownModel(f"There is no model folder {path}.")
    if path.suffix.casefold() in PICKLE_SUFFIXES:
        raise unsafe_weights(path)
    read_header(path)
    raise UnsupportedError(
        f"{path} is a single weights file.",
        why="Only model folders in the diffusers layout are loaded so far.",
    )


def _entries(path: Path, index: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, library and class of each component that is loaded."""
    left_out = unused(index)
    for name, entry in index.items():
        if name.startswith("_") or name in left_out or not isinstance(entry, list) or entry == [None, None]:
            continue
        match entry:
            case [str(library), str(class_name)] if library in _LIBRARIES:
                yield name, library, class_name
            case [str(library), str()]:
                raise _custom_code(
                    path,
                    f"{INDEX} takes {name!r} from {library!r}, which is neither diffusers nor transformers",
                )
            case _:
                raise ModelIncomplete(
                    f"{path / INDEX} is damaged: its entry {name!r} is not [library, class]."
                )


def _custom_code(path: Path, why: str) -> UnsafeWeights:
    return UnsafeWeights(
        f"The model in {path} brings code of its own, which sdenv does not run.",
        why=f"{why}.",
        hint="Use another model.",
    )


def _read_component(path: Path, name: str, library: str, class_name: str) -> Component:
    folder = path / name
    if not folder.is_dir():
        raise ModelIncomplete(f"The model in {path} lacks the folder {name}/, which its {INDEX} names.")
    if "Scheduler" in class_name:
        return Component(name, library, class_name, folder, read_json(folder / "scheduler_config.json"))
    if "Tokenizer" in class_name or name.startswith("tokenizer"):
        _check_tokenizer(folder)
        return Component(name, library, class_name, folder)
    if "Processor" in class_name or "Extractor" in class_name:
        return Component(name, library, class_name, folder)
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        raise _custom_code(path, f"{name}/config.json names classes in files of the folder (auto_map)")
    return Component(name, library, class_name, folder, MappingProxyType(config), _weights(folder, library))


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelIncomplete(
            f"The tokenizer in {folder} lacks its vocabulary, for example {_VOCABULARIES[0]}."
        )
    by_pairs = (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file()
    if by_pairs and not (folder / "merges.txt").is_file():
        raise ModelIncomplete(f"The model lacks the file {folder / 'merges.txt'}.")


def _weights(folder: Path, library: str) -> tuple[Path, ...]:
    """The weights that the libraries would load: plain before fp16, one file before shards."""
    stem = "model" if library == "transformers" else "diffusion_pytorch_model"
    for variant in ("", ".fp16"):
        whole = folder / f"{stem}{variant}.safetensors"
        if whole.is_file():
            return (whole,)
        shards = folder / f"{stem}.safetensors.index{variant}.json"
        if shards.is_file():
            return _shards(shards)
    pickles = sorted(each for each in folder.iterdir() if each.suffix.casefold() in PICKLE_SUFFIXES)
    if pickles:
        raise unsafe_weights(pickles[0])
    raise ModelIncomplete(
        f"The model lacks the file {folder / f'{stem}.safetensors'}.", hint="Copy or download it again."
    )


def _shards(index_path: Path) -> tuple[Path, ...]:
    table = read_json(index_path).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise ModelIncomplete(f"{index_path} is damaged: it does not say which file holds which weight.")
    names = sorted(set(table.values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise UnsafeWeights(f"{index_path} names a file outside of its folder: {outside[0]}.")
    missing = [name for name in names if not (index_path.parent / name).is_file()]
    if missing:
        raise ModelIncomplete(f"The model lacks the file {index_path.parent / missing[0]}.")
    return tuple(index_path.parent / name for name in names)

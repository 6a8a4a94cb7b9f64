"""What can train a model: a configuration, and one function that runs from top to bottom."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sdenv.core.backend import JobContext
from sdenv.core.errors import BadConfig, did_you_mean


class RecipeConfig(Protocol):
    """Any frozen dataclass; its fields are the keys of the YAML file."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a finished run hands back.

    Attributes:
        output: The folder that holds what was made.
        steps: Optimizer steps done in all, resumed ones included.
        measured: The last value of each thing measured.
    """

    output: Path
    steps: int
    measured: Mapping[str, float]


class Recipe(ABC):
    """One way to train, flat and readable; the same events and the same cancellation as a generation."""

    Config: ClassVar[type[RecipeConfig]]

    @abstractmethod
    def run(self, config: Any, context: JobContext) -> TrainingResult:
        """Trains until done, or until cancelled, in which case it saves a checkpoint first.

        Args:
            config: An instance of this recipe's Config.
            context: Where to report; `emit` raises `Cancelled` when the run shall stop.
        """


def config_from(config_type: type[RecipeConfig], values: Mapping[str, Any], where: str) -> Any:
    """A recipe's configuration from parsed YAML; an unknown key is an error, never ignored.

    Args:
        config_type: The dataclass to build; values are checked against its annotations.
        values: Keys and values as read.
        where: What to call the source in an error.

    Raises:
        BadConfig: An unknown key, a missing one, or a value of the wrong type.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

    known = [each.name for each in fields(config_type)]
    for key in values:
        if key not in known:
            raise BadConfig(f"{where} has an unknown key {key!r}.", why=did_you_mean(key, known))
    try:
        return TypeAdapter(with_config(ConfigDict(extra="forbid"))(config_type)).validate_python(dict(values))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadConfig(f"{where} is not valid.", why=faults + ".") from error

"""`sdenv train`: runs a recipe with the same bars, JSON lines and cancellation as a generation."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import typer

from sdenv.cli import options
from sdenv.cli.options import flag
from sdenv.cli.tree import command_app

_run = partial(flag, "Run")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainFlags:
    """What `sdenv train` was told."""

    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="What to train.", autocompletion=options.recipe_names),
    ] = None
    config: Annotated[
        str | None,
        _run(
            "--config",
            "NAME|FILE",
            "A configuration that comes with sdenv, or a YAML file.",
            options.config_names,
        ),
    ] = None
    changes: Annotated[list[str] | None, _run("--set", "KEY=VALUE", "Change one key of it.")] = None
    output: Annotated[str | None, _run("-o --output", "FOLDER", "Where to write; the key `output`.")] = None
    listing: Annotated[
        bool, _run("--list", "", "List the recipes and configurations; with RECIPE, its keys.")
    ] = False
    progress: options.Progress = None
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    color: options.Color = None


_HELP: Final = """Train a model by a recipe.

A run goes on from its own checkpoint when it is started again; Ctrl-C saves first. The folder that
was written is printed on stdout."""

_EXAMPLES: Final = """
sdenv train --list
sdenv train autoencoder --list
sdenv train autoencoder --config emoji-autoencoder --set steps=100 -o runs/try
"""


def _train(flags: TrainFlags) -> None:
    from sdenv.cli.train_run import run

    run(flags)


app = command_app(options.command_from(TrainFlags, _train, _HELP), name="train", epilog=_EXAMPLES)

"""What `sdenv train` does."""

from sdenv.cli.output import print_json, print_path, print_text
from sdenv.cli.render import Heading
from sdenv.cli.signals import Interrupts
from sdenv.cli.tables import table
from sdenv.cli.terminal import color_choice
from sdenv.cli.train import TrainFlags
from sdenv.cli.viewer import make_viewer
from sdenv.core.errors import Cancelled, UsageError
from sdenv.core.recipe import TrainingResult
from sdenv.services.settings import load_settings
from sdenv.services.training import (
    ConfigKey,
    TrainingContext,
    config_keys,
    list_recipes,
    read_config,
    shipped_configs,
    train,
)


def run(flags: TrainFlags) -> None:
    """Lists, or trains.

    Raises:
        SdenvError: What it ends with.
    """
    settings = load_settings(None, {"color": flags.color})
    color_choice.set(settings.color)
    if flags.listing:
        _list(flags)
        return
    if flags.recipe is None:
        raise UsageError(
            "Which recipe?",
            why=f"There are: {', '.join(name for name, _ in list_recipes())}.",
            hint="sdenv train --list",
        )
    values = read_config(flags.config, flags.changes or [])
    if flags.output is not None:
        values["output"] = flags.output
    viewer = make_viewer(
        flags.progress or settings.progress, "off", quiet=flags.quiet, as_json=flags.json_lines
    )
    with Interrupts() as interrupts:
        context = TrainingContext(viewer.renderer.show)

        def cancel() -> None:
            viewer.renderer.stopping()
            context.cancel()

        viewer.renderer.begin(Heading(title=flags.recipe))
        try:
            with interrupts.cancelling(cancel):
                result = train(flags.recipe, values, flags.config or "the configuration", context)
        except Cancelled as error:
            where = values.get("output")
            kept = (
                error.what
                if error.what != Cancelled().what
                else "Start it again to go on from its checkpoint."
            )
            raise interrupts.error(f"{kept}" if where is None else f"{kept} ({where})") from error
        finally:
            viewer.renderer.end()
    _show(result, as_json=flags.json_lines)


def _show(result: TrainingResult, *, as_json: bool) -> None:
    if not as_json:
        print_path(result.output)
        return
    print_json(
        {
            "type": "trained",
            "output": str(result.output),
            "steps": result.steps,
            "measured": dict(result.measured),
        }
    )


def _list(flags: TrainFlags) -> None:
    if flags.recipe is not None:
        _list_keys(config_keys(flags.recipe), as_json=flags.json_lines)
        return
    rows = list_recipes()
    if flags.json_lines:
        for name, summary in rows:
            print_json({"type": "recipe", "name": name, "summary": summary})
        for name in shipped_configs():
            print_json({"type": "configuration", "name": name})
        return
    print_text(table(("RECIPE", ""), rows))
    if shipped_configs():
        print_text("\n" + table(("CONFIGURATION",), [(name,) for name in shipped_configs()]))


def _list_keys(keys: list[ConfigKey], *, as_json: bool) -> None:
    if as_json:
        for key in keys:
            print_json(
                {
                    "type": "key",
                    "name": key.name,
                    "kind": key.type_name,
                    "default": key.default,
                    "text": key.text,
                }
            )
        return
    print_text(table(("KEY", "DEFAULT", ""), [(key.name, key.default, key.text) for key in keys]))

"""`sdenv config`: the settings, each with where its value comes from."""

from typing import Annotated

import typer

from sdenv.cli import options
from sdenv.cli.tree import group_app


def show(profile: options.Profile = None, json_lines: options.Json = False) -> None:
    """Show every setting, its value, and where that comes from."""
    from sdenv.cli.output import print_json, print_text
    from sdenv.cli.tables import table
    from sdenv.services.preferences import without_secrets
    from sdenv.services.settings import load_settings

    rows = load_settings(profile).table()
    if json_lines:
        for row in rows:
            value = without_secrets(row.name, row.value)
            print_json({"type": "setting", "name": row.name, "value": value, "source": row.source})
        return
    print_text(
        table(("SETTING", "VALUE", "FROM"), [(row.name, row.shown() or "-", row.source) for row in rows])
    )


def set_setting(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="steps, profiles.NAME.steps, backends.NAME.url, ...")
    ],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value; a list as in TOML.")],
) -> None:
    """Write a setting into config.toml."""
    from sdenv.cli.output import print_path
    from sdenv.services.settings import set_value

    print_path(set_value(key, value))


def unset(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The setting to take out.")],
) -> None:
    """Take a setting out of config.toml."""
    from sdenv.cli.output import print_path
    from sdenv.services.settings import set_value

    print_path(set_value(key, None))


def path() -> None:
    """Print where config.toml lies."""
    from sdenv.cli.output import print_path
    from sdenv.services.settings import config_path

    print_path(config_path())


def profiles(json_lines: options.Json = False) -> None:
    """List the profiles in config.toml."""
    from sdenv.cli.output import print_json, print_text
    from sdenv.services.settings import config_path, read_config

    for name in sorted(read_config(config_path()).profiles):
        if json_lines:
            print_json({"type": "profile", "name": name})
        else:
            print_text(name)


app = group_app(
    "Show and change settings.",
    {"show": show, "set": set_setting, "unset": unset, "path": path, "profiles": profiles},
)

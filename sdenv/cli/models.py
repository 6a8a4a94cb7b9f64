"""`sdenv models`: what lies on this machine."""

from pathlib import Path

from sdenv.cli import options
from sdenv.cli.tree import group_app


def list_models(json_lines: options.Json = False) -> None:
    """List the models found on this machine."""
    from sdenv.cli.output import print_json, print_text
    from sdenv.cli.tables import table
    from sdenv.services.models import find_models
    from sdenv.services.settings import load_settings

    found = [(each, _size_bytes(each.path)) for each in find_models(load_settings().models_dirs)]
    if json_lines:
        for model, size_bytes in found:
            print_json(
                {
                    "type": "model",
                    "name": model.name,
                    "family": model.family,
                    "size_bytes": size_bytes,
                    "source": model.source,
                    "path": str(model.path),
                    "problem": model.problem,
                }
            )
        return
    rows = [
        (each.name, each.family, size_text(size_bytes), each.source, each.problem or str(each.path))
        for each, size_bytes in found
    ]
    print_text(table(("MODEL", "FAMILY", "SIZE", "FROM", "WHERE"), rows))


def _size_bytes(path: Path) -> int:
    """What a model's files take, links followed (the Hugging Face cache is made of them)."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def size_text(size_bytes: int) -> str:
    """`18.2 MB`, `5.1 GB`: powers of ten, as shops and disks count."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


app = group_app("List the models found on this machine.", {"list": list_models}, lists=True)

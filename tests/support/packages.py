"""Packages of other people, as pip would install them: modules beside a dist-info with entry points."""

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]], modules: Mapping[str, str]
) -> None:
    """Writes a distribution into a folder that is on `sys.path`.

    Args:
        folder: Stands for `site-packages`.
        name: Name of the distribution.
        entry_points: By group: names and targets.
        modules: By file name: their source.
    """
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines: list[str] = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {target}" for point, target in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    for file_name, source in modules.items():
        (folder / file_name).write_text(source, encoding="utf-8")

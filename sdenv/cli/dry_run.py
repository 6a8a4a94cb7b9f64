"""`--dry-run`: what would be made, with every decision, or why it would be refused. Loads no model."""

from typing import Final

from sdenv.cli.gather import Wanted
from sdenv.cli.output import print_json, print_text
from sdenv.core.errors import SizeNotPossible
from sdenv.services.admission import admit
from sdenv.services.decide import decided
from sdenv.services.engine import Engine

_LEFT_OPEN: Final = {"seed": "drawn when the work begins"}


def dry_run(wanted: list[Wanted], engine: Engine, *, allow_degraded: bool, as_json: bool) -> None:
    """Prints each request as it would be made.

    Raises:
        SdenvError: What the first request that cannot be made would be refused with.
    """
    status = engine.status()
    for each in wanted:
        found = engine.mismatches(each.request)
        only_size = bool(found) and all(one.error_type is SizeNotPossible for one in found)
        try:
            plan = admit(each.request, status, engine.name, allow_degraded or (each.fit and only_size))
        except SizeNotPossible as error:
            raise with_fit_hint(error) from error
        values = decided(plan.request, status)
        notes = [notice.message for notice in plan.notices]
        if as_json:
            print_json({"type": "dry-run", "backend": engine.name, "request": values, "notices": notes})
        else:
            print_text(_text(engine.name, values, notes))


def with_fit_hint(error: SizeNotPossible) -> SizeNotPossible:
    """The error with what the command line offers for it."""
    hint = error.hint or "Give that size, or --fit to have it resampled to the one you asked for."
    return SizeNotPossible(error.what, error.why, hint)


def _text(backend: str, values: dict[str, object], notes: list[str]) -> str:
    rows = {"backend": backend, **values}
    shown = {
        name: _LEFT_OPEN[name] if value is None and name in _LEFT_OPEN else value
        for name, value in rows.items()
    }
    lines = [
        f"{name:<16} {value}" for name, value in shown.items() if value not in (None, "") or name == "prompt"
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])

"""What `sdenv generate` has made goes into the history, where it can be found and made again."""

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from sdenv.core.errors import SdenvError
from sdenv.core.events import Notice, Succeeded
from sdenv.core.request import ResolvedRequest
from sdenv.services.engine import Job
from sdenv.services.files import PictureFacts

if TYPE_CHECKING:
    from sdenv.services.jobs import History

_OWN_DIALECT: Final = "cli"
_TELLING: Final = frozenset(
    {"prompt", "negative_prompt", "seed", "model", "width", "height", "steps", "count"}
)
_NEWEST: Final = 50
"""Among so many jobs of a server the one that was just done is looked for."""
_CLOCKS_S: Final = 2.0


@final
@dataclass(slots=True)
class Recorder:
    """Keeps the jobs of one command in the history.

    Attributes:
        folder: Where the history lies; None = nothing is kept.
        served: A server makes the pictures; when it keeps its jobs in the same folder, they are known there.
    """

    folder: Path | None
    served: bool = False
    _began_at: float = 0.0
    _facts: PictureFacts | None = None
    _paths: dict[int, Path] = field(default_factory=dict)

    def begin(self) -> None:
        """A job begins."""
        self._began_at, self._facts, self._paths = time.time(), None, {}

    def saved(self, facts: PictureFacts, path: Path | None) -> None:
        """A picture of it was made; `path` is where it lies, None = it went to stdout."""
        self._facts = facts
        if path is not None:
            self._paths[facts.index] = path.absolute()

    def end(self, job: Job, error: SdenvError | None) -> Notice | None:
        """The job has ended; if it made any picture it is kept.

        Args:
            job: The job.
            error: What it ended with; None = well.

        Returns:
            Why it could not be kept: that is no reason for the command to fail.
        """
        if self.folder is None or self._facts is None:
            return None
        try:
            self._record(job, self._facts, self._paths, error)
        except (SdenvError, sqlite3.Error, OSError) as fault:
            why = fault.what if isinstance(fault, SdenvError) else f"{fault}."
            return Notice("history-not-written", f"This is not kept in the history: {why}")
        return None

    def _record(
        self, job: Job, facts: PictureFacts, paths: Mapping[int, Path], error: SdenvError | None
    ) -> None:
        from sdenv.services.jobs import History

        assert self.folder is not None
        with History(self.folder) as history:
            if self.served and self._is_known(history, facts.resolved):
                return
            history.record(
                job.request,
                resolved=facts.resolved,
                backend=facts.backend,
                model_hash=facts.model_hash,
                made_with=facts.made_with,
                seconds=job.outcome.result.seconds if isinstance(job.outcome, Succeeded) else None,
                paths=paths,
                error=error,
                created_at=self._began_at,
            )

    def _is_known(self, history: "History", made: ResolvedRequest) -> bool:
        """Whether a server on this folder has kept the very same work since this command began."""
        from sdenv.services.jobs import JobQuery

        wanted = made.model_dump(mode="json", include=set(_TELLING))
        return any(
            job.dialect != _OWN_DIALECT
            and job.created_at >= self._began_at - _CLOCKS_S
            and {name: (job.resolved or {}).get(name) for name in _TELLING} == wanted
            for job in history.find(JobQuery(limit=_NEWEST)).jobs
        )

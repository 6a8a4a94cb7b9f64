"""Jobs that are not lost: a queue in SQLite before the engine, results as files, a log that can be replayed.

An accepted job is on the disk before its sender hears of it. From then on it ends done, failed with a cause,
or cancelled by somebody, whatever happens to the server in between (docs/explanation/jobs.md).
"""

from sdenv.services.jobs.history import History
from sdenv.services.jobs.jobs import Jobs
from sdenv.services.jobs.types import (
    Accepted,
    JobCounts,
    JobObserver,
    JobPage,
    JobQuery,
    LoggedEvent,
    Retention,
)

__all__ = [
    "Accepted",
    "History",
    "JobCounts",
    "JobObserver",
    "JobPage",
    "JobQuery",
    "Jobs",
    "LoggedEvent",
    "Retention",
]

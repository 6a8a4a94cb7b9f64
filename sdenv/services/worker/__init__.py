"""A backend in a child process that may crash, hang or be killed: that costs one try of one job, no more.

`SupervisedBackend` is a backend like any other. Behind it runs `python -m sdenv.services.worker`, which holds the
model, and is started again when it is lost.
"""

from sdenv.services.worker.backend import SupervisedBackend, WorkerFacts

__all__ = ["SupervisedBackend", "WorkerFacts"]

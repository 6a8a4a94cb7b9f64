"""A backend in a child process that may crash, hang or be killed: that costs one try of one job, no more.

`SupervisedBackend` is a backend like any other. Behind it runs `python -m sdenv.services.worker`, which holds
the model and is started again when it is lost. How the two sides fit together:

    SupervisedBackend -> Call <- Child (one thread a process) == pipes == Worker -> the real backend
    backend.py           call.py child.py                                worker.py

`frames.py` cuts the pipes into messages, `pipes.py` starts the process and reads its stderr, `causes.py` says
why a child was lost; `process.py` is what a child does to itself before it works, `figures.py` what it says
of its memory.
"""

from sdenv.services.worker.backend import IS_SUPPORTED, SupervisedBackend, WorkerFacts

__all__ = ["IS_SUPPORTED", "SupervisedBackend", "WorkerFacts"]

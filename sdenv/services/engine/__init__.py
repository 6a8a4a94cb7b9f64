"""The engine: one backend, a bounded queue before it, worker threads, and the jobs that many can watch.

The only folder with threads, queues and event loops. Backends block and know nothing of each other's jobs;
whoever watches a job reads its log from the start, in any thread (`Job.events`) or event loop
(`Job.aevents`).
"""

from sdenv.services.engine.engine import QUEUE_SIZE, Engine
from sdenv.services.engine.job import Job

__all__ = ["QUEUE_SIZE", "Engine", "Job"]

"""Numbers for Prometheus: how long jobs wait, what a step costs, what fails."""

from collections.abc import Mapping
from typing import Any, Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from sdenv.core.job_record import JobRecord
from sdenv.services.jobs import JobCounts

_WAIT_BUCKETS_S: Final = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_STEP_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@final
class Metrics:
    """The numbers of one server; a `JobObserver`, called from the threads that run jobs."""

    def __init__(self) -> None:
        # A second number for each, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves its type out
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry, "namespace": "sdenv"}
        self._accepted = Counter("jobs_accepted", "Jobs that were accepted.", ["dialect"], **own)
        self._ended = Counter("jobs_ended", "Jobs that have ended, by how.", ["state", "error"], **own)
        self._pictures = Counter("pictures", "Pictures that were finished.", ["dialect"], **own)
        self._wait = Histogram(
            "queue_wait_seconds", "From being accepted to being begun.", buckets=_WAIT_BUCKETS_S, **own
        )
        self._step = Histogram("step_seconds", "One denoising step.", buckets=_STEP_BUCKETS_S, **own)
        self._decode = Histogram(
            "decode_seconds",
            "From the last step of a picture to the picture.",
            buckets=_STEP_BUCKETS_S,
            **own,
        )
        self._jobs = Gauge("jobs", "Jobs that are waiting or running now.", ["state"], **own)
        self._answers = Counter(
            "http_answers", "Answers, by dialect and status.", ["dialect", "status"], **own
        )
        self._memory = Gauge(
            "device_memory_bytes", "What the backend holds of a device's memory.", ["device"], **own
        )
        ProcessCollector(registry=self._registry)

    def accepted(self, job: JobRecord) -> None:
        """Counts."""
        self._accepted.labels(job.dialect).inc()

    def started(self, job: JobRecord, queue_wait_s: float) -> None:  # noqa: ARG002 - the observer's signature
        """Keeps how long it has waited."""
        self._wait.observe(queue_wait_s)

    def stepped(self, seconds: float) -> None:
        """Keeps what a step has cost."""
        self._step.observe(seconds)

    def decoded(self, seconds: float) -> None:
        """Keeps what the decoding has cost."""
        self._decode.observe(seconds)

    def picture(self, job: JobRecord) -> None:
        """Counts."""
        self._pictures.labels(job.dialect).inc()

    def ended(self, job: JobRecord) -> None:
        """Counts, by the error's code where there is one."""
        self._ended.labels(job.state.value, job.error.code if job.error else "").inc()

    def answered(self, dialect: str, status: int) -> None:
        """Counts an answer."""
        self._answers.labels(dialect, str(status)).inc()

    def families(self) -> list[Metric]:
        """Sdenv's own numbers with what they mean, for the documentation."""
        return [each for each in self._registry.collect() if each.name.startswith("sdenv_")]

    def text(self, counts: JobCounts, memory_bytes: Mapping[str, int]) -> bytes:
        """All numbers in Prometheus's format.

        Args:
            counts: Jobs by state, as they are now.
            memory_bytes: What the backend holds of each device's memory now.
        """
        self._memory.clear()
        for device, held in memory_bytes.items():
            self._memory.labels(device).set(held)
        self._jobs.labels("queued").set(counts.queued)
        self._jobs.labels("running").set(counts.running)
        return generate_latest(self._registry)

"""Numbers for Prometheus: that they are there, and that they count what they say."""

from collections.abc import Mapping

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.servers.http.metrics import Metrics
from sdenv.services.jobs import JobCounts, JobObserver
from tests.servers.http.support import JOBS, SMALL, asked, finished


def numbers(text: str) -> dict[str, float]:
    """Every sample by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def of(client: httpx2.Client) -> dict[str, float]:
    return numbers(client.get("/metrics").text)


def test_jobs_pictures_steps_and_waits_are_counted() -> None:
    with asked() as client:
        finished(client, request={**SMALL, "count": 2})
        found = of(client)
    assert found["sdenv_jobs_accepted_total{dialect=native}"] == 1
    assert found["sdenv_jobs_ended_total{error=,state=done}"] == 1
    assert found["sdenv_pictures_total{dialect=native}"] == 2
    assert found["sdenv_queue_wait_seconds_count"] == 1
    assert found["sdenv_step_seconds_count"] >= 2 * (SMALL["steps"] - 1)
    assert found["sdenv_decode_seconds_count"] == 2
    assert found["sdenv_jobs{state=running}"] == 0
    assert found["process_resident_memory_bytes"] > 0


def test_failures_are_counted_by_their_code() -> None:
    with asked(FakeBackend(FakeSettings(fail_at_step=2))) as client:
        finished(client)
        found = of(client)
    assert found["sdenv_jobs_ended_total{error=failed,state=failed}"] == 1


def test_answers_are_counted_by_dialect_and_status() -> None:
    with asked() as client:
        client.get(f"{JOBS}/01ARZ3NDEKTSV4RRFFQ69G5FAV")
        client.post(JOBS, content=b"x")
        found = of(client)
    assert found["sdenv_http_answers_total{dialect=native,status=404}"] == 1
    assert found["sdenv_http_answers_total{dialect=native,status=422}"] == 1


class Holding(Backend):
    """Holds memory of two devices."""

    def __init__(self) -> None:
        self._fake = FakeBackend(FakeSettings())

    def probe(self) -> BackendStatus:
        return self._fake.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        return self._fake.generate(request, context)

    def memory_bytes(self) -> Mapping[str, int]:
        return {"cpu": 7, "cuda:0": 11}

    def close(self) -> None:
        pass


def test_the_memory_of_devices_is_told_where_the_backend_tells_it() -> None:
    with asked(Holding()) as client:
        found = of(client)
    assert found["sdenv_device_memory_bytes{device=cpu}"] == 7
    assert found["sdenv_device_memory_bytes{device=cuda:0}"] == 11


def test_a_backend_that_holds_nothing_any_more_is_no_longer_told_of() -> None:
    metrics = Metrics()
    assert b'device="cpu"' in metrics.text(JobCounts(), {"cpu": 7})
    assert b'device="cpu"' not in metrics.text(JobCounts(), {})


def test_it_is_an_observer_of_jobs() -> None:
    observer: JobObserver = Metrics()
    observer.ended(JobRecord("01ARZ3NDEKTSV4RRFFQ69G5FAV", JobState.DONE, {}, 0.0))

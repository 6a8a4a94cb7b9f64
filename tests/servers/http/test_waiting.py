"""A client that waits for its answer: who hangs up cancels the job, unless somebody else waits for it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from sdenv.core.errors import Cancelled, ServerStopping
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest
from sdenv.servers.http.context import Service
from sdenv.servers.http.metrics import Metrics
from sdenv.servers.http.principal import Principal
from sdenv.servers.http.settings import HttpSettings
from sdenv.servers.http.waiting import run_to_end
from sdenv.services.engine import Engine
from sdenv.services.jobs import Accepted, Jobs
from sdenv.testing.fakes import PATIENCE_S, SlowBackend
from tests.servers.http.support import SMALL


@pytest.fixture
def slow() -> SlowBackend:
    return SlowBackend()


@pytest.fixture
def service(slow: SlowBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("jobs")
    with Engine(slow, name="slow") as engine, Jobs(engine, folder) as jobs:
        yield Service(engine, jobs, HttpSettings(data_dir=folder), Metrics(), 8)
        slow.let(2 * SMALL["steps"])  # whatever has gone wrong, it ends


class Client:
    """Someone on the other end of a connection."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


def accepted(service: Service) -> Accepted:
    return service.accept(GenerationRequest(**SMALL), Principal(), dialect="a1111", durable=False)


async def begun(slow: SlowBackend) -> None:
    assert await asyncio.to_thread(slow.began.wait, PATIENCE_S)


def ended(service: Service, job: Accepted) -> JobRecord:
    return service.jobs.wait(job.job.id, PATIENCE_S)


def test_it_waits_until_the_job_is_done(service: Service, slow: SlowBackend) -> None:
    slow.let(SMALL["steps"])

    async def scenario() -> JobRecord:
        return await run_to_end(service, Client().request, accepted(service))

    assert asyncio.run(scenario()).state is JobState.DONE


def test_a_client_that_hangs_up_cancels_its_job(service: Service, slow: SlowBackend) -> None:
    job = accepted(service)

    async def scenario() -> None:
        client = Client()
        waiting = asyncio.create_task(run_to_end(service, client.request, job))
        await begun(slow)
        client.gone.set()
        with pytest.raises(Cancelled):
            await waiting

    asyncio.run(scenario())
    slow.let(1)
    assert ended(service, job).state is JobState.CANCELLED


def test_it_is_not_cancelled_while_somebody_else_waits_for_it(service: Service, slow: SlowBackend) -> None:
    job = accepted(service)

    async def scenario() -> JobRecord:
        first, second = Client(), Client()
        leaving = asyncio.create_task(run_to_end(service, first.request, job))
        staying = asyncio.create_task(run_to_end(service, second.request, job))
        await begun(slow)
        first.gone.set()
        with pytest.raises(Cancelled):
            await leaving
        slow.let(SMALL["steps"])
        return await staying

    assert asyncio.run(scenario()).state is JobState.DONE


def test_when_the_server_ends_the_client_is_told_to_come_again(service: Service, slow: SlowBackend) -> None:
    job = accepted(service)

    async def scenario() -> None:
        waiting = asyncio.create_task(run_to_end(service, Client().request, job))
        await begun(slow)
        service.lifetime.closing.set()
        with pytest.raises(ServerStopping):
            await waiting

    asyncio.run(scenario())
    assert service.jobs.get(job.job.id).state is JobState.RUNNING
    slow.let(SMALL["steps"])
    ended(service, job)


def test_nobody_is_counted_as_waiting_afterwards(service: Service, slow: SlowBackend) -> None:
    job = accepted(service)
    slow.let(SMALL["steps"])
    asyncio.run(_waited(service, job))
    assert service.watchers.count(job.job.id) == 0


async def _waited(service: Service, job: Accepted) -> None:
    await run_to_end(service, Client().request, job)

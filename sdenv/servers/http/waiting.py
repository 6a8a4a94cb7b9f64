"""Waiting for a job on behalf of a client that waits for the answer to its request."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import Request

from sdenv.core.errors import Cancelled, SdenvError, ServerStopping
from sdenv.core.job_record import JobRecord
from sdenv.servers.http.context import Service

if TYPE_CHECKING:
    from sdenv.services.jobs import Accepted


async def run_to_end(service: Service, request: Request, accepted: "Accepted") -> JobRecord:
    """Waits until a job has ended. A client that hangs up cancels it, unless somebody else waits for it.

    Args:
        service: What the route works with.
        request: The request that waits; its body is read.
        accepted: The job.

    Raises:
        Cancelled: The client is gone; nobody reads the answer.
        ServerStopping: The server ends before the job does.
    """
    job_id = accepted.job.id
    with service.watchers.waiting(job_id):
        first = await first_of(
            until_ended(service, job_id), hung_up(request.receive), service.lifetime.closing.wait()
        )
    if first == 0:
        return await asyncio.to_thread(service.jobs.get, job_id)
    if service.lifetime.closing.is_set():
        raise ServerStopping("The server ends before the picture is made.", hint="Ask again in a moment.")
    if not service.watchers.count(job_id):
        with suppress(SdenvError):  # it has ended and was removed in this very moment
            await asyncio.to_thread(service.jobs.cancel, job_id)
    raise Cancelled("The client has hung up.")


async def first_of(*works: Coroutine[Any, Any, object]) -> int:
    """Runs several things at once until one of them is done, and ends the others.

    Returns:
        Which one was done first; of several the first in the list.

    Raises:
        Exception: What that one has raised.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(index for index, task in enumerate(tasks) if task.done())
        tasks[first].result()
        return first
    finally:
        await ended(*tasks)


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks, waits until they are over, and forgets how they ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def hung_up(receive: Callable[[], Awaitable[Any]]) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def until_ended(service: Service, job_id: str) -> None:
    """Returns when a job has ended, whoever asked for it.

    Raises:
        UnknownJob: There is no such job.
    """
    events = service.jobs.watch(job_id)
    try:
        async for _ in events:
            pass
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()

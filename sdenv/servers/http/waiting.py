"""Waiting for a job on behalf of a client that waits for the answer to its request."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
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
        ended = await while_connected(service, request, _ended(service, job_id))
    if ended:
        return await asyncio.to_thread(service.jobs.get, job_id)
    if service.lifetime.closing.is_set():
        raise ServerStopping("The server ends before the picture is made.", hint="Ask again in a moment.")
    if not service.watchers.count(job_id):
        with suppress(SdenvError):  # it has ended and was removed in this very moment
            await asyncio.to_thread(service.jobs.cancel, job_id)
    raise Cancelled("The client has hung up.")


async def while_connected(service: Service, request: Request, work: Coroutine[Any, Any, None]) -> bool:
    """Does work until it is done, the client has hung up, or the server ends.

    Returns:
        Whether the work was done.
    """
    working = asyncio.create_task(work)
    others = (
        asyncio.create_task(hung_up(request.receive)),
        asyncio.create_task(service.lifetime.closing.wait()),
    )
    try:
        await asyncio.wait((working, *others), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        for task in (working, *others):
            task.cancel()
        await asyncio.wait((working, *others))


async def hung_up(receive: Callable[[], Awaitable[Any]]) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(service: Service, job_id: str) -> None:
    async for _ in service.jobs.watch(job_id):
        pass

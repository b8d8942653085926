"""Work that nobody waits for any more."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from litestar import Request
from litestar.exceptions import HTTPException

from domain.errors import AgentError

T = TypeVar("T")


async def while_connected(request: Request[Any, Any, Any], work: Callable[[], Awaitable[T]]) -> T:
    """What ``work`` gives; it is cancelled when the client goes away.

    The request's body must have been read.

    Raises:
        AgentError: what ``work`` raises.
        HTTPException: the client has gone; nobody sees the answer.
    """
    found: list[T] = []
    faults: list[AgentError] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            found.append(await work())
        except AgentError as fault:
            # Past the group, which would wrap it.
            faults.append(fault)
        group.cancel_scope.cancel()
    if faults:
        raise faults[0]
    if not found:
        raise HTTPException(status_code=408, detail="The client went away.")
    return found[0]

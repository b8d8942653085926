"""Runs many pieces of work side by side, none of which must keep the others from their end."""

from collections.abc import Awaitable, Callable, Iterable

import anyio

from domain.errors import AgentError

Piece = Callable[[], Awaitable[None]]


async def side_by_side(pieces: Iterable[Piece], *, at_once: int) -> None:
    """Runs all pieces to their end.

    Args:
        pieces: the work.
        at_once: how many run at a time.

    Raises:
        AgentError: the first that a piece failed with, once all have ended.
    """
    faults: list[AgentError] = []
    slots = anyio.Semaphore(at_once)

    async def run(piece: Piece) -> None:
        async with slots:
            try:
                await piece()
            except AgentError as fault:
                faults.append(fault)

    async with anyio.create_task_group() as group:
        for piece in pieces:
            group.start_soon(run, piece)
    if faults:
        raise faults[0]

"""Commands that run in containers, so that none runs on that nobody waits for any more."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio

from domain.container_exec import ExecOrder, OpenCommand
from domain.errors import (
    AgentError,
    CommandNotStarted,
    ResourceConflict,
    ResourceNotFound,
    StorageFull,
    StoreUnavailable,
)
from domain.ports.container_exec import ContainerExec, RunningCommand
from domain.ports.log import Log
from domain.ports.store import OpenCommandRecords
from domain.usecases.side_by_side import side_by_side

AT_ONCE = 8
"""How many are ended side by side."""

TRIES = 100
"""How often it is tried to end a command; in some containers none can be ended."""


class OpenCommands:
    """Writes each command down before it begins, and ends those that were left to themselves.

    The Engine ends none with the connection, so a command outlives an agent that is killed, and one
    whose Engine is away when the command is to be ended.
    """

    def __init__(self, *, records: OpenCommandRecords, commands: ContainerExec, log: Log) -> None:
        self._records = records
        self._commands = commands
        self._log = log
        self._at_work: set[str] = set()
        self._tries: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self, container_id: str, order: ExecOrder) -> AsyncIterator[RunningCommand]:
        """A command that runs; leaving the block ends it, and if it cannot, ``clear`` does later.

        Raises:
            AgentError: as the port's ``start`` does.
        """
        begun: list[OpenCommand] = []

        async def begins(command: OpenCommand) -> None:
            begun.append(command)
            # Before it is written down, so that nobody takes it for one that was left.
            self._at_work.add(command.mark)
            await self._write_down(command)

        running: RunningCommand | None = None
        never_began = False
        try:
            async with self._commands.start(container_id, order, begins) as running:
                yield running
        except (CommandNotStarted, ResourceConflict, ResourceNotFound):
            never_began = running is None
            raise
        finally:
            for command in begun:
                if never_began or (running is not None and running.is_over):
                    with anyio.CancelScope(shield=True), suppress(AgentError):
                        await self._records.remove(command.mark)
                self._at_work.discard(command.mark)

    async def _write_down(self, command: OpenCommand) -> None:
        try:
            await self._records.put(command)
        except (StoreUnavailable, StorageFull) as fault:
            # Whoever makes room on a host may need the command for that.
            self._log.warning(
                "command in a container is not written down", reason=fault.detail, mark=command.mark
            )

    async def clear(self) -> None:
        """Ends what was left running, in this life of the agent or an earlier one.

        What cannot be ended now is left to the next time.
        """
        try:
            left = [o for o in await self._records.list() if o.mark not in self._at_work]
            await side_by_side([partial(self._end, command) for command in left], at_once=AT_ONCE)
        except AgentError as fault:
            self._log.info("left commands not looked at", reason=fault.detail)

    async def _end(self, command: OpenCommand) -> None:
        # It may have ended since they were listed; then its record has gone.
        if await self._records.get(command.mark) is None:
            return
        self._tries[command.mark] += 1
        if await self._commands.end(command):
            self._log.warning("left command has ended", container=command.container)
        elif self._tries[command.mark] < TRIES:
            return
        else:
            self._log.error("left command cannot be ended", container=command.container)
        await self._records.remove(command.mark)
        del self._tries[command.mark]

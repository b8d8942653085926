"""Brings the host in order when the agent starts: what was cut off, and what an earlier agent left.

Intents were written down before they were acted on, so what is not ended can be undone or finished.
What runs is left alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import anyio

from domain.errors import (
    AgentError,
    EngineRefused,
    EnvironmentNotFound,
    StorageFailed,
    StorageFull,
)
from domain.names import EnvironmentName, OperationId
from domain.operations import BY_AGENT, Operation, OperationKind, OperationState
from domain.ports.clock import Clock
from domain.ports.compose import Compose
from domain.ports.credentials import KeptCredentials
from domain.ports.log import Log
from domain.ports.store import OperationRecords
from domain.ports.workspaces import Workspaces
from domain.usecases.clearing import Clearing
from domain.usecases.consistency import Consistency
from domain.usecases.inventory import InventoryWatch
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.mending import Mending
from domain.usecases.open_commands import OpenCommands
from domain.usecases.open_orders import OpenOrders
from domain.usecases.open_restores import OpenRestores
from domain.usecases.operations import Operations
from domain.usecases.side_by_side import side_by_side

LONGEST_PAUSE_SECONDS = 15.0

AT_ONCE = 8
"""How many environments are brought in order side by side."""

MEND_SECONDS = 30.0
"""How long bringing one environment in order may keep the agent closed; then it is left to the
looks that come, so that one container that is stuck does not keep the whole host waiting."""

_NEWEST = 100
"""How many operations of one environment are looked through for one that began later."""


class Recovery:
    """Runs once at each start, as soon as Engine and store answer."""

    def __init__(
        self,
        *,
        records: OperationRecords,
        workspaces: Workspaces,
        compose: Compose,
        inventory: InventoryWatch,
        operations: Operations,
        mending: Mending,
        consistency: Consistency,
        clearing: Clearing,
        lifecycle: Lifecycle,
        orders: OpenOrders,
        restores: OpenRestores,
        credentials: KeptCredentials,
        commands: OpenCommands,
        clock: Clock,
        log: Log,
    ) -> None:
        self._records = records
        self._workspaces = workspaces
        self._compose = compose
        self._inventory = inventory
        self._operations = operations
        self._mending = mending
        self._consistency = consistency
        self._clearing = clearing
        self._lifecycle = lifecycle
        self._orders = orders
        self._restores = restores
        self._credentials = credentials
        self._commands = commands
        self._clock = clock
        self._log = log
        self._taken_up: set[OperationId] = set()
        self.trouble: str = ""
        """Why it has not come to its end; empty when it has."""

    async def run(self) -> None:
        """Tries until the host is in order, then lets operations in."""
        pause, began = 1.0, self._clock.monotonic()
        self.trouble = "The agent is putting its environments in order."
        while True:
            try:
                await self._once()
            except AgentError as fault:
                if self.trouble != fault.detail:
                    self._log.warning("recovery waits", reason=fault.detail)
                self.trouble = fault.detail
                # Spread, so that the agents of a fleet do not all come back in one moment.
                await self._clock.sleep(pause * (0.5 + 0.5 * self._clock.chance()))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                self.trouble = ""
                seconds = round(self._clock.monotonic() - began, 1)
                self._log.info("recovery done", seconds=seconds)
                break
        # No operation needs to wait for that.
        await self._commands.clear()
        await self._restores.clear()

    async def _once(self) -> None:
        await self._inventory.refresh()
        cut_off = await self._cut_off()
        at_work = any(operation.state is OperationState.RUNNING for operation in cut_off)
        if strays := await self._compose.end_strays(cut_off=at_work):
            self._log.warning("commands of a killed agent ended", processes=strays)
        if erasers := await self._clearing.end_left_over():
            self._log.warning("erasers of a killed agent ended", containers=erasers)
        await self._orders.clear()
        await self._tidy()
        for operation in cut_off:
            self._tell(operation)
        await self._mend([o for o in cut_off if not o.to_be_finished])
        self._operations.resume()
        for operation in cut_off:
            if operation.to_be_finished:
                await self._resume(operation)
        # What was undone has changed the picture.
        await self._consistency.look(seconds=MEND_SECONDS)
        self._operations.open()

    async def _cut_off(self) -> Sequence[Operation]:
        """Operations of earlier agents that have not ended; this one's own go on beside this."""
        unended = await self._records.unended()
        return [o for o in unended if self._operations.live(o.id) is None]

    def _tell(self, operation: Operation) -> None:
        self._log.warning(
            "operation was interrupted",
            operation=operation.id,
            kind=operation.kind.value,
            subject=operation.subject,
        )

    async def _tidy(self) -> None:
        """Removes files if it can: what stays takes up room, but must not keep the agent closed."""
        for tidy in (partial(self._clearing.run, self._workspaces.tidy), self._credentials.tidy):
            try:
                await tidy()
            except (StorageFailed, StorageFull, EngineRefused) as fault:
                self._log.error("old files not removed", reason=fault.detail)

    async def _mend(self, operations: Sequence[Operation]) -> None:
        """Undoes what cannot be finished: of one environment in order, of others side by side."""
        by_subject: dict[str, list[Operation]] = {}
        for operation in operations:
            by_subject.setdefault(operation.subject, []).append(operation)
        pieces = [partial(self._mend_all, of_one) for of_one in by_subject.values()]
        await side_by_side(pieces, at_once=AT_ONCE)

    async def _mend_all(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            await self._mending.close(operation, await self._mended(operation))

    async def _mended(self, operation: Operation) -> OperationState:
        """How an operation ended; one that cannot be undone now is left to later looks.

        Raises:
            AgentError: the Engine or the store is away.
        """
        why = f"it took longer than {MEND_SECONDS:g} s"
        try:
            with anyio.move_on_after(MEND_SECONDS):
                return await self._mending.cut_off(operation)
        except AgentError as fault:
            await self._inventory.refresh()
            why = fault.detail
        self._log.error(
            "operation not undone, will be later",
            operation=operation.id,
            subject=operation.subject,
            reason=why,
        )
        return OperationState.INTERRUPTED

    async def _resume(self, operation: Operation) -> None:
        """Takes up an operation anew; its own record ends when the new one's is written."""
        finish: Mapping[OperationKind, Callable[[EnvironmentName], Awaitable[object]]] = {
            OperationKind.DELETE: partial(self._lifecycle.delete, cut_off=True, asked=BY_AGENT),
            OperationKind.START: partial(self._lifecycle.start, asked=BY_AGENT),
            OperationKind.STOP: partial(self._lifecycle.stop, asked=BY_AGENT),
            OperationKind.RESTART: partial(self._lifecycle.restart, asked=BY_AGENT),
            OperationKind.REBUILD: partial(self._lifecycle.rebuild, asked=BY_AGENT),
            OperationKind.RESET: partial(self._lifecycle.reset, asked=BY_AGENT),
        }
        state = OperationState.INTERRUPTED
        try:
            if operation.id not in self._taken_up and not await self._is_over(operation):
                await finish[operation.kind](operation.target)
        except EnvironmentNotFound:
            if operation.kind is OperationKind.DELETE and operation.started_at is not None:
                # All was removed, and the agent cut off before it could say so.
                state = OperationState.SUCCEEDED
            self._log.debug(
                "nothing left to resume", operation=operation.id, kind=operation.kind.value
            )
        # Not once more if all of this is tried again.
        self._taken_up.add(operation.id)
        await self._mending.close(operation, state)

    async def _is_over(self, operation: Operation) -> bool:
        """Whether a later one of its environment had begun, for which this must have ended.

        Its end could not be written down, and what came after it must not be undone by it.
        """
        newest = await self._records.latest(operation.subject, _NEWEST)
        return any(o.number > operation.number and o.started_at is not None for o in newest)

"""Brings the host in order when the agent starts: what was cut off, and what an earlier agent left.

Intents were written down before they were acted on, so what is not ended can be undone or finished.
What runs is left alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from domain.containers import Inventory
from domain.environments import Environment, EnvironmentState, observed_state
from domain.errors import (
    AgentError,
    EngineRefused,
    EnvironmentNotFound,
    OperationInterrupted,
    StorageFailed,
)
from domain.names import EnvironmentName
from domain.operations import BY_AGENT, Operation, OperationKind, OperationState
from domain.ports.clock import Clock
from domain.ports.compose import Compose
from domain.ports.log import Log
from domain.ports.store import Store
from domain.ports.workspaces import Workspaces
from domain.usecases.builds import Builds
from domain.usecases.clearing import Clearing
from domain.usecases.inventory import InventoryWatch
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.operations import Operations
from domain.usecases.undo import Undo

LONGEST_PAUSE_SECONDS = 15.0


class Recovery:
    """Runs once at each start, as soon as Engine and store answer."""

    def __init__(
        self,
        *,
        store: Store,
        workspaces: Workspaces,
        compose: Compose,
        inventory: InventoryWatch,
        operations: Operations,
        undo: Undo,
        builds: Builds,
        clearing: Clearing,
        lifecycle: Lifecycle,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._compose = compose
        self._inventory = inventory
        self._operations = operations
        self._undo = undo
        self._builds = builds
        self._clearing = clearing
        self._lifecycle = lifecycle
        self._clock = clock
        self._log = log
        self.trouble: str = ""
        """Why it has not come to its end; empty when it has."""

    async def run(self) -> None:
        """Tries until the host is in order, then lets operations in."""
        pause = 1.0
        self.trouble = "The agent is putting its environments in order."
        while True:
            try:
                await self._once()
            except AgentError as fault:
                if self.trouble != fault.detail:
                    self._log.warning("recovery waits", reason=fault.detail)
                self.trouble = fault.detail
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                self.trouble = ""
                return

    async def _once(self) -> None:
        picture = await self._inventory.refresh()
        if strays := await self._compose.end_strays():
            self._log.warning("commands of a killed agent ended", processes=strays)
        await self._clear("old files not removed", self._workspaces.tidy)
        again = await self._mend()
        await self._discard_orphans()
        await self._take_over(picture)
        # What was undone has changed the picture.
        await self._inventory.refresh()
        await self._look_again()
        self._operations.open()
        for kind, name in again:
            await self._resume(kind, name)

    async def _mend(self) -> list[tuple[OperationKind, EnvironmentName]]:
        """Undoes what cannot be finished; gives what can."""
        again: list[tuple[OperationKind, EnvironmentName]] = []
        for operation in await self._store.operations.unended():
            self._log.warning(
                "operation was interrupted",
                operation=operation.id,
                kind=operation.kind.value,
                subject=operation.subject,
            )
            if operation.kind is OperationKind.DEPLOY:
                await self._mend_deploy(operation)
            elif operation.kind is OperationKind.BUILD:
                await self._builds.discard(operation)
            elif _to_be_finished(operation):
                again.append((operation.kind, operation.target))
            await self._close(operation)
        for record in await self._store.environments.list():
            await self._mend_left_over(record)
            wanted = (OperationKind.DELETE, record.name)
            if record.state is EnvironmentState.DELETING and wanted not in again:
                again.append(wanted)
        return again

    async def _mend_left_over(self, record: Environment) -> None:
        """Undoes a deploy that ended, but could not be undone then."""
        if record.state is EnvironmentState.DEPLOYING and record.operation is not None:
            operation = await self._store.operations.get(record.operation)
            if operation is not None and operation.state.ended:
                await self._undo.deploy(operation, operation.reason, self._log_line)

    async def _mend_deploy(self, operation: Operation) -> None:
        record = await self._store.environments.get(operation.target)
        if record is not None and record.operation == operation.id:
            if record.state is EnvironmentState.DEPLOYING:
                await self._undo.deploy(operation, _INTERRUPTED, self._log_line)
            else:
                await self._clear(
                    "earlier environment not cleared away",
                    partial(self._workspaces.commit, operation.id),
                )

    async def _close(self, operation: Operation) -> None:
        fault = OperationInterrupted(_INTERRUPTED)
        await self._store.operations.put(
            operation.interrupted(at=self._clock.now(), error=fault.code, reason=fault.detail)
        )

    def _log_line(self, line: str) -> None:
        self._log.debug("recovery output", line=line)

    async def _discard_orphans(self) -> None:
        """Clears what was staged or put aside by operations that are long over."""
        for operation in await self._workspaces.unfinished():
            self._log.warning("files of an old operation removed", operation=operation)
            await self._clear(
                "files of an old operation not removed",
                partial(self._workspaces.commit, operation),
            )

    async def _clear(self, otherwise: str, removal: Callable[[], Awaitable[None]]) -> None:
        """Removes files if it can: what stays takes up room, but must not keep the agent closed."""
        try:
            await self._clearing.run(removal)
        except (StorageFailed, EngineRefused) as fault:
            self._log.error(otherwise, reason=fault.detail)

    async def _take_over(self, picture: Inventory) -> None:
        """Adopts what an earlier agent deployed: a folder, and its Compose project running."""
        for project in await self._workspaces.projects():
            containers = picture.of_project(project.name)
            if containers and await self._store.environments.get(project.name) is None:
                now = self._clock.now()
                state = observed_state(containers)
                await self._store.environments.put(
                    Environment(
                        name=project.name, state=state, created_at=now, updated_at=now, adopted=True
                    )
                )
                self._log.info(
                    "environment taken over", environment=project.name, state=state.value
                )

    async def _look_again(self) -> None:
        """Writes down what has changed while the agent was away."""
        for record in await self._store.environments.list():
            settled = {EnvironmentState.DEPLOYING, EnvironmentState.DELETING}
            if record.deployed and record.state not in settled:
                state = observed_state(self._inventory.picture.of_project(record.name))
                if state is not record.state:
                    changed = record.becoming(state, at=self._clock.now())
                    await self._store.environments.put(changed)

    async def _resume(self, kind: OperationKind, name: EnvironmentName) -> None:
        finish: Mapping[OperationKind, Callable[[EnvironmentName], Awaitable[object]]] = {
            OperationKind.DELETE: partial(self._lifecycle.delete, cut_off=True, asked=BY_AGENT),
            OperationKind.START: partial(self._lifecycle.start, asked=BY_AGENT),
            OperationKind.STOP: partial(self._lifecycle.stop, asked=BY_AGENT),
            OperationKind.RESTART: partial(self._lifecycle.restart, asked=BY_AGENT),
            OperationKind.REBUILD: partial(self._lifecycle.rebuild, asked=BY_AGENT),
            OperationKind.RESET: partial(self._lifecycle.reset, asked=BY_AGENT),
        }
        try:
            await finish[kind](name)
        except EnvironmentNotFound:
            self._log.debug("nothing left to resume", environment=name, kind=kind.value)


def _to_be_finished(operation: Operation) -> bool:
    # A change that waited in line has changed nothing; a removal was meant all the same.
    return operation.kind is OperationKind.DELETE or operation.state is OperationState.RUNNING


_INTERRUPTED = "The agent was stopped before this was done."

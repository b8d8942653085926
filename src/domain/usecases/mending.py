"""Brings in order what an operation left that was cut off, or that could not undo what it did."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec

from domain.environments import Environment, EnvironmentState
from domain.errors import OperationInterrupted
from domain.names import EnvironmentName
from domain.operations import Operation, OperationKind, OperationState
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Store
from domain.ports.workspaces import Workspaces
from domain.usecases.builds import Builds
from domain.usecases.clearing import Clearing
from domain.usecases.inventory import InventoryWatch
from domain.usecases.undo import Undo

INTERRUPTED = "The agent was stopped before this was done."

_UNKNOWN = "It was being deployed, and the record of that operation is gone."


class Mending:
    """Undoes deploys and builds that came to no end; everything here may be repeated."""

    def __init__(
        self,
        *,
        store: Store,
        workspaces: Workspaces,
        resources: ProjectResources,
        inventory: InventoryWatch,
        undo: Undo,
        builds: Builds,
        clearing: Clearing,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._resources = resources
        self._inventory = inventory
        self._undo = undo
        self._builds = builds
        self._clearing = clearing
        self._clock = clock
        self._log = log

    async def cut_off(self, operation: Operation) -> OperationState:
        """Undoes what an operation began that was cut off; how it ended after all.

        Raises:
            AgentError: something could not be undone.
        """
        if operation.kind is OperationKind.DEPLOY:
            return await self._deploy(operation)
        if operation.kind is OperationKind.BUILD:
            await self._builds.discard(operation)
        return OperationState.INTERRUPTED

    async def _deploy(self, operation: Operation) -> OperationState:
        record = await self._store.environments.get(operation.target)
        if record is None or record.operation != operation.id:
            return OperationState.INTERRUPTED
        if record.state is EnvironmentState.DEPLOYING:
            await self._undo.deploy(operation, INTERRUPTED, self._log_line)
            return OperationState.INTERRUPTED
        if stood(record):
            await self._undo.forgo(operation)
            return OperationState.SUCCEEDED
        await self._clearing.run(partial(self._workspaces.commit, operation.id))
        return OperationState.INTERRUPTED

    async def close(self, operation: Operation, state: OperationState) -> None:
        """Writes down how an operation ended that nobody can ask any more."""
        now = self._clock.now()
        if state is OperationState.SUCCEEDED:
            ended = msgspec.structs.replace(
                operation, state=state, ended_at=now, error="", reason="", left_open=False
            )
        else:
            ended = operation.interrupted(
                at=now, error=OperationInterrupted.code, reason=INTERRUPTED
            )
        await self._store.operations.put(ended)

    async def left_over(self, name: EnvironmentName) -> bool:
        """Undoes a deploy that ended, but could not be undone then; whether there was one.

        Raises:
            AgentError: it still cannot be.
        """
        record = await self._store.environments.get(name)
        if record is None or record.state is not EnvironmentState.DEPLOYING:
            return False
        operation = await self._store.operations.get(record.operation) if record.operation else None
        if operation is None:
            await self._settle(record)
        else:
            await self._undo.deploy(operation, operation.reason or INTERRUPTED, self._log_line)
        return True

    async def _settle(self, record: Environment) -> None:
        """Lets what stands count, as nobody knows any more what it replaced."""
        containers = (await self._inventory.refresh()).of_project(record.name)
        if containers:
            state, now = record.observed(containers), self._clock.now()
            await self._store.environments.put(_settled(record, state, now))
        else:
            await self.sweep(record.name)
            await self._store.environments.put(record.failed(at=self._clock.now(), reason=_UNKNOWN))

    async def finish_replacing(self, name: EnvironmentName) -> Sequence[str]:
        """Brings containers in order that were being made anew when that was cut off; their names.

        Raises:
            AgentError: they cannot be.
        """
        return await self._resources.finish_replacing(name)

    async def sweep(self, name: EnvironmentName) -> None:
        """Removes what stands of an environment whose record says that nothing does.

        Raises:
            AgentError: something stays.
        """
        await self._resources.sweep(name)
        project = await self._workspaces.project(name)
        if project is None or project.model is not None:
            # A folder without a model is an earlier agent's, which nobody asked to be removed.
            await self._clearing.run(partial(self._workspaces.remove, name))

    def _log_line(self, line: str) -> None:
        self._log.debug("recovery output", line=line)


def stood(record: Environment) -> bool:
    """Whether the deploy that a record names came to its end before its own record could tell."""
    return record.deployed and not record.last_error


def _settled(record: Environment, state: EnvironmentState, now: datetime) -> Environment:
    return msgspec.structs.replace(
        record, state=state, updated_at=now, reason=_UNKNOWN, last_error=_UNKNOWN
    )

"""Writes into the records what the containers show."""

from domain.environments import Environment
from domain.names import EnvironmentName
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Environments
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations


class States:
    """Follows the picture of the containers; reads the records only when it has changed."""

    def __init__(
        self,
        *,
        environments: Environments,
        operations: Operations,
        inventory: InventoryWatch,
        clock: Clock,
        log: Log,
    ) -> None:
        self._environments = environments
        self._operations = operations
        self._inventory = inventory
        self._clock = clock
        self._log = log
        self._followed: object = None

    async def follow(self) -> None:
        """Brings the records' states in line with the picture, but of what changes just now.

        Raises:
            StoreUnavailable: the records cannot be had.
        """
        picture = self._inventory.picture
        if not picture.engine_up:
            return
        shown = [(c.id, c.project, c.running, c.well) for c in picture.containers]
        if shown == self._followed:
            return
        records = await self._environments.list()
        noted = [await self._note(record) for record in records]
        # What was left out because it was being changed is looked at again, though it may look the
        # same by then: what was created and does not run yet, like what has run and does no more.
        self._followed = shown if all(noted) else None

    async def _note(self, record: Environment) -> bool:
        """Whether the record tells what the picture shows, and need not be looked at again."""
        if not record.settled:
            return self._operations.under_way(record.name) is None
        if self._observed(record) is record.state:
            return True
        async with self._operations.alone(record.name) as alone:
            if alone:
                await self._write(record.name)
            return alone

    def _observed(self, record: Environment) -> object:
        return record.observed(self._inventory.picture.of_project(record.name))

    async def _write(self, name: EnvironmentName) -> None:
        told: list[Environment] = []

        def noted(record: Environment) -> Environment:
            state = record.observed(self._inventory.picture.of_project(name))
            if not record.settled or state is record.state:
                return record
            told.append(record)
            return record.becoming(state, at=self._clock.now())

        changed = await self._environments.update(name, noted)
        if told and changed is not None:
            self._log.info(
                "environment changed",
                environment=name,
                was=told[-1].state.value,
                state=changed.state.value,
            )

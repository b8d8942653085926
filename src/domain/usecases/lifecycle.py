"""Changes to environments that stand: restart and delete."""

import anyio

from domain.environments import Environment, EnvironmentState, observed_state
from domain.errors import (
    AgentError,
    BundleRefused,
    EnvironmentNotFound,
    OperationCancelled,
    StepFailed,
)
from domain.names import EnvironmentName
from domain.operations import OperationKind, Replacement, Step
from domain.ports.clock import Clock
from domain.ports.compose import Compose
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments
from domain.ports.workspaces import Workspaces
from domain.usecases.clearing import Clearing
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations, Run, Ticket
from domain.usecases.undo import Undo

DELETE_SECONDS = 600.0
"""Limit of a removal; the next start, or the next request, takes up what it leaves."""


class Lifecycle:
    """Restarts and removes environments.

    Args:
        restart_seconds: limit of a whole restart.
        builds: how many rebuilds may run at once; apart from those of launches, so that a restart
            never waits behind them.
    """

    def __init__(
        self,
        *,
        environments: Environments,
        workspaces: Workspaces,
        compose: Compose,
        resources: ProjectResources,
        operations: Operations,
        inventory: InventoryWatch,
        undo: Undo,
        clearing: Clearing,
        clock: Clock,
        log: Log,
        restart_seconds: float,
        builds: int,
    ) -> None:
        self._environments = environments
        self._workspaces = workspaces
        self._compose = compose
        self._resources = resources
        self._operations = operations
        self._inventory = inventory
        self._undo = undo
        self._clearing = clearing
        self._clock = clock
        self._log = log
        self._restart_seconds = restart_seconds
        self._build_slots = anyio.Semaphore(builds)

    async def restart(self, name: EnvironmentName) -> Ticket:
        """Takes a restart: images are built anew, then all containers recreated.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EngineUnavailable: nothing can be restarted at present.
        """
        await self._require(name)
        await self._inventory.require_engine()

        async def work(run: Run) -> None:
            await self._restart(run, name)

        return await self._operations.submit(
            OperationKind.RESTART, name, work, seconds=self._restart_seconds
        )

    async def delete(self, name: EnvironmentName, *, cut_off: bool = False) -> Ticket:
        """Takes a removal, which displaces launches and restarts of the environment.

        A removal that is under way already is joined.

        Args:
            name: the environment.
            cut_off: what it was doing was cut off, so the Engine may still be at it.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
        """
        if self._operations.under_way(name) is None:
            await self._require_or_forget(name)
        # Looked at after the last wait, so that of two who ask at once the second joins the first.
        under_way = self._operations.under_way(name)
        if under_way is not None and under_way.operation.kind is OperationKind.DELETE:
            return under_way

        async def work(run: Run) -> None:
            await self._delete(run, name, cut_off=cut_off or under_way is not None)

        self._operations.displace(
            name,
            {OperationKind.DEPLOY, OperationKind.RESTART},
            OperationCancelled(f"Environment {name!r} was deleted before this was done."),
        )
        return await self._operations.submit(
            OperationKind.DELETE, name, work, seconds=DELETE_SECONDS
        )

    async def _require(self, name: EnvironmentName) -> None:
        if self._operations.under_way(name) is None:
            await self._standing(name)

    async def _require_or_forget(self, name: EnvironmentName) -> None:
        """Takes the record of a failed launch away, which has left nothing else to remove."""
        try:
            await self._standing(name)
        except EnvironmentNotFound:
            await self._environments.remove(name)
            raise

    async def _standing(self, name: EnvironmentName) -> Environment:
        record = await self._environments.get(name)
        if record is None or not record.deployed:
            raise EnvironmentNotFound(name)
        return record

    async def _restart(self, run: Run, name: EnvironmentName) -> None:
        await self._standing(name)
        await run.step(Step.CHECK)
        project = await self._workspaces.project(name)
        if project is None:
            raise BundleRefused(
                f"The Compose file of environment {name!r} is gone.", hint="Launch it again."
            )
        model = await self._compose.resolve(project)
        before = await self._resources.images(name)
        if model.builds:
            await run.step(Step.BUILD)
            async with self._build_slots:
                await self._compose.build(project, run.line)
        await run.step(Step.START)
        try:
            await self._compose.up(project, run.line)
        finally:
            with anyio.CancelScope(shield=True):
                await self._note_state(name)
        for image in before:
            await self._resources.remove_image(image.id)

    async def _note_state(self, name: EnvironmentName) -> None:
        """Writes down what the containers show."""
        try:
            picture = await self._inventory.refresh()
        except AgentError:
            return
        record = await self._environments.get(name)
        state = observed_state(picture.of_project(name))
        if record is not None and record.state is not state:
            await self._environments.put(record.becoming(state, at=self._clock.now()))

    async def _delete(self, run: Run, name: EnvironmentName, *, cut_off: bool) -> None:
        record = await self._environments.get(name)
        if record is None:
            raise EnvironmentNotFound(name)
        now = self._clock.now()
        await self._environments.put(
            record.becoming(EnvironmentState.DELETING, at=now, operation=run.id)
        )
        await run.step(Step.REMOVE)
        # Once begun, a removal is finished: half an environment is of no use to anybody.
        await self._remove(name, run, cut_off=cut_off)

    async def _remove(self, name: EnvironmentName, run: Run, *, cut_off: bool) -> None:
        """Takes an environment from the host: containers, networks, volumes, images, files, record.

        May be repeated.

        Raises:
            AgentError: something stays; the record does too, so that it can be tried again.
        """
        await self._stop(name, run)
        await self._resources.sweep(name, cut_off=cut_off)
        await self._undo.forget_images(name, keep=Replacement())
        await self._clearing.run(lambda: self._workspaces.remove(name))
        await self._environments.remove(name)
        try:
            await self._inventory.refresh()
        except AgentError as fault:
            self._log.debug("inventory not refreshed", environment=name, reason=fault.detail)

    async def _stop(self, name: EnvironmentName, run: Run) -> None:
        try:
            await self._compose.stop(name, run.line)
        except StepFailed as fault:
            # What does not stop is killed by the sweep.
            self._log.warning("environment not stopped", environment=name, reason=fault.detail)

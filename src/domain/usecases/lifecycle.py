"""Changes to environments that stand: start, stop, restart, rebuild, reset, delete."""

from collections.abc import Awaitable, Callable

import anyio
import msgspec

from domain.arrangement import with_images
from domain.bundles import VPN_PROFILE_NAME
from domain.compose_model import Document, compose_model
from domain.environments import Environment, EnvironmentState
from domain.errors import (
    AgentError,
    BundleRefused,
    EnvironmentHeld,
    EnvironmentNotFound,
    OperationCancelled,
    StepFailed,
)
from domain.memo import running
from domain.names import EnvironmentName
from domain.operations import (
    BY_MANAGER,
    Asked,
    Operation,
    OperationKind,
    OperationState,
    Replacement,
    Step,
)
from domain.ports.clock import Clock
from domain.ports.compose import Compose, Project
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments
from domain.ports.workspaces import Workspaces
from domain.usecases.builds import Builds, Planned, Rebuild
from domain.usecases.clearing import Clearing
from domain.usecases.gate import Gate
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations
from domain.usecases.protection import Protection
from domain.usecases.runs import Run, Ticket
from domain.usecases.standing import Standing
from domain.usecases.stopping import Stopping
from domain.usecases.timekeeping import Timekeeping
from domain.usecases.undo import Undo

DELETE_SECONDS = 600.0
"""Limit of a removal; the next start, or the next request, takes up what it leaves."""

_LATEST = 20
"""Among how many of an environment's last operations its last deploy is looked for."""


class Lifecycle:
    """Changes environments that stand, and removes them.

    Args:
        change_seconds: limit of any change but a removal.
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
        builds: Builds,
        gate: Gate,
        standing: Standing,
        legacy_builds: int,
        protection: Protection,
        stopping: Stopping,
        undo: Undo,
        clearing: Clearing,
        timekeeping: Timekeeping,
        clock: Clock,
        log: Log,
        change_seconds: float,
    ) -> None:
        self._environments = environments
        self._workspaces = workspaces
        self._compose = compose
        self._resources = resources
        self._operations = operations
        self._inventory = inventory
        self._builds = builds
        self._gate = gate
        self._standing_projects = standing
        self._protection = protection
        self._stopping = stopping
        self._undo = undo
        self._clearing = clearing
        self._timekeeping = timekeeping
        self._clock = clock
        self._log = log
        self._change_seconds = change_seconds
        self._legacy_slots = anyio.Semaphore(legacy_builds)

    async def start(self, name: EnvironmentName, *, asked: Asked = BY_MANAGER) -> Ticket:
        """Takes the start of all containers that do not run; those that are gone are made anew.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EngineUnavailable: nothing can be started at present.
        """
        return await self._change(OperationKind.START, name, self._start, asked)

    async def stop(self, name: EnvironmentName, *, asked: Asked = BY_MANAGER) -> Ticket:
        """Takes the stop of all containers; nothing is removed.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EngineUnavailable: nothing can be stopped at present.
        """
        return await self._change(OperationKind.STOP, name, self._stopping.stop, asked)

    async def restart(self, name: EnvironmentName, *, asked: Asked = BY_MANAGER) -> Ticket:
        """Takes a restart: the same containers, stopped and started again.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EngineUnavailable: nothing can be restarted at present.
        """
        return await self._change(OperationKind.RESTART, name, self._restart, asked)

    async def rebuild(
        self,
        name: EnvironmentName,
        *,
        asked: Asked = BY_MANAGER,
        rebuild: Rebuild = Rebuild.ALL,
    ) -> Ticket:
        """Takes a rebuild: images are built again, then all containers made anew.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EngineUnavailable: nothing can be built at present.
        """

        async def work(run: Run, name: EnvironmentName) -> None:
            await self._rebuild(run, name, rebuild)

        return await self._change(OperationKind.REBUILD, name, work, asked)

    async def reset(self, name: EnvironmentName, *, asked: Asked = BY_MANAGER) -> Ticket:
        """Takes a reset: containers, networks and volumes are made anew from the images at hand.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EngineUnavailable: nothing can be started at present.
        """
        return await self._change(OperationKind.RESET, name, self._reset, asked)

    async def _change(
        self,
        kind: OperationKind,
        name: EnvironmentName,
        change: Callable[[Run, EnvironmentName], Awaitable[None]],
        asked: Asked,
    ) -> Ticket:
        await self._require(name)
        await self._inventory.require_engine()

        async def work(run: Run) -> None:
            await self._standing(name)
            try:
                await change(run, name)
            except AgentError as fault:
                await self._note_error(name, fault.detail)
                raise
            else:
                await self._note_error(name, "")
            finally:
                self._builds.release(run.id)
                self._protection.look_soon()
                with anyio.CancelScope(shield=True):
                    await self._finish_replacing(name)
                    await self._note_state(name)

        return await self._operations.submit(
            kind, name, work, seconds=self._change_seconds, asked=asked
        )

    async def delete(
        self,
        name: EnvironmentName,
        *,
        cut_off: bool = False,
        asked: Asked = BY_MANAGER,
        force: bool = True,
        failed_too: bool = False,
    ) -> Ticket:
        """Takes a removal, which displaces launches and restarts of the environment.

        A removal that is under way already is joined.

        Args:
            name: the environment.
            cut_off: what it was doing was cut off, so the Engine may still be at it.
            asked: who asks.
            force: remove it also while somebody holds it.
            failed_too: one that did not come up counts as there; else its record is dropped.

        Raises:
            EnvironmentNotFound: there is none, and none is being launched.
            EnvironmentHeld: somebody holds it.
        """
        if not force:
            await self._refuse_held(name)
        if self._operations.under_way(name) is None and not (
            failed_too and await self._environments.get(name)
        ):
            await self._require_or_forget(name)
        # Looked at after the last wait, so that of two who ask at once the second joins the first.
        under_way = self._operations.under_way(name)
        if under_way is not None and under_way.operation.kind is OperationKind.DELETE:
            return under_way

        async def work(run: Run) -> None:
            await self._delete(run, name, cut_off=cut_off or under_way is not None)

        self._operations.displace(
            name,
            set(OperationKind) - {OperationKind.DELETE},
            OperationCancelled(f"Environment {name!r} was deleted before this was done."),
        )
        return await self._operations.submit(
            OperationKind.DELETE, name, work, seconds=DELETE_SECONDS, asked=asked
        )

    async def _refuse_held(self, name: EnvironmentName) -> None:
        await self._timekeeping.settle()
        record = await self._environments.get(name)
        if record is not None and record.hold is not None and record.held(self._clock.now()):
            raise EnvironmentHeld(name, record.hold.owner, record.hold.reason)

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

    async def _finish_replacing(self, name: EnvironmentName) -> None:
        """Clears up after a Compose that was cut off, now if it can be, else before the next."""
        try:
            await self._resources.finish_replacing(name)
        except AgentError as fault:
            self._log.debug("containers not in order", environment=name, reason=fault.detail)

    async def _up(self, run: Run, project: Project, *, recreate: bool = True) -> None:
        await run.step(Step.START)
        await self._resources.finish_replacing(project.name)
        await self._compose.up(project, run.line, recreate=recreate)

    async def _start(self, run: Run, name: EnvironmentName) -> None:
        await self._up(run, await self._project(name), recreate=False)

    async def _restart(self, run: Run, name: EnvironmentName) -> None:
        project = await self._project(name)
        await self._stopping.stop(run, name)
        await self._up(run, project, recreate=False)

    async def _reset(self, run: Run, name: EnvironmentName) -> None:
        project = await self._project(name)
        await run.step(Step.REMOVE)
        await self._resources.sweep(name)
        await self._up(run, project)

    async def _rebuild(self, run: Run, name: EnvironmentName, rebuild: Rebuild) -> None:
        await run.step(Step.CHECK)
        project = await self._project(name)
        record = await self._standing(name)
        if record.modelled:
            await self._build_again(run, record, rebuild)
        else:
            try:
                await self._build_as_it_stands(run, project)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._clearing.run(lambda: self._workspaces.commit(run.id))
        await self._up(run, project)
        await self._forget_replaced(name)

    async def _forget_replaced(self, name: EnvironmentName) -> None:
        record = await self._standing(name)
        await self._builds.forget_own(name, keep=record.images.values())

    async def _build_again(self, run: Run, record: Environment, rebuild: Rebuild) -> None:
        """Builds from what lies in the folder now, and lets the model run what came of it."""
        document = await self._workspaces.model(record.name)
        if document is None:
            raise BundleRefused(
                f"The model of environment {record.name!r} is gone.", hint="Launch it again."
            )
        try:
            source = await self._standing_projects.build_source(run.id, record.name, document)
            model = compose_model(source.document)
            await self._gate.check_dockerfiles(source.project, model)
            secret = f"{source.project.directory}/{VPN_PROFILE_NAME}" if record.vpn else None
            planned = await self._builds.plan(
                run, source.project, model, secret=secret, untrusted=True
            )
            if not planned.plans:
                return
            await self._builds.make(run, planned, rebuild=rebuild)
        finally:
            with anyio.CancelScope(shield=True):
                await self._clearing.run(lambda: self._workspaces.commit(run.id))
        await self._run_images(record.name, document, planned)

    async def _run_images(
        self, name: EnvironmentName, document: Document, planned: Planned
    ) -> None:
        """Lets model and record name other images, both or neither."""
        newer = with_images(document, planned.by_service)

        def change(record: Environment) -> Environment:
            return running(msgspec.structs.replace(record, images=planned.images), newer)

        await self._workspaces.replace_model(name, newer)
        try:
            await self._environments.update(name, change)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._workspaces.replace_model(name, document)
            raise

    async def _build_as_it_stands(self, run: Run, project: Project) -> None:
        """Builds what an earlier agent deployed, as that one did."""
        document = await self._workspaces.model(project.name) or {"services": {}}
        before = await self._resources.images(project.name)
        if compose_model(document).builds:
            source = await self._standing_projects.build_source(run.id, project.name, document)
            await self._gate.check_dockerfiles(source.project, compose_model(source.document))
            await run.step(Step.BUILD)
            judged = await self._workspaces.build_project(run.id, source.project, source.document)
            async with self._legacy_slots:
                await self._compose.build(judged, run.line)
        for image in before:
            await self._resources.remove_image(image.id)

    async def _project(self, name: EnvironmentName) -> Project:
        record = await self._standing(name)
        project = await self._standing_projects.project(name, modelled=record.modelled)
        if project is None:
            raise BundleRefused(
                f"The Compose file of environment {name!r} is gone.", hint="Launch it again."
            )
        return project

    async def _note_error(self, name: EnvironmentName, reason: str) -> None:
        await self._environments.update(
            name, lambda record: msgspec.structs.replace(record, last_error=reason)
        )

    async def _note_state(self, name: EnvironmentName) -> None:
        """Writes down what the containers show."""
        try:
            picture = await self._inventory.refresh()
        except AgentError:
            return
        containers, now = picture.of_project(name), self._clock.now()

        def noted(record: Environment) -> Environment:
            state = record.observed(containers)
            return record if record.state is state else record.becoming(state, at=now)

        await self._environments.update(name, noted)

    async def _delete(self, run: Run, name: EnvironmentName, *, cut_off: bool) -> None:
        not_undone, now = await self._not_undone(name), self._clock.now()
        record = await self._environments.update(
            name,
            lambda record: record.becoming(EnvironmentState.DELETING, at=now, operation=run.id),
        )
        if record is None:
            raise EnvironmentNotFound(name)
        await run.step(Step.REMOVE)
        # Once begun, a removal is finished: half an environment is of no use to anybody.
        await self._remove(name, run, not_undone, cut_off=cut_off)

    async def _not_undone(self, name: EnvironmentName) -> Operation | None:
        """The last deploy, if it failed and something of it may have been left."""
        record = await self._environments.get(name)
        if record is None or record.settled:
            return None
        for operation in await self._operations.latest(name, _LATEST):
            if operation.kind is OperationKind.DEPLOY:
                return None if operation.state is OperationState.SUCCEEDED else operation
        return None

    async def _remove(
        self, name: EnvironmentName, run: Run, not_undone: Operation | None, *, cut_off: bool
    ) -> None:
        """Takes an environment from the host: containers, networks, volumes, images, files, record.

        May be repeated.

        Args:
            name: the environment.
            run: the removal.
            not_undone: a deploy whose images go too.
            cut_off: what it was doing was cut off, so the Engine may still be at it.

        Raises:
            AgentError: something stays; the record does too, so that it can be tried again.
        """
        await self._end_containers(name, run)
        await self._resources.sweep(name, cut_off=cut_off)
        await self._undo.forget_images(name, keep=Replacement())
        await self._builds.forget_own(name)
        if not_undone is not None:
            await self._builds.discard(not_undone)
        await self._clearing.run(lambda: self._workspaces.remove(name))
        await self._environments.remove(name)
        try:
            await self._inventory.refresh()
        except AgentError as fault:
            self._log.debug("inventory not refreshed", environment=name, reason=fault.detail)

    async def _end_containers(self, name: EnvironmentName, run: Run) -> None:
        try:
            await self._compose.stop(name, run.line)
        except StepFailed as fault:
            # What does not stop is killed by the sweep.
            self._log.warning("environment not stopped", environment=name, reason=fault.detail)

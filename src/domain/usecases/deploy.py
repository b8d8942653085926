"""Deploys a bundle: unpack, check, admit, build, replace, start; or undo all of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from domain.bundles import VPN_PROFILE_NAME
from domain.environments import Environment, EnvironmentState
from domain.errors import AgentError, NameTaken
from domain.names import EnvironmentName
from domain.operations import OperationKind, Replacement, Step
from domain.ports.clock import Clock
from domain.ports.compose import Compose, Project
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments
from domain.ports.workspaces import Bundle, Bundles, Workspaces
from domain.usecases.admission import Admission
from domain.usecases.clearing import Clearing
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations, Run, Ticket
from domain.usecases.undo import Undo

UNDO_SECONDS = 120.0
"""How long undoing may take; what it leaves, recovery takes up at the next start."""


class Deploy:
    """Launches environments.

    Args:
        seconds: limit of a whole deploy, waiting for its turn included.
        builds: how many builds may run at once.
    """

    def __init__(
        self,
        *,
        environments: Environments,
        bundles: Bundles,
        workspaces: Workspaces,
        compose: Compose,
        resources: ProjectResources,
        operations: Operations,
        inventory: InventoryWatch,
        admission: Admission,
        undo: Undo,
        clearing: Clearing,
        clock: Clock,
        log: Log,
        seconds: float,
        builds: int,
    ) -> None:
        self._environments = environments
        self._bundles = bundles
        self._workspaces = workspaces
        self._compose = compose
        self._resources = resources
        self._operations = operations
        self._inventory = inventory
        self._admission = admission
        self._undo = undo
        self._clearing = clearing
        self._clock = clock
        self._log = log
        self._seconds = seconds
        self._build_slots = anyio.Semaphore(builds)
        self._needed_images: dict[EnvironmentName, frozenset[str]] = {}

    async def launch(
        self, name: EnvironmentName, bundle: Bundle, vpn_profile: bytes | None
    ) -> Ticket:
        """Takes a launch, which replaces an environment of that name once it can.

        The bundle is the operation's from here on, and goes when it ends.

        Raises:
            NameTaken: somebody else's Compose project bears the name.
            CapacityExceeded: the host has no room even for one container more.
            EngineUnavailable: nothing can be started at present.
            NotAccepting: the agent is starting or stopping.
            StoreUnavailable: the intent cannot be written down.
        """

        async def work(run: Run) -> None:
            await self._deploy(run, name, bundle, vpn_profile)

        async def afterwards() -> None:
            await self._afterwards(name, bundle)

        try:
            await self._refuse_strangers(name)
            await self._admission.admit(name, 1)
            return await self._operations.submit(
                OperationKind.DEPLOY, name, work, seconds=self._seconds, afterwards=afterwards
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await afterwards()
            raise

    async def _refuse_strangers(self, name: EnvironmentName) -> None:
        """Compose would take the containers of a project of the same name for orphans of ours."""
        picture = await self._inventory.require_engine()
        if not picture.of_project(name) or self._operations.under_way(name) is not None:
            return
        if await self._environments.get(name) is None:
            raise NameTaken(name)

    async def _afterwards(self, name: EnvironmentName, bundle: Bundle) -> None:
        try:
            await self._bundles.discard(bundle)
            # The containers must be counted before their reservation goes.
            await self._inventory.refresh()
        except AgentError as fault:
            self._log.warning("not tidied up after a deploy", environment=name, reason=fault.detail)
        self._needed_images.pop(name, None)
        self._admission.release(name)

    async def _deploy(
        self, run: Run, name: EnvironmentName, bundle: Bundle, vpn_profile: bytes | None
    ) -> None:
        async with self._undone_if_it_fails(run, name):
            project = await self._prepare(run, name, bundle, vpn_profile)
            await self._build(run, project)
            await self._start(run, name)
        await self._finish(run, name)

    @asynccontextmanager
    async def _undone_if_it_fails(self, run: Run, name: EnvironmentName) -> AsyncIterator[None]:
        earlier = await self._announce(run, name)
        try:
            yield
        except BaseException as fault:
            with anyio.CancelScope(shield=True), anyio.move_on_after(UNDO_SECONDS):
                await self._undo_after(run, fault)
            if isinstance(fault, AgentError) and earlier:
                fault.hint = f"{fault.hint} The earlier environment of this name was kept.".strip()
            raise

    async def _announce(self, run: Run, name: EnvironmentName) -> bool:
        """Writes down that the environment is being deployed, and what it replaces."""
        record = await self._environments.get(name)
        now = self._clock.now()
        earlier = record is not None and record.deployed
        if earlier:
            await run.replacing(await self._standing(name))
        if record is None:
            record = Environment(
                name=name, state=EnvironmentState.DEPLOYING, created_at=now, updated_at=now
            )
        else:
            record = record.becoming(EnvironmentState.DEPLOYING, at=now)
        await self._environments.put(record.becoming(record.state, at=now, operation=run.id))
        return earlier

    async def _standing(self, name: EnvironmentName) -> Replacement:
        images = await self._resources.images(name)
        return Replacement(
            image_tags={tag: image.id for image in images for tag in image.tags},
            volumes=tuple(await self._resources.volumes(name)),
        )

    async def _undo_after(self, run: Run, fault: BaseException) -> None:
        reason = fault.detail if isinstance(fault, AgentError) else "The deploy was cut off."
        try:
            name = run.operation.environment
            others = (i for other, i in self._needed_images.items() if other != name)
            spare = frozenset[str]().union(*others)
            await self._undo.deploy(run.operation, reason, run.line, spare_images=spare)
        except AgentError as trouble:
            self._log.error(
                "deploy not undone, will be at the next start",
                operation=run.id,
                environment=run.operation.environment,
                reason=trouble.detail,
            )

    async def _prepare(
        self, run: Run, name: EnvironmentName, bundle: Bundle, vpn_profile: bytes | None
    ) -> Project:
        await run.step(Step.UNPACK)
        project = await self._workspaces.stage(run.id, name, bundle)
        if vpn_profile is not None:
            await self._workspaces.place(run.id, VPN_PROFILE_NAME, vpn_profile)
        return project

    async def _build(self, run: Run, project: Project) -> None:
        await run.step(Step.CHECK)
        model = await self._compose.resolve(project)
        await self._admission.admit(project.name, model.containers)
        self._needed_images[project.name] = frozenset(model.pulled_images)
        await run.pulling(tuple(await self._resources.missing_images(model.pulled_images)))
        if model.builds:
            await run.step(Step.BUILD)
            async with self._build_slots:
                await self._compose.build(project, run.line)

    async def _start(self, run: Run, name: EnvironmentName) -> None:
        replaces = run.operation.replaces
        if replaces is not None:
            await run.step(Step.REPLACE)
            await self._compose.stop(name, run.line)
            await self._resources.sweep(name, keep_volumes=replaces.volumes)
        await run.step(Step.START)
        project = await self._workspaces.install(run.id, name)
        await self._compose.up(project, run.line)
        # What stands is either written down as running or undone, never both.
        with anyio.CancelScope(shield=True):
            record = await self._environments.get(name)
            if record is not None:
                now = self._clock.now()
                await self._environments.put(record.becoming(EnvironmentState.RUNNING, at=now))

    async def _finish(self, run: Run, name: EnvironmentName) -> None:
        """Removes what was replaced; the environment stands, so a fault here fails nothing."""
        try:
            with anyio.CancelScope(shield=True), anyio.move_on_after(UNDO_SECONDS):
                await self._clearing.run(lambda: self._workspaces.commit(run.id))
                replaces = run.operation.replaces
                for image in set(replaces.image_tags.values() if replaces else ()):
                    await self._resources.remove_image(image)
        except AgentError as fault:
            self._log.warning(
                "earlier environment not cleared away", environment=name, reason=fault.detail
            )

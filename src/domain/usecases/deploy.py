"""Deploys a bundle: unpack, check, admit, build, replace, start; or undo all of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import msgspec

from domain.apart import set_apart
from domain.arrangement import (
    Arrangement,
    arranged,
    relocated,
    service_records,
)
from domain.bundles import VPN_PROFILE_NAME
from domain.capacity import Demand, services_demand
from domain.compose_model import ComposeModel, Document
from domain.environments import Environment, EnvironmentState, Hold, Isolation
from domain.errors import AgentError, EnvironmentExists, NameTaken
from domain.limits import ContainerLimits, LimitRules
from domain.memo import with_memo
from domain.names import EnvironmentName, OperationId
from domain.operations import (
    BY_MANAGER,
    Asked,
    OperationKind,
    Replacement,
    Step,
)
from domain.ports.clock import Clock
from domain.ports.compose import Compose, Project
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments
from domain.ports.workspaces import Bundle, Bundles, Workspaces
from domain.usecases.addresses import Addresses
from domain.usecases.admission import Admission
from domain.usecases.builds import Builds, Planned
from domain.usecases.clearing import Clearing
from domain.usecases.gate import Gate
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations
from domain.usecases.protection import Protection
from domain.usecases.resolving import Resolving
from domain.usecases.runs import Run, Ticket
from domain.usecases.space import Space
from domain.usecases.stopping import Stopping
from domain.usecases.undo import Undo

UNDO_SECONDS = 120.0
"""How long undoing may take; what it leaves, a look at consistency takes up."""


class DeployRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be deployed, and how."""

    name: EnvironmentName
    bundle: Bundle
    vpn_profile: bytes | None = None
    variables: Mapping[str, str] = {}
    """For interpolation in the Compose files. Kept only as far as the model holds them."""
    labels: Mapping[str, str] = {}
    limits: ContainerLimits = ContainerLimits()
    isolation: Isolation = Isolation.OPEN
    expires_at: datetime | None = None
    hold: Hold | None = None


class Deploy:
    """Launches environments.

    Args:
        limits: of single containers.
        seconds: limit of a whole deploy, waiting for its turn included.
        starts: how many environments may be started at once.
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
        addresses: Addresses,
        builds: Builds,
        gate: Gate,
        resolving: Resolving,
        space: Space,
        protection: Protection,
        stopping: Stopping,
        undo: Undo,
        clearing: Clearing,
        clock: Clock,
        log: Log,
        limits: LimitRules,
        seconds: float,
        starts: int,
    ) -> None:
        self._environments = environments
        self._bundles = bundles
        self._workspaces = workspaces
        self._compose = compose
        self._resources = resources
        self._operations = operations
        self._inventory = inventory
        self._admission = admission
        self._addresses = addresses
        self._builds = builds
        self._gate = gate
        self._resolving = resolving
        self._space = space
        self._protection = protection
        self._stopping = stopping
        self._undo = undo
        self._clearing = clearing
        self._clock = clock
        self._log = log
        self._limits = limits
        self._seconds = seconds
        self._start_slots = anyio.Semaphore(starts)

    async def launch(
        self, request: DeployRequest, *, asked: Asked = BY_MANAGER, replace: bool = True
    ) -> Ticket:
        """Takes a launch, which replaces an environment of that name once it can.

        A bundle that is not kept is the operation's from here on, and goes when it ends.

        Args:
            request: what is launched.
            asked: who asks.
            replace: whether an environment of the name may stand already.

        Raises:
            EnvironmentExists: one does, and it may not.
            NameTaken: somebody else's Compose project bears the name.
            RequestUnreadable: it asks for limits that the host does not give.
            CapacityExceeded: the host has no room even for one container more.
            StorageFull: the disk is as good as full.
            EngineUnavailable: nothing can be started at present.
            NotAccepting: the agent is starting or stopping.
            StoreUnavailable: the intent cannot be written down.
        """

        async def work(run: Run) -> None:
            await self._deploy(run, request)

        async def afterwards(run: Run | None) -> None:
            await self._afterwards(request, run.id if run is not None else None)

        try:
            self._limits.check(request.limits)
            await self._space.require()
            await self._refuse_others(request.name, replace=replace)
            await self._admission.admit(request.name, Demand(containers=1))
            self._refuse_a_rush(request.name, replace=replace)
            return await self._operations.submit(
                OperationKind.DEPLOY,
                request.name,
                work,
                seconds=self._seconds,
                afterwards=afterwards,
                asked=asked,
                bundle=request.bundle.digest,
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await afterwards(None)
            raise

    async def _refuse_others(self, name: EnvironmentName, *, replace: bool) -> None:
        """Compose would take the containers of a project of the same name for orphans of ours."""
        picture = await self._inventory.require_engine()
        under_way = self._operations.under_way(name) is not None
        record = await self._environments.get(name)
        if not replace and (under_way or (record is not None and record.deployed)):
            raise EnvironmentExists(name)
        if picture.of_project(name) and not under_way and record is None:
            raise NameTaken(name)

    def _refuse_a_rush(self, name: EnvironmentName, *, replace: bool) -> None:
        """Of two that ask for a new name at once, the second comes too late."""
        if not replace and self._operations.under_way(name) is not None:
            raise EnvironmentExists(name)

    async def _afterwards(self, request: DeployRequest, operation: OperationId | None) -> None:
        try:
            await self._bundles.discard(request.bundle)
            # The containers must be counted before their reservation goes.
            await self._inventory.refresh()
        except AgentError as fault:
            self._operations.tell_left_over()
            self._log.warning(
                "not tidied up after a deploy", environment=request.name, reason=fault.detail
            )
        if not self._operations.others(OperationKind.DEPLOY, request.name, than=operation):
            # No other deploy of the name needs the reservation.
            self._admission.release(request.name)

    async def _deploy(self, run: Run, request: DeployRequest) -> None:
        try:
            async with self._undone_if_it_fails(run, request):
                project = await self._prepare(run, request)
                planned = await self._check(run, request, project)
                await self._builds.make(run, planned)
                await self._start(run, request.name)
            await self._finish(run, request.name)
        finally:
            self._builds.release(run.id)

    @asynccontextmanager
    async def _undone_if_it_fails(self, run: Run, request: DeployRequest) -> AsyncIterator[None]:
        earlier = await self._announce(run, request)
        try:
            yield
        except BaseException as fault:
            with anyio.CancelScope(shield=True), anyio.move_on_after(UNDO_SECONDS):
                await self._undo_after(run, fault)
            if isinstance(fault, AgentError) and earlier:
                fault.hint = f"{fault.hint} The earlier environment of this name was kept.".strip()
            raise

    async def _announce(self, run: Run, request: DeployRequest) -> bool:
        """Writes down that the environment is being deployed, and what it replaces."""
        earlier = await self._earlier(run, request.name)
        replaces = earlier is not None and earlier.deployed
        if earlier is not None and replaces:
            await run.replacing(await self._standing(earlier))
            # They are needed again if this fails.
            self._builds.need(
                run.id, {*earlier.images.values(), *(s.image for s in earlier.services)}
            )
        await self._environments.put(self._announced(run, request, earlier))
        return replaces

    async def _earlier(self, run: Run, name: EnvironmentName) -> Environment | None:
        """What stands, once what an earlier deploy could not undo is undone."""
        record = await self._environments.get(name)
        if record is None or record.state is not EnvironmentState.DEPLOYING:
            return record
        left_over = await self._operations.get(record.operation) if record.operation else None
        if left_over is not None:
            await self._undo.deploy(left_over, left_over.reason, run.line)
        return await self._environments.get(name)

    def _announced(
        self, run: Run, request: DeployRequest, earlier: Environment | None
    ) -> Environment:
        now = self._clock.now()
        if earlier is not None:
            # Whether it may be deployed in its present state.
            earlier.becoming(EnvironmentState.DEPLOYING, at=now)
        stands = earlier is not None and earlier.deployed
        return Environment(
            name=request.name,
            state=EnvironmentState.DEPLOYING,
            created_at=earlier.created_at if earlier is not None and stands else now,
            updated_at=now,
            operation=run.id,
            bundle=request.bundle.digest if request.bundle.kept else None,
            labels=request.labels,
            limits=request.limits,
            isolation=request.isolation,
            expires_at=request.expires_at,
            vpn=request.vpn_profile is not None,
            hold=request.hold or (earlier.hold if earlier is not None and stands else None),
            networks=earlier.networks if earlier is not None else {},
        )

    async def _standing(self, record: Environment) -> Replacement:
        images = await self._resources.images(record.name)
        return Replacement(
            image_tags={tag: image.id for image in images for tag in image.tags},
            volumes=tuple(await self._resources.volumes(record.name)),
            record=record,
        )

    async def _undo_after(self, run: Run, fault: BaseException) -> None:
        trouble = fault if isinstance(fault, AgentError) else run.cut_off_by
        reason = trouble.detail if trouble is not None else "The deploy took too long."
        try:
            await self._undo.deploy(run.operation, reason, run.line)
        except AgentError as obstacle:
            self._operations.tell_left_over()
            self._log.error(
                "deploy not undone, will be later",
                operation=run.id,
                environment=run.operation.target,
                reason=obstacle.detail,
            )

    async def _prepare(self, run: Run, request: DeployRequest) -> Project:
        await run.step(Step.UNPACK)
        project = await self._workspaces.stage(run.id, request.name, request.bundle)
        if request.vpn_profile is not None:
            await self._workspaces.place(run.id, VPN_PROFILE_NAME, request.vpn_profile)
        return project

    async def _check(self, run: Run, request: DeployRequest, project: Project) -> Planned:
        """Resolves the project, and reserves all that it needs."""
        await run.step(Step.CHECK)
        model = await self._resolving.model(
            run.id, project, request.bundle.digest, request.variables
        )
        await self._gate.check_dockerfiles(project, model)
        secret = None if request.vpn_profile is None else f"{project.directory}/{VPN_PROFILE_NAME}"
        planned = await self._builds.plan(run, project, model, secret=secret)
        arrangement = await self._arrange(request, model, planned)
        await self._keep(run, project, arranged(model, arrangement, planned.by_service))
        pulled = model.pulled_images(request.name)
        self._builds.need(run.id, pulled)
        missing = tuple(await self._resources.missing_images(pulled))
        await run.pulling(missing)
        await self._builds.note_pulled(missing)
        await self._builds.note_used(pulled)
        return planned

    async def _keep(self, run: Run, project: Project, document: Document) -> None:
        """Keeps the model that will run, and copies of what containers could else swap."""
        name = run.operation.target
        document, copies = set_apart(
            document, project.directory, self._workspaces.apart(run.id, name)
        )
        if copies:
            await self._workspaces.keep_apart(run.id, name, copies)
        document = relocated(document, project.directory, self._workspaces.home(name))
        record = await self._record(name)
        await self._workspaces.keep_model(run.id, with_memo(document, record))

    async def _arrange(
        self, request: DeployRequest, model: ComposeModel, planned: Planned
    ) -> Arrangement:
        cpus = await self._admission.host_cpus()
        services = service_records(model, request.limits, self._limits, cpus=cpus)
        services = tuple(
            msgspec.structs.replace(service, image=planned.images.get(service.name, service.image))
            for service in services
        )
        await self._admission.admit(request.name, services_demand(services))
        await self._environments.update(
            request.name,
            lambda record: msgspec.structs.replace(
                record, services=services, images=planned.images, modelled=True
            ),
        )
        subnets = await self._addresses.assign(request.name, model)
        return Arrangement(
            name=request.name,
            isolation=request.isolation,
            services=services,
            subnets=subnets,
            policy=self._gate.rules,
            workspace=self._workspaces.root,
        )

    async def _record(self, name: EnvironmentName) -> Environment:
        record = await self._environments.get(name)
        if record is None:
            raise AgentError(f"The record of environment {name!r} is gone.")
        return record

    async def _start(self, run: Run, name: EnvironmentName) -> None:
        replaces = run.operation.replaces
        if replaces is not None:
            await self._stopping.stop(run, name)
            await run.step(Step.REPLACE)
            await self._resources.sweep(name, keep_volumes=replaces.volumes)
        await run.step(Step.START)
        project = await self._workspaces.install(run.id, name)
        async with self._start_slots:
            await self._compose.up(project, run.line)
        self._protection.look_soon()
        # What stands is either written down as running or undone, never both.
        with anyio.CancelScope(shield=True):
            now = self._clock.now()
            await self._environments.update(
                name, lambda record: record.becoming(EnvironmentState.RUNNING, at=now)
            )

    async def _finish(self, run: Run, name: EnvironmentName) -> None:
        """Removes what was replaced; the environment stands, so a fault here fails nothing."""
        try:
            with anyio.CancelScope(shield=True), anyio.move_on_after(UNDO_SECONDS):
                await self._undo.forgo(run.operation)
        except AgentError as fault:
            self._log.warning(
                "earlier environment not cleared away", environment=name, reason=fault.detail
            )

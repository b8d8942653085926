"""Builds images once for all who need the same, and forgets those that nobody needs."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from enum import Enum

import anyio
import msgspec

from domain.arrangement import build_document, relocated
from domain.compose_model import ComposeModel, ComposeService
from domain.dockerfile import base_images, may_read
from domain.environments import Environment, EnvironmentState
from domain.errors import AgentError
from domain.image_names import familiar
from domain.images import (
    BUILD_PROJECT,
    BuildPlan,
    ImageRecord,
    build_digest,
    is_own,
    own_tag,
    shared_tag,
)
from domain.names import EnvironmentName, OperationId
from domain.operations import Operation
from domain.ports.clock import Clock
from domain.ports.compose import Compose, Project
from domain.ports.contexts import BuildContext, BuildContexts
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments, ImageRecords, OperationRecords
from domain.ports.workspaces import Workspaces
from domain.usecases.runs import Run

# What a build takes in that is not in its context, so that nobody can tell what comes of it.
_UNTOLD = ("additional_contexts", "ssh", "secrets")


_SAME_USE_SECONDS = 60.0


class Rebuild(Enum):
    """Which images are built."""

    MISSING = "missing"
    """Those that are not at hand."""
    ALL = "all"
    """All; steps whose input is the same as before are not run again."""
    ANEW = "anew"
    """All, from the first step."""


class _How(msgspec.Struct, frozen=True, kw_only=True):
    """What bears on how images are named."""

    secret: str | None
    missing: str | None
    untrusted: bool


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """How the services of one project get their images."""

    project: Project
    model: ComposeModel
    plans: tuple[BuildPlan, ...]
    digests: Mapping[str, str]
    """Tag → digest of what goes in."""

    @property
    def by_service(self) -> Mapping[str, BuildPlan]:
        """Service → how it gets its image."""
        return {plan.service: plan for plan in self.plans}

    @property
    def images(self) -> Mapping[str, str]:
        """Service → tag."""
        return {plan.service: plan.tag for plan in self.plans}


class Builds:
    """Plans and makes images.

    Args:
        at_once: how many builds may run at once; as many of environments that stand already, so
            that these never wait behind deploys.
    """

    def __init__(
        self,
        *,
        contexts: BuildContexts,
        compose: Compose,
        resources: ProjectResources,
        workspaces: Workspaces,
        environments: Environments,
        images: ImageRecords,
        operations: OperationRecords,
        clock: Clock,
        log: Log,
        at_once: int,
    ) -> None:
        self._contexts = contexts
        self._compose = compose
        self._resources = resources
        self._workspaces = workspaces
        self._environments = environments
        self._images = images
        self._operations = operations
        self._clock = clock
        self._log = log
        self._slots = {
            True: anyio.Semaphore(at_once),
            False: anyio.Semaphore(at_once),
        }
        self._locks: dict[str, anyio.Lock] = {}
        self._needed: dict[OperationId, frozenset[str]] = {}
        self._building = 0

    async def plan(
        self,
        run: Run,
        project: Project,
        model: ComposeModel,
        *,
        secret: str | None,
        missing: str | None = None,
        untrusted: bool = False,
    ) -> Planned:
        """How each service with a build gets its image.

        Args:
            run: the operation that needs them.
            project: where the contexts lie.
            model: the project as Compose resolved it.
            secret: path of a file that is this environment's own; None where there is none.
            missing: name of a file that only a deploy brings: builds that name it are left to it.
            untrusted: containers can write to the contexts, so that what is built could be another
                thing than what was looked at: no image is shared.
        """
        how = _How(secret=secret, missing=missing, untrusted=untrusted)
        found = [
            await self._plan(run, project, service, how)
            for service in model.services
            if service.build is not None
        ]
        return Planned(
            project=project,
            model=model,
            plans=tuple(plan for plan, _ in found),
            digests={plan.tag: digest for plan, digest in found},
        )

    async def _plan(
        self, run: Run, project: Project, service: ComposeService, how: "_How"
    ) -> tuple[BuildPlan, str]:
        build, secret, missing = service.build or {}, how.secret, how.missing
        apart = frozenset({secret} if secret is not None else ())
        if missing is not None:
            apart |= {f"{project.directory}/{missing}"}
        context = await self._read(project, build, apart)
        owner = f"{project.name}/{service.name}"
        if context is None or _unheard_of(build, context) or _lacks(project, context, missing):
            # Built each time, since nobody can tell whether it would be the same.
            digest = build_digest(
                {}, dockerfile="", context="", bases={}, private=f"{owner}/{run.id}"
            )
            return BuildPlan(service=service.name, tag=own_tag(digest), own=True), digest
        own = how.untrusted or (secret is not None and await self._reads(build, context, secret))
        if own or (missing is not None and context.holds):
            # What was looked at apart is a part of the content all the same.
            context = await self._read(project, build, frozenset()) or context
        digest = await self._digest(project, build, context, owner if own else "")
        tag = own_tag(digest) if own else shared_tag(digest)
        return BuildPlan(service=service.name, tag=tag, own=own), digest

    async def _read(
        self, project: Project, build: Mapping[str, object], apart: Collection[str]
    ) -> BuildContext | None:
        inline = build.get("dockerfile_inline")
        return await self._contexts.read(
            str(build.get("context", "")),
            dockerfile=None if inline else str(build.get("dockerfile") or "Dockerfile"),
            inline=str(inline) if inline else None,
            apart=apart,
            within=project.directory,
        )

    async def _reads(self, build: Mapping[str, object], context: BuildContext, secret: str) -> bool:
        """Whether the image could hold the secret."""
        if secret not in context.holds:
            return False
        folder = str(build.get("context", "")).rstrip("/")
        if may_read(context.dockerfile, secret.removeprefix(f"{folder}/")):
            return True
        # Base images can bring steps of their own that copy the context.
        bases = base_images(context.dockerfile, _arguments(build)) or ()
        return not await self._resources.are_plain(bases)

    async def _digest(
        self, project: Project, build: Mapping[str, object], context: BuildContext, private: str
    ) -> str:
        bases = base_images(context.dockerfile, _arguments(build)) or ()
        at_hand = await self._resources.image_ids(bases)
        return build_digest(
            relocated(build, project.directory, ""),
            dockerfile=context.dockerfile,
            context=context.digest,
            bases={base: at_hand.get(base, "") for base in bases},
            private=private,
        )

    async def make(self, run: Run, planned: Planned, *, rebuild: Rebuild = Rebuild.MISSING) -> None:
        """Sees that all images of a plan are at hand; what another builds just now is waited for.

        Raises:
            StepFailed: a build failed.
        """
        tags = sorted({plan.tag for plan in planned.plans})
        self.need(run.id, tags)
        async with self._alone(tags):
            at_hand = await self._resources.image_ids(tags)
            wanted = {p.tag: p for p in planned.plans}
            missing = [
                wanted[tag] for tag in tags if tag not in at_hand or rebuild is not Rebuild.MISSING
            ]
            if missing:
                # First, so that no record of an image is ever nobody's.
                await run.building(tuple(plan.tag for plan in missing))
            await self._note_use(run, planned)
            if missing:
                await self._build(run, planned, missing, rebuild)

    async def _build(
        self, run: Run, planned: Planned, missing: Sequence[BuildPlan], rebuild: Rebuild
    ) -> None:
        document = build_document(
            planned.model,
            BUILD_PROJECT,
            missing,
            digests=planned.digests,
            workspace=self._workspaces.root,
        )
        project = await self._workspaces.build_project(run.id, planned.project, document)
        async with self._slots[rebuild is Rebuild.MISSING]:
            self._building += 1
            try:
                await self._compose.build(project, run.line, anew=rebuild is Rebuild.ANEW)
            finally:
                self._building -= 1

    async def _note_use(self, run: Run, planned: Planned) -> None:
        for plan in planned.plans:
            record = await self._images.get(plan.tag)
            now = self._clock.now()
            if record is not None and _just_used(record, now):
                continue
            await self._images.put(
                ImageRecord(
                    tag=plan.tag,
                    created_at=record.created_at if record else now,
                    used_at=now,
                    environment=run.operation.environment if plan.own else None,
                )
            )

    @asynccontextmanager
    async def _alone(self, tags: Sequence[str]) -> AsyncIterator[None]:
        """Keeps others from building the same; always in the same order, so that nobody sticks."""
        async with AsyncExitStack() as stack:
            for tag in tags:
                await stack.enter_async_context(self._alone_with(tag))
            yield

    @asynccontextmanager
    async def _alone_with(self, tag: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(tag, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            # Whoever waits for it, or holds it, takes it away later.
            if not lock.statistics().locked and not lock.statistics().tasks_waiting:
                self._locks.pop(tag, None)

    def need(self, operation: OperationId, tags: Collection[str]) -> None:
        """Keeps images for an operation under way."""
        self._needed[operation] = self._needed.get(operation, frozenset()) | frozenset(tags)

    def release(self, operation: OperationId) -> None:
        """An operation under way needs its images no more. May be repeated."""
        self._needed.pop(operation, None)

    async def used(self) -> frozenset[str]:
        """Tags that environments run, or operations under way need."""
        tags = {tag for needed in self._needed.values() for tag in needed}
        for record in await self._environments.list():
            tags |= _images(await self._standing(record))
        return frozenset(tags)

    async def _standing(self, record: Environment) -> Environment | None:
        """What stands of an environment, or is brought back if its deploy fails.

        What is being deployed is needed by that operation, and by nobody once it is over.
        """
        if record.state is not EnvironmentState.DEPLOYING or record.operation is None:
            return record
        operation = await self._operations.get(record.operation)
        return operation.replaces.record if operation and operation.replaces else None

    async def discard(self, operation: Operation) -> None:
        """Removes what an operation built or pulled that has failed, unless others need it."""
        # First, so that of two that failed with the same image each does not leave it to the other.
        self.release(operation.id)
        for tag in (*operation.builds, *operation.pulls):
            # Not behind somebody's build, who needs it anyway.
            if tag not in await self.used():
                async with self._alone([tag]):
                    if tag not in await self.used():
                        await self.remove(tag)
        if operation.builds:
            await self._remove_nameless()

    async def reconcile(
        self, *, own: Collection[str], at_hand: Collection[str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Brings the records of built images in line with the Engine.

        Args:
            own: tags at hand that this agent must have built.
            at_hand: all tags at hand that agents built.

        Returns:
            The tags whose records were made anew, and those whose records went.
        """
        known = {record.tag: record for record in await self._images.list()}
        owners = {
            tag: record.name
            for record in await self._environments.list()
            for tag in record.images.values()
        }
        adopted = sorted(set(own) - known.keys())
        for tag in adopted:
            now = self._clock.now()
            owner = owners.get(tag) if is_own(tag) else None
            await self._images.put(
                ImageRecord(tag=tag, created_at=now, used_at=now, environment=owner)
            )
        gone = sorted(t for t, r in known.items() if not r.pulled and t not in at_hand)
        return adopted, [tag for tag in gone if await self._forget_gone(tag)]

    async def _forget_gone(self, tag: str) -> bool:
        if tag in self._locks:
            # It is being built just now, for which a look does not wait.
            return False
        async with self._alone([tag]):
            if tag in await self.used() or await self._resources.image_ids([tag]):
                return False
            await self._images.remove(tag)
            return True

    async def remove(self, tag: str) -> bool:
        """Removes an image and its record; whether it went. One that a container uses stays."""
        await self._resources.untag(tag)
        if await self._resources.image_ids([tag]):
            return False
        await self._images.remove(tag)
        return True

    async def forget(self, tags: Collection[str]) -> None:
        """Takes away the records of images that have gone, or that somebody else keeps."""
        names = {familiar(tag) for tag in tags}
        for record in await self._images.list():
            if familiar(record.tag) in names:
                await self._images.remove(record.tag)

    def alone(self, tags: Collection[str]) -> AbstractAsyncContextManager[None]:
        """Keeps others from building, or clearing away, images of these names."""
        return self._alone(sorted(tags))

    async def note_pulled(self, tags: Collection[str]) -> None:
        """Writes down images that came to the host for an environment."""
        now = self._clock.now()
        for tag in tags:
            await self._images.put(ImageRecord(tag=tag, created_at=now, used_at=now, pulled=True))

    async def note_used(self, tags: Collection[str]) -> None:
        """Writes down that images are needed still; those that were not built or pulled are not."""
        for tag in tags:
            record, now = await self._images.get(tag), self._clock.now()
            if record is not None and not _just_used(record, now):
                await self._images.put(msgspec.structs.replace(record, used_at=now))

    async def forget_own(self, name: EnvironmentName, *, keep: Collection[str] = ()) -> None:
        """Removes the images that are an environment's own."""
        for record in await self._images.list():
            if record.environment == name and record.tag not in keep:
                await self.remove(record.tag)

    async def collect(self, *, unused_seconds: float) -> int:
        """Removes images that nobody has used for so long; how many went.

        Those that are an environment's own are of no use to others, and go at once.
        """
        now = self._clock.now()
        old = [
            record
            for record in await self._unused()
            if record.environment is not None
            or (now - record.used_at).total_seconds() >= unused_seconds
        ]
        gone = [await self._remove_old(record) for record in old]
        await self._remove_nameless()
        return sum(gone)

    async def collect_oldest(self) -> bool:
        """Removes the image that nobody has used for longest; whether there was one."""
        for record in await self._unused():
            if await self._remove_old(record):
                return True
        return False

    async def _unused(self) -> Sequence[ImageRecord]:
        used = await self.used()
        records = sorted(await self._images.list(), key=lambda record: record.used_at)
        return [record for record in records if record.tag not in used]

    async def _remove_old(self, record: ImageRecord) -> bool:
        async with self._alone([record.tag]):
            if record.tag in await self.used() or not await self.remove(record.tag):
                return False
        self._log.info("unused image removed", image=record.tag)
        return True

    async def _remove_nameless(self) -> None:
        """Images whose tag went to a newer one, or that never got theirs."""
        if self._building:
            # One that is being built has no name yet.
            return
        for image in await self._resources.images(BUILD_PROJECT):
            if not image.tags:
                try:
                    await self._resources.remove_image(image.id)
                except AgentError as fault:
                    self._log.debug("image stays", image=image.id, reason=fault.detail)


def _images(record: Environment | None) -> set[str]:
    """Tags that an environment runs; what is being removed needs none."""
    if record is None or not record.deployed or record.state is EnvironmentState.DELETING:
        return set()
    return {*record.images.values(), *(service.image for service in record.services)}


def _just_used(record: ImageRecord, now: datetime) -> bool:
    """Whether it is not worth a write that an image is needed again."""
    return abs((now - record.used_at).total_seconds()) < _SAME_USE_SECONDS


def _unheard_of(build: Mapping[str, object], context: BuildContext) -> bool:
    """Whether nobody can tell what goes into a build."""
    if any(build.get(key) for key in _UNTOLD):
        return True
    return base_images(context.dockerfile, _arguments(build)) is None


def _lacks(project: Project, context: BuildContext, missing: str | None) -> bool:
    """Whether a build names a file that is not there yet."""
    if missing is None or f"{project.directory}/{missing}" in context.holds:
        return False
    return missing in context.dockerfile


def _arguments(build: Mapping[str, object]) -> Mapping[str, str]:
    given = build.get("args")
    if not isinstance(given, Mapping):
        return {}
    return {str(key): str(value) for key, value in given.items() if value is not None}

"""Keeps bundles, so that one upload serves many deploys."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import msgspec

from domain.bundles import VPN_PROFILE_NAME, BundleRecord
from domain.compose_model import ComposeModel
from domain.errors import (
    AgentError,
    BundleInUse,
    BundleNotFound,
    BundleRefused,
    DigestMismatch,
)
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import Asked, OperationKind, Step
from domain.ports.clock import Clock
from domain.ports.compose import Project
from domain.ports.log import Log
from domain.ports.store import BundleRecords, Environments
from domain.ports.workspaces import Bundle, BundleContents, Bundles, Workspaces
from domain.usecases.builds import Builds, Planned
from domain.usecases.gate import Gate
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations
from domain.usecases.resolving import Resolving
from domain.usecases.runs import Run, Ticket
from domain.usecases.space import Space
from domain.usecases.staging import Staging

# Compose wants a name; what is built ahead must not depend on it.
_NOBODY = EnvironmentName("bundle")


class Library:
    """The bundles that are kept.

    Args:
        build_seconds: limit of building a bundle's images ahead, waiting included.
    """

    def __init__(
        self,
        *,
        records: BundleRecords,
        environments: Environments,
        bundles: Bundles,
        workspaces: Workspaces,
        gate: Gate,
        resolving: Resolving,
        builds: Builds,
        operations: Operations,
        staging: Staging,
        inventory: InventoryWatch,
        space: Space,
        clock: Clock,
        log: Log,
        build_seconds: float,
    ) -> None:
        self._records = records
        self._environments = environments
        self._bundles = bundles
        self._workspaces = workspaces
        self._gate = gate
        self._resolving = resolving
        self._builds = builds
        self._operations = operations
        self._staging = staging
        self._inventory = inventory
        self._space = space
        self._clock = clock
        self._log = log
        self._build_seconds = build_seconds
        self._in_use: dict[BundleDigest, int] = {}

    async def add(
        self, chunks: AsyncIterable[bytes], *, sha256: bytes | None = None
    ) -> tuple[BundleRecord, bool]:
        """Receives a bundle and keeps it; whether it was not there before.

        Args:
            chunks: the archive as it comes.
            sha256: what its digest must be; None for any.

        Raises:
            DigestMismatch: it is another one.
            BundleRefused: it is too large, broken, or holds what no bundle may.
            StorageFull: there is no room.
        """
        await self._space.require()
        return await self.admit(await self._bundles.receive(chunks), sha256=sha256)

    async def admit(
        self, bundle: Bundle, *, sha256: bytes | None = None
    ) -> tuple[BundleRecord, bool]:
        """Looks into a received bundle and keeps it; whether it was not there before.

        Raises:
            DigestMismatch: it is another one than announced.
            BundleRefused: it is broken, or holds what no bundle may.
        """
        try:
            _check_digest(bundle, sha256)
            known = await self._records.get(bundle.digest)
            if known is not None:
                # So that it is not cleared away meanwhile.
                await self._note_use(known)
            record = known or _record(bundle, await self._look_into(bundle), self._clock)
            # The archive first: one without a record is found again, and a record without one lies.
            await self._bundles.keep(bundle)
            await self._note_use(record)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(AgentError):
                await self._bundles.discard(bundle)
            raise
        return await self.get(bundle.digest), known is None

    async def _note_use(self, record: BundleRecord) -> None:
        await self._records.put(msgspec.structs.replace(record, used_at=self._clock.now()))

    async def _look_into(self, bundle: Bundle) -> BundleContents:
        async with self._staged(bundle) as (operation, project):
            return await self._workspaces.contents(operation, project)

    async def list(self) -> Sequence[BundleRecord]:
        """All that are kept, sorted by digest."""
        return await self._records.list()

    async def get(self, digest: BundleDigest) -> BundleRecord:
        """What is known of one.

        Raises:
            BundleNotFound: there is none.
        """
        record = await self._records.get(digest)
        if record is None:
            raise BundleNotFound(digest)
        return record

    async def contents(self, digest: BundleDigest) -> BundleContents:
        """What one holds.

        Raises:
            BundleNotFound: there is none.
        """
        return await self._look_into(await self.archive(digest))

    @contextmanager
    def using(self, digest: BundleDigest) -> Iterator[None]:
        """Keeps a bundle from removal until an operation that needs it has been taken."""
        self._in_use[digest] = self._in_use.get(digest, 0) + 1
        try:
            yield
        finally:
            self._in_use[digest] -= 1
            if not self._in_use[digest]:
                del self._in_use[digest]

    def _needed(self, digest: BundleDigest) -> bool:
        return digest in self._in_use or self._operations.needs(digest)

    async def archive(self, digest: BundleDigest) -> Bundle:
        """The archive of one, which counts as used by that.

        Raises:
            BundleNotFound: there is none.
        """
        record = await self.get(digest)
        bundle = await self._bundles.kept(digest)
        if bundle is None:
            await self._records.remove(digest)
            raise BundleNotFound(digest)
        await self._note_use(record)
        return bundle

    async def check(self, digest: BundleDigest, variables: Mapping[str, str]) -> ComposeModel:
        """What would run of a bundle, if this host allows it; nothing is built or started.

        Args:
            digest: the bundle.
            variables: for interpolation in its Compose files.

        Raises:
            BundleNotFound: there is none.
            PolicyRefused: it asks for what this host does not allow.
            BundleRefused: its files cannot be read for sure.
            StepFailed: Compose cannot read it.
        """
        bundle = await self.archive(digest)
        async with self._staged(bundle) as (operation, project):
            model = await self._gate.model(operation, project, variables)
            await self._gate.check_dockerfiles(project, model)
        return model

    @asynccontextmanager
    async def _staged(self, bundle: Bundle) -> AsyncIterator[tuple[OperationId, Project]]:
        """A bundle unpacked for as long as somebody looks at it."""
        with self._staging.look() as look:
            try:
                yield look, await self._workspaces.stage(look, _NOBODY, bundle)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._workspaces.commit(look)

    async def remove(self, digest: BundleDigest) -> None:
        """Removes one; environments that were deployed from it stay as they are.

        Raises:
            BundleNotFound: there is none.
            BundleInUse: it is being deployed or built.
        """
        await self.get(digest)
        if self._needed(digest):
            raise BundleInUse(digest)
        await self._bundles.forget(digest)
        await self._records.remove(digest)

    async def collect(self, *, unused_seconds: float) -> int:
        """Removes bundles that nobody has used for so long; how many went."""
        now, removed = self._clock.now(), 0
        deployed = {record.bundle for record in await self._environments.list() if record.deployed}
        for record in await self._records.list():
            unused = (now - record.used_at).total_seconds() >= unused_seconds
            if unused and record.digest not in deployed and not self._needed(record.digest):
                await self._bundles.forget(record.digest)
                await self._records.remove(record.digest)
                self._log.info("unused bundle removed", bundle=record.digest)
                removed += 1
        return removed

    async def reconcile(self) -> tuple[Sequence[BundleDigest], Sequence[BundleDigest]]:
        """Brings records and archives in line; digests known again, and those forgotten."""
        known = {record.digest: record for record in await self._records.list()}
        kept = await self._bundles.digests()
        lost = [digest for digest in kept if digest not in known]
        gone = [digest for digest in known if digest not in kept]
        adopted = [digest for digest in lost if await self._adopt(digest)]
        forgotten = [digest for digest in gone if await self._forget_gone(known[digest])]
        return adopted, [*forgotten, *(digest for digest in lost if digest not in adopted)]

    async def _adopt(self, digest: BundleDigest) -> bool:
        """Makes a record of an archive that has none; one that cannot be read goes."""
        bundle = await self._bundles.kept(digest)
        if bundle is None:
            return False
        try:
            contents = await self._look_into(bundle)
        except BundleRefused as fault:
            self._log.warning("damaged bundle removed", bundle=digest, reason=fault.detail)
            await self._bundles.forget(digest)
            return False
        await self._records.put(_record(bundle, contents, self._clock))
        return True

    async def _forget_gone(self, record: BundleRecord) -> bool:
        if self._needed(record.digest):
            return False
        if await self._bundles.kept(record.digest) is not None:
            return False
        await self._records.remove(record.digest)
        return True

    async def build(self, digest: BundleDigest, *, asked: Asked) -> Ticket:
        """Takes the building of a bundle's images ahead of its deploys.

        Images that would hold a VPN profile are not built: each environment has its own.

        Raises:
            BundleNotFound: there is none.
            StorageFull: there is no room.
            EngineUnavailable: nothing can be built at present.
        """
        with self.using(digest):
            return await self._submit_build(digest, asked)

    async def _submit_build(self, digest: BundleDigest, asked: Asked) -> Ticket:
        await self._inventory.require_engine()
        await self._space.require()
        bundle = await self.archive(digest)

        async def work(run: Run) -> None:
            await self._build(run, bundle)

        return await self._operations.submit(
            OperationKind.BUILD, None, work, seconds=self._build_seconds, asked=asked, bundle=digest
        )

    async def _build(self, run: Run, bundle: Bundle) -> None:
        try:
            await run.step(Step.UNPACK)
            project = await self._workspaces.stage(run.id, _NOBODY, bundle)
            await run.step(Step.CHECK)
            model = await self._resolving.model(run.id, project, bundle.digest, {})
            await self._gate.check_dockerfiles(project, model)
            planned = await self._shared(run, project, model)
            await self._builds.make(run, planned)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._builds.discard(run.operation)
            raise
        finally:
            self._builds.release(run.id)
            with anyio.CancelScope(shield=True):
                await self._workspaces.commit(run.id)

    async def _shared(self, run: Run, project: Project, model: ComposeModel) -> Planned:
        planned = await self._builds.plan(
            run, project, model, secret=None, missing=VPN_PROFILE_NAME
        )
        for plan in planned.plans:
            if plan.own:
                run.line(f"Service {plan.service} is left to each deploy, which builds its own.")
        return msgspec.structs.replace(
            planned, plans=tuple(plan for plan in planned.plans if not plan.own)
        )


def _check_digest(bundle: Bundle, sha256: bytes | None) -> None:
    if sha256 is not None and bundle.digest != f"sha256:{sha256.hex()}":
        raise DigestMismatch(bundle.digest)


def _record(bundle: Bundle, contents: BundleContents, clock: Clock) -> BundleRecord:
    now = clock.now()
    return BundleRecord(
        digest=bundle.digest,
        size_bytes=bundle.size_bytes,
        unpacked_bytes=sum(entry.size_bytes for entry in contents.entries),
        entries=len(contents.entries),
        services=contents.services,
        created_at=now,
        used_at=now,
    )

"""Volumes as archives: backed up, and restored all or nothing."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from domain.compose_policy import PolicyRules
from domain.container_orders import ORDER_LABEL
from domain.engine_volumes import EngineVolume, VolumeOrder
from domain.errors import PolicyRefused, ResourceConflict, ResourceNotFound
from domain.findings import Finding
from domain.ports.engine_volumes import EngineVolumes
from domain.ports.volume_archives import VolumeArchives, VolumeScreening
from domain.references import name_or_id
from domain.usecases.open_orders import OpenOrders
from domain.usecases.space import Space
from domain.usecases.volumes import HostVolumes, OwnedVolume

_LOOK_BYTES = 64 * 1024 * 1024
"""How much is written between two looks at the disks."""


class VolumeArchiving:
    """Gives and takes archives of what volumes hold.

    Args:
        rules: what this host allows.
        own_container: the identifier of the agent's own container; None where it runs in none.
        max_bytes: how long an archive may be that is restored, when unpacked.
    """

    def __init__(
        self,
        *,
        host_volumes: HostVolumes,
        volumes: EngineVolumes,
        archives: VolumeArchives,
        screening: VolumeScreening,
        orders: OpenOrders,
        space: Space,
        rules: PolicyRules,
        own_container: str | None,
        max_bytes: int,
    ) -> None:
        self._host_volumes = host_volumes
        self._volumes = volumes
        self._archives = archives
        self._screening = screening
        self._orders = orders
        self._space = space
        self._rules = rules
        self._own_container = own_container
        self._max_bytes = max_bytes
        self._written: set[str] = set()

    @asynccontextmanager
    async def back_up(self, reference: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """What one holds, as a tar in pieces.

        Raises:
            ResourceNotFound: there is none.
            ResourceConflict: it is being restored, or holds the agent's own records and keys.
            PolicyRefused: it may lie anywhere on the host.
        """
        owned = await self._host_volumes.inspect(reference)
        self._require_readable(owned)
        name = owned.volume.name
        if name in self._written:
            raise _being_restored(name)
        async with self._archives.read(name) as pieces:
            yield pieces

    def _require_readable(self, owned: OwnedVolume) -> None:
        volume = owned.volume
        if self._own_container in {user.id for user in owned.users}:
            raise ResourceConflict(
                f"Volume {volume.name!r} holds the agent's own records and keys; nobody reads or "
                "writes it."
            )
        if not volume.plain and not self._rules.trusted:
            raise PolicyRefused((_elsewhere(volume),), asker="request")

    async def restore(
        self, name: str, archive: AsyncIterable[bytes], *, clear: bool, force: bool
    ) -> OwnedVolume:
        """Unpacks a tar into one, all or nothing; one that was made for it goes if that fails.

        Args:
            name: of the volume, whole.
            archive: a tar, plain or through gzip.
            clear: what it holds may go.
            force: also into one of an environment, or that containers mount.

        Raises:
            ResourceOwned: it belongs to an environment.
            ResourceConflict: a container mounts it, it is being restored already, or it holds
                something that may not go.
            PolicyRefused: it may lie anywhere on the host.
            RequestUnreadable: that is no tar, not a whole one, or one that leads elsewhere.
            RequestTooLarge: it is longer than may be.
            StorageFull: the disk is as good as full.
            StoreUnavailable: that a volume is made for it cannot be written down.
        """
        with self._alone(name):
            if await self._stands(name, force=force):
                await self._write(name, archive, clear=clear)
            else:
                async with self._orders.carrying_out("", (name,)) as mark:
                    order = VolumeOrder(name=name)
                    await self._host_volumes.create(order, labels={ORDER_LABEL: mark})
                    await self._write(name, archive, clear=clear)
        return await self._host_volumes.inspect(name)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        if name in self._written:
            raise _being_restored(name)
        self._written.add(name)
        try:
            yield
        finally:
            self._written.discard(name)

    async def _stands(self, name: str, *, force: bool) -> bool:
        """Whether there is such a volume, which then may be written."""
        try:
            volume = await self._volumes.inspect(name_or_id("volume", name))
        except ResourceNotFound:
            return False
        owned = await self._host_volumes.inspect(volume.name)
        self._require_readable(owned)
        await self._host_volumes.require_free(volume, force=force)
        if owned.users and not force:
            users = ", ".join(user.name for user in owned.users)
            raise ResourceConflict(
                f"Volume {name!r} is mounted by {users}.",
                hint="Remove them first, or add ?force=true.",
            )
        await self._space.require()
        return True

    async def _write(self, name: str, archive: AsyncIterable[bytes], *, clear: bool) -> None:
        screened = self._screening.screened(archive, max_bytes=self._max_bytes)
        async with aclosing(screened), aclosing(self._while_there_is_room(screened)) as pieces:
            await self._archives.write(name, pieces, clear=clear)

    async def _while_there_is_room(
        self, pieces: AsyncIterable[bytes]
    ) -> AsyncGenerator[bytes, None]:
        written = 0
        async for piece in pieces:
            if written // _LOOK_BYTES != (written + len(piece)) // _LOOK_BYTES:
                await self._space.require()
            written += len(piece)
            yield piece


def _being_restored(name: str) -> ResourceConflict:
    return ResourceConflict(
        f"Volume {name!r} is being restored.", hint="Try again when that has ended."
    )


def _elsewhere(volume: EngineVolume) -> Finding:
    return Finding(
        where="volume",
        what=volume.name,
        why="This volume has a driver or options that may lead to any folder of the host.",
        instead="Take a plain volume.",
    )

"""The host's volumes: shown, made, removed, backed up and restored."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec

from domain.compose_policy import PolicyRules, judge
from domain.engine_volumes import EngineVolume, VolumeOrder
from domain.errors import AgentError, PolicyRefused, ResourceConflict, ResourceNotFound
from domain.names import EnvironmentName
from domain.ports.engine_volumes import EngineVolumes, VolumeArchives
from domain.references import name_or_id
from domain.usecases.ownership import Ownership
from domain.usecases.space import Space

_VOLUME = "volume"


class OwnedVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume, who mounts it, and the environment that it belongs to."""

    volume: EngineVolume
    containers: tuple[str, ...] = ()
    """Names of those that mount it, stopped ones too."""
    environment: EnvironmentName | None = None
    size_bytes: int | None = None
    """None where nobody asked for it, or the Engine cannot tell."""


class HostVolumes:
    """Changes volumes; those of environments only if somebody insists.

    Args:
        rules: what this host allows.
    """

    def __init__(
        self,
        *,
        volumes: EngineVolumes,
        archives: VolumeArchives,
        ownership: Ownership,
        space: Space,
        rules: PolicyRules,
    ) -> None:
        self._volumes = volumes
        self._archives = archives
        self._ownership = ownership
        self._space = space
        self._rules = rules

    async def list(self, *, sizes: bool = False) -> Sequence[OwnedVolume]:
        """All, sorted by name.

        Args:
            sizes: with their sizes, for which the Engine looks through all files.

        Raises:
            EngineUnavailable: the Engine does not answer.
        """
        users = await self._volumes.users()
        measured = await self._volumes.sizes() if sizes else {}
        return [await self._owned(v, users, measured) for v in await self._volumes.list()]

    async def _owned(
        self,
        volume: EngineVolume,
        users: Mapping[str, Sequence[str]],
        sizes: Mapping[str, int],
    ) -> OwnedVolume:
        return OwnedVolume(
            volume=volume,
            containers=tuple(users.get(volume.name, ())),
            environment=await self._ownership.owner(volume.labels),
            size_bytes=sizes.get(volume.name),
        )

    async def inspect(self, name: str, *, size: bool = True) -> OwnedVolume:
        """One.

        Raises:
            InvalidReference: the text can name none.
            ResourceNotFound: there is none.
        """
        volume = await self._volumes.inspect(name_or_id(_VOLUME, name))
        sizes = await self._volumes.sizes() if size else {}
        return await self._owned(volume, await self._volumes.users(), sizes)

    async def create(self, order: VolumeOrder) -> OwnedVolume:
        """Makes one on the host's own disk.

        Raises:
            InvalidReference: no volume can have the name.
            PolicyRefused: it asks for what this host does not allow.
            ResourceConflict: there is one of that name.
            StorageFull: the disk is as good as full.
        """
        name_or_id(_VOLUME, order.name)
        findings = judge(
            {"services": {}, "volumes": {order.name: {"labels": order.labels}}},
            self._rules,
            folder="",
        )
        if findings:
            raise PolicyRefused(findings, asker="volume")
        await self._space.require()
        if any(volume.name == order.name for volume in await self._volumes.list()):
            raise ResourceConflict(f"There is a volume {order.name!r} already.")
        return await self._owned(await self._volumes.create(order), {}, {})

    async def remove(self, name: str, *, force: bool) -> None:
        """Removes one that no container mounts, with all that it holds.

        Raises:
            ResourceOwned: it belongs to an environment.
            ResourceConflict: a container mounts it.
        """
        owned = await self.inspect(name, size=False)
        await self._ownership.require_free(_VOLUME, name, owned.volume.labels, force=force)
        await self._volumes.remove(owned.volume.name)

    async def prune(self, *, anonymous: bool, dry_run: bool) -> Sequence[OwnedVolume]:
        """Removes volumes that no container mounts and no environment owns; which went.

        Args:
            anonymous: only those whose name Docker made up.
            dry_run: remove nothing.
        """
        unused = [
            owned
            for owned in await self.list(sizes=True)
            if not owned.containers
            and owned.environment is None
            and (owned.volume.anonymous or not anonymous)
        ]
        if dry_run:
            return unused
        return [owned for owned in unused if await self._remove_unused(owned.volume.name)]

    async def _remove_unused(self, name: str) -> bool:
        try:
            await self._volumes.remove(name)
        except (ResourceConflict, ResourceNotFound):
            # Somebody mounted or removed it meanwhile.
            return False
        return True

    @asynccontextmanager
    async def back_up(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """What one holds, as a tar in pieces.

        Raises:
            ResourceNotFound: there is none.
        """
        async with self._archives.read(name_or_id(_VOLUME, name)) as pieces:
            yield pieces

    async def restore(
        self, name: str, chunks: AsyncIterable[bytes], *, clear: bool, force: bool
    ) -> OwnedVolume:
        """Unpacks a tar into one, which is made where there is none; a new one goes if that fails.

        Args:
            name: of the volume.
            chunks: the tar, plain or compressed by gzip.
            clear: remove first what it holds.
            force: also into one of an environment, or that running containers mount.

        Raises:
            ResourceOwned: it belongs to an environment.
            ResourceConflict: a container mounts it, or it holds something and is not cleared.
            RequestUnreadable: that is no tar, or not a whole one.
        """
        name_or_id(_VOLUME, name)
        made = await self._prepare(name, force=force)
        try:
            await self._archives.write(name, chunks, clear=clear)
        except BaseException:
            if made:
                with anyio.CancelScope(shield=True), suppress(AgentError):
                    await self._volumes.remove(name)
            raise
        return await self.inspect(name, size=False)

    async def _prepare(self, name: str, *, force: bool) -> bool:
        """Whether the volume was made for this."""
        try:
            owned = await self.inspect(name, size=False)
        except ResourceNotFound:
            await self.create(VolumeOrder(name=name))
            return True
        await self._ownership.require_free(_VOLUME, name, owned.volume.labels, force=force)
        if owned.containers and not force:
            raise ResourceConflict(
                f"Volume {name!r} is mounted by {', '.join(owned.containers)}.",
                hint="Remove them first, or add ?force=true.",
            )
        await self._space.require()
        return False

"""Volumes of the in-memory Engine."""

import io
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread

from adapters.memory.engine import MemoryEngine
from domain.containers import HELPER_LABEL
from domain.engine_volumes import EngineVolume, VolumeOrder, VolumeUser
from domain.errors import RequestUnreadable, ResourceConflict, ResourceNotFound

_PIECE_BYTES = 64 * 1024


class MemoryVolumes:
    """Twin of ``DockerVolumes``; containers mount what they were made with, or ``mount`` says."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._mounts: dict[str, set[str]] = {}
        self._orders: dict[str, VolumeOrder] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        """Volume → path → content."""

    def mount(self, volume: str, container: str) -> None:
        """Lets a container mount a volume."""
        self._mounts.setdefault(volume, set()).add(container)

    async def list(self) -> Sequence[EngineVolume]:
        """All, sorted by name."""
        await self._engine.answer("list volumes")
        return [self._volume(name) for name in sorted(self._engine.volumes)]

    def _volume(self, name: str) -> EngineVolume:
        order = self._orders.get(name, VolumeOrder())
        elsewhere = {"device": "elsewhere"} if name in self._engine.volume_options else {}
        return EngineVolume(
            name=name,
            driver=order.driver,
            options={**order.options, **elsewhere},
            labels=self._engine.labels.get(name, {}),
            anonymous=name in self._orders and not order.name,
        )

    async def inspect(self, name: str) -> EngineVolume:
        """One volume."""
        await self._engine.answer(f"look at volume {name}")
        self._require(name)
        return self._volume(name)

    def _require(self, name: str) -> None:
        if name not in self._engine.volumes:
            raise ResourceNotFound("volume", name)

    async def sizes(self) -> Mapping[str, int]:
        """Volume → bytes."""
        await self._engine.answer("measure volumes")
        return {
            name: sum(len(content) for content in self.files.get(name, {}).values())
            for name in self._engine.volumes
        }

    async def users(self) -> Mapping[str, Sequence[VolumeUser]]:
        """Volume → the containers that mount it."""
        await self._engine.answer("look who mounts volumes")
        return self._users()

    def _users(self) -> Mapping[str, Sequence[VolumeUser]]:
        found = {
            volume: {
                *self._mounts.get(volume, ()),
                *self._engine.of_project(project),
                *self._ordered(volume),
            }
            for volume, project in self._engine.volumes.items()
        }
        standing = self._engine.containers
        return {
            volume: kept
            for volume, names in found.items()
            if (
                kept := [
                    VolumeUser(name=name, id=standing[name].id, running=standing[name].running)
                    for name in sorted(names)
                    if name in standing
                ]
            )
        }

    def _ordered(self, volume: str) -> Sequence[str]:
        """Names of the containers that were made one by one with a volume."""
        return [
            container.name
            for container in self._engine.containers.values()
            if container.id in self._engine.orders
            and volume in {m.source for m in self._engine.orders[container.id][0].volumes}
        ]

    async def create(self, order: VolumeOrder) -> EngineVolume:
        """Makes a volume; one of the name that stands is given as it is."""
        name = order.name or self._engine.new_id()
        change = partial(self._create, name, order)
        await self._engine.answer(f"create volume {name}", change)
        return self._volume(name)

    def _create(self, name: str, order: VolumeOrder) -> None:
        if name not in self._engine.volumes:
            self._engine.create_volume(name, "", order.labels)
            self._orders[name] = order

    async def remove(self, name: str) -> None:
        """Removes a volume with what it holds."""
        await self._engine.answer(f"remove volume {name}", partial(self._remove, name))

    def _remove(self, name: str) -> None:
        self._require(name)
        if users := self._users().get(name):
            raise ResourceConflict(f"remove {name}: volume is in use - {users[0].id}")
        self._engine.remove_volume(name)
        self._orders.pop(name, None)
        self.files.pop(name, None)


class MemoryVolumeArchives:
    """Twin of ``DockerVolumeArchives``."""

    def __init__(self, engine: MemoryEngine, volumes: MemoryVolumes) -> None:
        self._engine = engine
        self._volumes = volumes

    @asynccontextmanager
    async def read(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """A volume as a tar, in pieces."""
        await self._volumes.inspect(name)
        archive = await anyio.to_thread.run_sync(_packed, self._volumes.files.get(name, {}))
        yield _pieces(archive)

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, clear: bool) -> None:
        """Unpacks a tar into a volume that stands, all or nothing."""
        await self._volumes.inspect(name)
        archive = b"".join([chunk async for chunk in chunks])
        if self._volumes.files.get(name) and not clear:
            raise ResourceConflict(
                "The volume holds something already.", hint="Add ?clear=true to replace it."
            )
        files = await anyio.to_thread.run_sync(_unpacked, archive)

        def change() -> None:
            self._volumes.files[name] = files

        await self._engine.answer(f"write volume {name}", change)

    async def end_left_over(self) -> int:
        """Removes helpers that somebody put there; the twin's own calls leave none."""
        await self._engine.answer("list helpers")
        found = [n for n, c in self._engine.containers.items() if HELPER_LABEL in c.labels]
        for name in found:
            self._engine.remove(name)
        return len(found)


async def _pieces(archive: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(archive), _PIECE_BYTES):
        yield archive[start : start + _PIECE_BYTES]


def _packed(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _unpacked(archive: bytes) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            found = [(member, tar.extractfile(member)) for member in tar if member.isfile()]
            return {member.name.removeprefix("./"): f.read() for member, f in found if f}
    except (tarfile.TarError, EOFError, OSError) as fault:
        raise RequestUnreadable(f"The archive cannot be unpacked: {fault}") from fault

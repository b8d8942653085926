"""What every Engine tells of its disk and its builder's cache: Docker's, and the in-memory one."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import anyio
import docker.errors
import pytest

from adapters.docker.build_cache import DockerBuildCache
from adapters.docker.client import EngineClient
from adapters.docker.disk_usage import DockerDiskUsages
from adapters.memory.build_cache import MemoryBuildCache
from adapters.memory.clock import MemoryClock
from adapters.memory.disk_usage import MemoryDiskUsages
from adapters.memory.engine import MemoryEngine
from domain.build_cache import CacheEntry, PrunedCache
from domain.container_orders import ContainerOrder, MountKind, MountOrder
from domain.containers import ContainerState
from domain.errors import EngineUnavailable
from domain.limits import HeldLimits
from domain.ports.build_cache import BuildCache
from domain.ports.disk_usage import DiskUsages
from tests.support import engine

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

MIB = 1024**2
YEARS = 10 * 365 * 86400.0


class World:
    """One Engine, and ways to fill its disk from outside."""

    disk: DiskUsages
    cache: BuildCache

    def __init__(self) -> None:
        self.mark = f"t-{uuid4().hex[:12]}"

    async def volume(self) -> str:
        """Makes a volume."""
        raise NotImplementedError

    async def fill(self, volume: str, size_bytes: int, *, keep: bool) -> None:
        """Lets a container write into a volume and into its own layer, and end.

        Args:
            volume: where.
            size_bytes: how much, into each.
            keep: leave the container behind, which has the volume then.
        """
        raise NotImplementedError

    async def build(self) -> str:
        """Builds something; a word of the description that its step has in the cache."""
        raise NotImplementedError


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryEngine()
        self.disk = self.twin = MemoryDiskUsages(self.state)
        self.clock = MemoryClock()
        self.cache = MemoryBuildCache(self.state, self.clock.now)

    async def volume(self) -> str:
        name = f"{self.mark}-{uuid4().hex[:6]}"
        self.state.volumes[name] = ""
        return name

    async def fill(self, volume: str, size_bytes: int, *, keep: bool) -> None:
        self.twin.written[volume] = size_bytes
        if keep:
            container = self.state.run(f"{self.mark}-writer", state=ContainerState.EXITED)
            mount = MountOrder(type=MountKind.VOLUME, source=volume, target="/data")
            order = ContainerOrder(name=container.name, image="busybox", volumes=(mount,))
            nothing = HeldLimits(cpus=0, memory_bytes=0, pids=0, log_bytes=0)
            self.state.orders[container.id] = (order, nothing)
            self.twin.written[container.name] = size_bytes

    async def build(self) -> str:
        entry = CacheEntry(
            id=self.mark, description=f"echo {self.mark}", size_bytes=7, used_at=self.clock.now()
        )
        self.state.build_cache[entry.id] = entry
        return self.mark


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient, folder: Path) -> None:
        super().__init__()
        self.api = host.client
        self.disk = DockerDiskUsages(client)
        self.cache = DockerBuildCache(client)
        self.folder = folder

    async def volume(self) -> str:
        name = f"{self.mark}-{uuid4().hex[:6]}"
        self.api.create_volume(name, labels={"test": self.mark})
        return name

    async def fill(self, volume: str, size_bytes: int, *, keep: bool) -> None:
        write = f"for f in /data/x /x; do head -c {size_bytes} /dev/zero > $f; done"
        container = self.api.create_container(
            engine.BASE_IMAGE,
            ["sh", "-c", write],
            labels={"test": self.mark},
            host_config=self.api.create_host_config(binds=[f"{volume}:/data"], network_mode="none"),
        )["Id"]
        self.api.start(container)
        self.api.wait(container)
        # The Engine's lists, and its measurement, know of it a moment later.
        with anyio.fail_after(10):
            while self.api.containers(filters={"id": container}):
                await anyio.sleep(0.02)
        if not keep:
            self.api.remove_container(container)

    async def build(self) -> str:
        text = f"FROM {engine.BASE_IMAGE}\nRUN echo {self.mark} > /x\n"
        await anyio.Path(self.folder, "Dockerfile").write_text(text)
        command = ["docker", "build", "-q", "-t", f"{self.mark}:latest", str(self.folder)]
        _run(command)
        return self.mark

    def clear(self) -> None:
        label = {"label": f"test={self.mark}"}
        for row in self.api.containers(all=True, filters=label):
            self.api.remove_container(row["Id"], force=True)
        for row in self.api.volumes(filters=label)["Volumes"] or []:
            self.api.remove_volume(row["Name"], force=True)
        with suppress(docker.errors.NotFound):
            self.api.remove_image(f"{self.mark}:latest")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    client = EngineClient(engine.SOCKET)
    found = DockerWorld(request.getfixturevalue("host"), client, tmp_path)
    yield found
    found.clear()
    await client.aclose()


async def test_what_a_stopped_container_and_its_volume_hold_is_measured(world: World) -> None:
    volume = await world.volume()
    await world.fill(volume, 2 * MIB, keep=True)

    usage = await world.disk.measure()

    assert usage.volumes.count >= 1
    assert usage.volumes.active >= 1
    assert usage.volumes.size_bytes >= 2 * MIB
    assert usage.containers.count > usage.containers.active
    assert usage.containers.reclaimable_bytes >= 2 * MIB
    assert usage.containers.size_bytes >= usage.containers.reclaimable_bytes


async def test_a_volume_that_no_container_has_could_go(world: World) -> None:
    volume = await world.volume()
    await world.fill(volume, 2 * MIB, keep=False)

    volumes = (await world.disk.measure()).volumes

    assert volumes.count > volumes.active
    assert volumes.reclaimable_bytes >= 2 * MIB


async def test_no_kind_could_give_back_more_than_it_has(world: World) -> None:
    await world.build()
    usage = await world.disk.measure()

    kinds = (usage.images, usage.containers, usage.volumes, usage.build_cache)
    for kind in kinds:
        assert 0 <= kind.active <= kind.count
        assert 0 <= kind.reclaimable_bytes <= kind.size_bytes
    assert usage.size_bytes == sum(kind.size_bytes for kind in kinds)


async def test_what_a_build_left_is_listed(world: World) -> None:
    word = await world.build()

    entries = await world.cache.entries()

    (step,) = [entry for entry in entries if word in entry.description]
    assert step.size_bytes > 0
    assert step.used_at is not None
    assert not step.in_use
    assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)
    # Builds beside this one add to it, and take away what failed.
    with anyio.fail_after(30):
        while (await world.disk.measure()).build_cache.count < len(await world.cache.entries()):
            await anyio.sleep(0.2)


async def test_what_was_used_since_stays(world: World) -> None:
    word = await world.build()

    # Nothing on any host is as old as this: others' cache is not this test's to clear. The builder
    # still gives up what a build beside this one has made and not yet used, so only what is the
    # test's own is looked at.
    pruned = await world.cache.prune(all_unused=True, unused_seconds=YEARS)

    (step,) = [entry for entry in await world.cache.entries() if word in entry.description]
    assert step.id not in pruned.ids


async def test_the_twin_tells_that_nothing_went() -> None:
    world = MemoryWorld()
    await world.build()

    pruned = await world.cache.prune(all_unused=True, unused_seconds=YEARS)

    assert pruned == PrunedCache(ids=(), reclaimed_bytes=0)


async def test_the_twin_clears_what_no_build_uses() -> None:
    world = MemoryWorld()
    await world.build()
    world.state.build_cache["used"] = CacheEntry(id="used", in_use=True)

    pruned = await world.cache.prune(all_unused=False)

    assert pruned.ids == (world.mark,)
    assert pruned.reclaimed_bytes == 7
    assert [entry.id for entry in await world.cache.entries()] == ["used"]


@pytest.mark.engine
async def test_an_engine_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    client = EngineClient(f"unix://{tmp_path}/nobody.sock")
    try:
        with pytest.raises(EngineUnavailable):
            await DockerDiskUsages(client).measure()
        with pytest.raises(EngineUnavailable):
            await DockerBuildCache(client).entries()
    finally:
        await client.aclose()

"""What every source of container counters does: kernel's files, the Engine, the in-memory one."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import msgspec
import pytest

from adapters.cgroups.usage import CgroupUsage
from adapters.docker.client import EngineClient
from adapters.docker.runtime import DockerContainers
from adapters.docker.stats import DockerUsage
from adapters.memory.container_usage import IDLE, MemoryUsage
from adapters.memory.engine import MemoryEngine
from adapters.memory.runtime import MemoryContainers
from domain.container_usage import ContainerUsage
from domain.containers import PROJECT_LABEL, Container
from domain.errors import EngineUnavailable
from domain.ports.container_usage import ContainerUsages
from domain.ports.runtime import Containers
from tests.support import engine

pytestmark = pytest.mark.anyio

MIB = 1024**2


class World:
    """One source, and a way to let containers run."""

    containers: Containers
    usages: ContainerUsages

    def __init__(self) -> None:
        self.project = f"t-{uuid4().hex[:12]}"

    async def run(self, name: str, *, memory_bytes: int = 0) -> None:
        """Starts a container."""
        raise NotImplementedError

    async def kill(self, name: str) -> None:
        """Ends a container."""
        raise NotImplementedError

    async def burn(self, name: str) -> None:
        """Lets a container use half a second of CPU or more."""
        raise NotImplementedError

    def name(self, name: str) -> str:
        """The full name of a container."""
        return f"{self.project}-{name}"

    async def of_project(self) -> list[Container]:
        """The project's containers."""
        return [c for c in await self.containers.list() if c.project == self.project]

    async def usage(self) -> Mapping[str, ContainerUsage]:
        """The counters of the project's containers, by short names."""
        containers = await self.of_project()
        found = await self.usages.usage(containers)
        names = {c.id: c.name.removeprefix(f"{self.project}-") for c in containers}
        return {names[each]: usage for each, usage in found.items()}


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryEngine()
        self.containers = MemoryContainers(self.state)
        self.usages = self.twin = MemoryUsage()

    async def run(self, name: str, *, memory_bytes: int = 0) -> None:
        full = self.name(name)
        self.state.run(full, project=self.project)
        limit = memory_bytes or IDLE.memory_limit_bytes
        self.twin.used[full] = msgspec.structs.replace(IDLE, memory_limit_bytes=limit)

    async def kill(self, name: str) -> None:
        self.state.stop(self.name(name))

    async def burn(self, name: str) -> None:
        used = self.twin.used[self.name(name)]
        more = msgspec.structs.replace(used, cpu_seconds=used.cpu_seconds + 0.5)
        self.twin.used[self.name(name)] = more


class EngineWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        super().__init__()
        self.host, self.client = host, client
        host.projects.append(self.project)
        self.containers = DockerContainers(client)
        self.by_engine, self.by_kernel = DockerUsage(client), CgroupUsage()

    async def run(self, name: str, *, memory_bytes: int = 0) -> None:
        options: dict[str, Any] = {"mem_limit": memory_bytes} if memory_bytes else {}
        self.start(name, **options)

    def start(self, name: str, *, command: str = "sleep 600", **options: Any) -> str:
        """Starts a container with options of the Engine."""
        api = self.host.client
        created = api.create_container(
            engine.BASE_IMAGE,
            ["sh", "-c", command],
            name=self.name(name),
            labels={PROJECT_LABEL: self.project},
            host_config=api.create_host_config(init=True, **options),
        )
        api.start(created["Id"])
        return str(created["Id"])

    def execute(self, name: str, command: str) -> None:
        """Runs a command in a container, to its end."""
        api = self.host.client
        api.exec_start(api.exec_create(self.name(name), ["sh", "-c", command])["Id"])

    async def kill(self, name: str) -> None:
        self.host.client.kill(self.name(name))

    async def burn(self, name: str) -> None:
        work = "i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done"
        self.execute(name, work)


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def on_engine(host: engine.Host) -> AsyncIterator[EngineWorld]:
    client = EngineClient(engine.SOCKET)
    yield EngineWorld(host, client)
    await client.aclose()


ON_ENGINE = [
    pytest.param(source, marks=pytest.mark.engine) for source in ("by_kernel", "by_engine")
]


@pytest.fixture(params=["memory", *ON_ENGINE])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    host: engine.Host = request.getfixturevalue("host")
    client = EngineClient(engine.SOCKET)
    world = EngineWorld(host, client)
    world.usages = getattr(world, request.param)
    yield world
    await client.aclose()


async def test_a_container_that_runs_has_processes_and_memory(world: World) -> None:
    await world.run("a")

    used = (await world.usage())["a"]

    assert used.processes >= 1
    assert 0 < used.memory_bytes < used.memory_limit_bytes
    assert 0 <= used.cpu_seconds < 10
    assert used.block_read_bytes >= 0
    assert used.block_written_bytes >= 0


async def test_one_that_has_ended_is_left_out(world: World) -> None:
    await world.run("a")
    await world.run("b")
    await world.kill("a")

    assert set(await world.usage()) == {"b"}


async def test_one_that_ends_meanwhile_is_left_out(world: World) -> None:
    await world.run("a")
    await world.run("b")
    containers = await world.of_project()
    await world.kill("a")

    # The in-memory one is told anew, since it knows nothing but what it is told.
    if isinstance(world, MemoryWorld):
        containers = await world.of_project()
    assert len(await world.usages.usage(containers)) == 1


async def test_nothing_is_found_of_nothing(world: World) -> None:
    assert await world.usages.usage([]) == {}


async def test_work_is_counted(world: World) -> None:
    await world.run("a")
    before = (await world.usage())["a"]

    await world.burn("a")

    after = (await world.usage())["a"]
    assert after.cpu_seconds >= before.cpu_seconds + 0.2


async def test_the_limit_is_the_containers_own_or_the_hosts(world: World) -> None:
    await world.run("held", memory_bytes=64 * MIB)
    await world.run("free")

    used = await world.usage()

    assert used["held"].memory_limit_bytes == 64 * MIB
    assert used["free"].memory_limit_bytes > 512 * MIB


@pytest.mark.engine
async def test_the_kernel_and_the_engine_tell_the_same(on_engine: EngineWorld) -> None:
    world = on_engine

    write = "head -c 20000000 /dev/zero >/f; sleep 60"
    world.start("bridge", mem_limit=128 * MIB)
    world.start("cache", network_mode="none", command=write)
    world.start("host", network_mode="host")
    world.start("shared", network_mode=f"container:{world.name('bridge')}")
    world.start("more", command="sleep 60 & sleep 60 & sleep 60")
    world.execute("bridge", "ping -c 3 -s 1000 $(ip route | awk '/default/ {print $3}')")
    await anyio.sleep(1)
    containers = await world.of_project()
    kernel = await world.by_kernel.usage(containers)
    told = await world.by_engine.usage(containers)

    assert len(kernel) == len(told) == 5
    for container in containers:
        seen, heard = kernel[container.id], told[container.id]
        assert seen.cpu_seconds == pytest.approx(heard.cpu_seconds, abs=0.1)
        assert seen.memory_bytes == pytest.approx(heard.memory_bytes, abs=MIB)
        assert seen.memory_limit_bytes == heard.memory_limit_bytes
        assert seen.processes == heard.processes
        assert seen.network_received_bytes == pytest.approx(heard.network_received_bytes, abs=500)
        assert seen.network_sent_bytes == pytest.approx(heard.network_sent_bytes, abs=500)
        assert seen.block_read_bytes == heard.block_read_bytes
        assert seen.block_written_bytes == heard.block_written_bytes
    sent = {c.name: kernel[c.id].network_sent_bytes for c in containers}
    assert sent[world.name("bridge")] > 3000
    assert sent[world.name("shared")] > 3000
    assert sent[world.name("host")] == 0
    assert sent[world.name("cache")] == 0


@pytest.mark.engine
async def test_memory_is_what_docker_stats_prints(on_engine: EngineWorld) -> None:
    world = on_engine
    command = "head -c 30000000 /dev/zero >/f; exec sleep 60"
    world.start("a", command=command)
    await anyio.sleep(1)
    shown = _docker_stats(world.name("a"))
    (used,) = (await world.by_kernel.usage(await world.of_project())).values()

    assert used.memory_bytes == pytest.approx(_bytes(shown), rel=0.05, abs=200_000)
    assert used.memory_bytes < 10 * MIB


def _docker_stats(name: str) -> str:
    command = ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", name]
    environment = {"DOCKER_HOST": engine.SOCKET, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    return done.stdout.split("/")[0].strip()


def _bytes(text: str) -> float:
    units = {"KiB": 1024, "MiB": MIB, "GiB": 1024**3, "B": 1}
    unit = next(unit for unit in units if text.endswith(unit))
    return float(text.removesuffix(unit)) * units[unit]


@pytest.mark.engine
async def test_groups_that_lie_elsewhere_are_found(on_engine: EngineWorld) -> None:
    world = on_engine
    by_systemd = world.host.client.info()["CgroupDriver"] == "systemd"
    top = world.project.replace("-", "")
    # Systemd makes the groups itself, and knows none but slices; a dash is a step deeper.
    parent = f"{top}-deeper.slice" if by_systemd else f"/{top}/deeper"
    remove = _stop_slice if by_systemd else _remove_groups
    identifier = world.start("a", cgroup_parent=parent)
    try:
        found = await world.by_kernel.usage(await world.of_project())
    finally:
        world.host.client.remove_container(identifier, force=True)
        remove(top)

    assert set(found) == {identifier}


def _stop_slice(name: str) -> None:
    """Systemd keeps the slices that it made for others."""
    subprocess.run(["systemctl", "stop", f"{name}.slice"], check=True)


def _remove_groups(name: str) -> None:
    """The Engine leaves the groups that it was to make others in."""
    # Unlike a glob, this passes over groups of others that go meanwhile.
    for folder, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if folder.endswith((f"/{name}/deeper", f"/{name}")):
            Path(folder).rmdir()


async def test_an_engine_that_is_away_says_so() -> None:
    client = EngineClient("unix:///nowhere/docker.sock")
    world = MemoryWorld()
    await world.run("a")

    with pytest.raises(EngineUnavailable):
        await DockerUsage(client).usage(await world.of_project())

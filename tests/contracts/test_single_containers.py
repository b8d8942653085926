"""What every runtime does with containers one by one: the Docker Engine, and the in-memory one."""

import io
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import anyio
import msgspec
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.container_changes import DockerContainerChanges
from adapters.docker.container_files import DockerContainerFiles
from adapters.docker.container_lookup import DockerContainerLookup
from adapters.docker.container_output import DockerContainerOutput
from adapters.docker.streams import THREAD_NAME
from adapters.docker.surroundings import DockerSurroundings
from adapters.memory.container_files import MemoryContainerFiles
from adapters.memory.container_output import MemoryContainerOutput
from adapters.memory.containers import MemoryContainerChanges, MemoryContainerLookup
from adapters.memory.engine import MemoryEngine
from adapters.memory.surroundings import MemorySurroundings
from domain.container_details import ProcessColumn
from domain.container_orders import (
    ContainerOrder,
    HealthcheckOrder,
    MountKind,
    MountOrder,
    NetworkOrder,
    PortOrder,
    RestartName,
    RestartPolicy,
    Ulimit,
)
from domain.container_streams import FileKind, OutputChoice, OutputLine
from domain.containers import PROJECT_LABEL, ContainerState
from domain.errors import (
    EngineUnavailable,
    RequestUnreadable,
    ResourceAmbiguous,
    ResourceConflict,
    ResourceNotFound,
)
from domain.limits import HeldLimits
from domain.ports.container_changes import ContainerChanges
from domain.ports.container_details import ContainerLookup
from domain.ports.container_files import ContainerFiles
from domain.ports.container_output import ContainerOutput
from domain.ports.container_surroundings import ContainerSurroundings
from tests.support import engine
from tests.support.engine import rare_subnet

pytestmark = pytest.mark.anyio

LIMITS = HeldLimits(cpus=0.5, memory_bytes=64 * 1024 * 1024, pids=50, log_bytes=64 * 1024 * 1024)


class World:
    """One runtime, and ways to let containers do things."""

    lookup: ContainerLookup
    changes: ContainerChanges
    surroundings: ContainerSurroundings
    output: ContainerOutput
    files: ContainerFiles

    def __init__(self) -> None:
        self.project = f"t-{uuid4().hex[:12]}"

    def order(self, name: str = "web", **fields: Any) -> ContainerOrder:
        """An order for a container of the project that sleeps in no network."""
        own: dict[str, Any] = {
            "command": ("sleep", "600"),
            "networks": (NetworkOrder(name="none"),),
            "labels": {PROJECT_LABEL: self.project},
            "init": True,
        }
        return ContainerOrder(
            name=f"{self.project}-{name}", image=engine.BASE_IMAGE, **{**own, **fields}
        )

    async def made(self, name: str = "web", **fields: Any) -> str:
        """The name of a container that does not run yet."""
        order = self.order(name, **fields)
        await self.changes.create(order, LIMITS)
        return order.name

    async def running(self, name: str = "web", **fields: Any) -> str:
        """The name of one that does."""
        full = await self.made(name, **fields)
        await self.changes.start(full)
        return full

    async def state(self, name: str) -> ContainerState:
        """What the runtime says of a container."""
        return (await self.lookup.inspect(name)).state.status

    async def end(self, name: str, exit_code: int) -> None:
        """Lets a container end by itself."""
        raise NotImplementedError

    async def printing(self, *lines: bytes) -> str:
        """The identifier of a container that prints, lines with ``!`` to standard error."""
        raise NotImplementedError

    async def with_files(self, files: dict[str, bytes], links: dict[str, str]) -> str:
        """The identifier of a container that has files and links."""
        raise NotImplementedError

    async def lines(self, container_id: str, **choice: Any) -> list[OutputLine]:
        """What was printed."""
        async with self.output.lines(container_id, OutputChoice(**choice)) as lines:
            return [line async for line in lines]

    async def raw(self, container_id: str, *, timestamps: bool = False, **choice: Any) -> bytes:
        """The bytes that were printed."""
        wanted = OutputChoice(**choice)
        async with self.output.raw(container_id, wanted, timestamps=timestamps) as pieces:
            return b"".join([piece async for piece in pieces])


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.state_ = MemoryEngine()
        self.state_.pull(engine.BASE_IMAGE)
        self.lookup = MemoryContainerLookup(self.state_)
        self.changes = MemoryContainerChanges(self.state_)
        self.surroundings = MemorySurroundings(self.state_)
        self.output = self._output = MemoryContainerOutput(self.state_)
        self.files = self._files = MemoryContainerFiles(self.state_)

    async def end(self, name: str, exit_code: int) -> None:
        self.state_.stop(name, exit_code=exit_code)

    async def printing(self, *lines: bytes) -> str:
        name = await self.running("talks")
        for line in lines:
            stream = "stderr" if line.startswith(b"!") else "stdout"
            self._output.print(name, line.removeprefix(b"!"), stream=stream)
        return (await self.lookup.inspect(name)).id

    async def with_files(self, files: dict[str, bytes], links: dict[str, str]) -> str:
        name = await self.running("files")
        for path, content in files.items():
            self._files.write(name, path, content)
        for path, target in links.items():
            self._files.link(name, path, target)
        return (await self.lookup.inspect(name)).id


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        super().__init__()
        self.host = host
        host.projects.append(self.project)
        self.lookup = DockerContainerLookup(client)
        self.changes = DockerContainerChanges(client)
        self.surroundings = DockerSurroundings(client)
        self.output = DockerContainerOutput(engine.SOCKET, client)
        self.files = DockerContainerFiles(engine.SOCKET, client)

    async def end(self, name: str, exit_code: int) -> None:
        self.exec(name, f"echo {exit_code} > /end")
        with anyio.fail_after(20):
            while (await self.lookup.inspect(name)).state.running:
                await anyio.sleep(0.05)

    def exec(self, name: str, script: str) -> str:
        """What a shell in a container prints."""
        client = self.host.client
        found = client.exec_create(name, ["sh", "-c", script])
        text: str = client.exec_start(found["Id"]).decode()
        assert client.exec_inspect(found["Id"])["ExitCode"] == 0, text
        return text

    async def running(self, name: str = "web", **fields: Any) -> str:
        until_told = "until [ -s /end ]; do sleep 0.1; done; exit $(cat /end)"
        return await super().running(name, **{"command": ("sh", "-c", until_told), **fields})

    async def printing(self, *lines: bytes) -> str:
        said = [
            "printf '{}\\n'{}; sleep 0.05".format(
                "".join(f"\\{byte:03o}" for byte in line.removeprefix(b"!")),
                " >&2" if line.startswith(b"!") else "",
            )
            for line in lines
        ]
        script = "; ".join([*said, "echo done >/done", "exec sleep 600"])
        name = await super().running("talks", command=("sh", "-c", script))
        with anyio.fail_after(20):
            while "done" not in self.exec(name, "cat /done 2>/dev/null || true"):
                await anyio.sleep(0.05)
        return (await self.lookup.inspect(name)).id

    async def with_files(self, files: dict[str, bytes], links: dict[str, str]) -> str:
        name = await self.running("files")
        for path, content in files.items():
            coded = "".join(f"\\{byte:03o}" for byte in content)
            folder = path.rpartition("/")[0] or "/"
            self.exec(name, f"mkdir -p {folder}; printf '{coded}' > {path}")
        for path, target in links.items():
            self.exec(name, f"ln -s {target} {path}")
        return (await self.lookup.inspect(name)).id


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    client = EngineClient(engine.SOCKET)
    yield DockerWorld(request.getfixturevalue("host"), client)
    await client.aclose()


class TestCreating:
    """Containers that are made."""

    async def test_it_is_made_as_it_was_ordered(self, world: World) -> None:
        name = await world.made(
            env={"COURSE": "web-101"},
            user="1000",
            working_dir="/srv",
            hostname="web",
            tty=True,
            open_stdin=True,
            read_only=True,
            stop_signal="INT",
            stop_timeout=3,
            cap_drop=("ALL",),
            cap_add=("CHOWN",),
            security_opt=("no-new-privileges:true",),
            ports=(PortOrder(container_port=80, host_port="48080", host_address="127.0.0.1"),),
            restart_policy=RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3),
            healthcheck=HealthcheckOrder(test=("CMD", "true"), interval_seconds=5, retries=2),
            extra_hosts=("db:10.9.0.2",),
            dns=("10.9.0.3",),
            dns_search=("lab.example",),
            dns_options=("ndots:2",),
            ulimits={"nofile": Ulimit(soft=512, hard=1024)},
            sysctls={"net.ipv4.ip_forward": "1"},
            shm_size_bytes=1_048_576,
            group_add=("29",),
        )

        found = await world.lookup.inspect(name)

        assert found.name == name
        assert found.image == engine.BASE_IMAGE
        assert found.state.status is ContainerState.CREATED
        assert (found.state.exit_code, found.state.finished_at) == (None, None)
        assert found.command == ("sleep", "600")
        assert found.env["COURSE"] == "web-101"
        assert found.labels == {PROJECT_LABEL: world.project}
        assert (found.user, found.working_dir, found.hostname) == ("1000", "/srv", "web")
        assert (found.tty, found.open_stdin, found.read_only, found.init) == (True,) * 4
        assert (found.stop_signal, found.stop_timeout) == ("INT", 3)
        assert (found.cap_add, found.cap_drop) == (("CHOWN",), ("ALL",))
        assert found.security_opt == ("no-new-privileges:true",)
        assert found.restart_policy.maximum_retry_count == 3
        assert [p.host_port for p in found.port_bindings] == ["48080"]
        assert found.limits.cpus == 0.5
        assert found.limits.memory_bytes == found.limits.memory_and_swap_bytes == 67_108_864
        assert found.limits.pids == 50
        assert found.network_mode == "none"
        assert found.healthcheck == HealthcheckOrder(
            test=("CMD", "true"), interval_seconds=5, retries=2
        )
        assert (found.extra_hosts, found.dns) == (("db:10.9.0.2",), ("10.9.0.3",))
        assert (found.dns_search, found.dns_options) == (("lab.example",), ("ndots:2",))
        assert found.ulimits == {"nofile": Ulimit(soft=512, hard=1024)}
        assert found.sysctls == {"net.ipv4.ip_forward": "1"}
        assert (found.shm_size_bytes, found.group_add) == (1_048_576, ("29",))
        assert not found.auto_remove

    async def test_what_is_not_ordered_is_left_to_the_engine(self, world: World) -> None:
        found = await world.lookup.inspect(await world.made())

        assert found.healthcheck is None
        assert (found.extra_hosts, found.dns, found.dns_search, found.dns_options) == ((),) * 4
        assert (found.ulimits, found.sysctls, found.group_add) == ({}, {}, ())
        assert found.shm_size_bytes == 64 * 1024 * 1024

    async def test_volumes_by_name_are_made_with_it_and_stay(self, world: World) -> None:
        volume = f"{world.project}-data"
        mounts = (
            MountOrder(type=MountKind.VOLUME, source=volume, target="/data", read_only=True),
            MountOrder(type=MountKind.TMPFS, target="/fast", size_bytes=65_536),
        )
        name = await world.made(volumes=mounts)
        await world.changes.start(name)

        (mount,) = [m for m in (await world.lookup.inspect(name)).mounts if m.type == "volume"]
        assert (mount.name, mount.destination, mount.read_only) == (volume, "/data", True)
        await world.changes.remove(name, force=True, volumes=True)
        found = await world.surroundings.volume(volume)
        assert found is not None
        assert found.plain
        if isinstance(world, DockerWorld):
            world.host.client.remove_volume(volume)

    async def test_a_name_that_is_taken_is_a_conflict(self, world: World) -> None:
        await world.made()

        with pytest.raises(ResourceConflict, match="already in use"):
            await world.made()

    async def test_an_image_that_is_not_at_hand_is_told(self, world: World) -> None:
        order = msgspec.structs.replace(world.order(), image=f"{world.project}:no")

        with pytest.raises(ResourceNotFound, match="no image"):
            await world.changes.create(order, LIMITS)

    async def test_a_network_that_is_not_there_is_a_conflict_at_the_start(
        self, world: World
    ) -> None:
        name = await world.made(networks=(NetworkOrder(name=f"{world.project}-no"),))

        with pytest.raises(ResourceConflict, match="not found"):
            await world.changes.start(name)

    async def test_a_port_that_is_taken_is_a_conflict_at_the_start(self, world: World) -> None:
        network = f"{world.project}-net"
        await world.surroundings.make_network(
            network, rare_subnet(), {PROJECT_LABEL: world.project}
        )
        port = PortOrder(container_port=80, host_port="48731", host_address="127.0.0.1")
        asked = {"networks": (NetworkOrder(name=network),), "ports": (port,)}
        await world.running("first", **asked)
        second = await world.made("second", **asked)

        with pytest.raises(ResourceConflict, match="already allocated"):
            await world.changes.start(second)


class TestChanging:
    """What is done to containers."""

    async def test_it_starts_and_stops_and_starts_again(self, world: World) -> None:
        name = await world.made()

        await world.changes.start(name)
        await world.changes.start(name)
        assert await world.state(name) is ContainerState.RUNNING
        await world.changes.stop(name, 5)
        await world.changes.stop(name)
        assert await world.state(name) is ContainerState.EXITED
        await world.changes.restart(name)
        assert await world.state(name) is ContainerState.RUNNING

    async def test_a_restart_is_a_new_start(self, world: World) -> None:
        name = await world.running()
        first = (await world.lookup.inspect(name)).state

        await world.changes.restart(name, 0)

        second = (await world.lookup.inspect(name)).state
        assert first.started_at is not None
        assert second.started_at is not None
        assert second.started_at > first.started_at
        assert second.finished_at is not None

    async def test_it_ends_with_its_own_exit_code(self, world: World) -> None:
        name = await world.running()
        assert (await world.lookup.inspect(name)).state.exit_code is None

        await world.end(name, 3)

        state = (await world.lookup.inspect(name)).state
        assert (state.status, state.exit_code, state.pid) == (ContainerState.EXITED, 3, None)

    async def test_it_is_killed(self, world: World) -> None:
        name = await world.running()

        await world.changes.kill(name, "SIGKILL")

        state = (await world.lookup.inspect(name)).state
        assert (state.status, state.exit_code) == (ContainerState.EXITED, 137)

    async def test_a_signal_need_not_end_it(self, world: World) -> None:
        name = await world.running()

        await world.changes.kill(name, "CONT")

        assert await world.state(name) is ContainerState.RUNNING

    async def test_what_is_no_signal_is_told(self, world: World) -> None:
        name = await world.running()

        with pytest.raises(RequestUnreadable, match="invalid signal"):
            await world.changes.kill(name, "NONSENSE")

    async def test_it_is_paused_and_goes_on(self, world: World) -> None:
        name = await world.running()

        await world.changes.pause(name)
        assert await world.state(name) is ContainerState.PAUSED
        with pytest.raises(ResourceConflict, match="already paused"):
            await world.changes.pause(name)
        with pytest.raises(ResourceConflict, match="paused"):
            await world.changes.start(name)
        await world.changes.unpause(name)
        assert await world.state(name) is ContainerState.RUNNING
        with pytest.raises(ResourceConflict, match="not paused"):
            await world.changes.unpause(name)

    async def test_it_gets_another_name(self, world: World) -> None:
        name, other = await world.made("one"), await world.made("two")
        new = f"{world.project}-three"

        await world.changes.rename(name, new)

        assert (await world.lookup.inspect(new)).name == new
        with pytest.raises(ResourceNotFound):
            await world.lookup.inspect(name)
        with pytest.raises(ResourceConflict, match="already in use"):
            await world.changes.rename(new, other)

    async def test_it_is_removed(self, world: World) -> None:
        name = await world.running()

        with pytest.raises(ResourceConflict, match="running"):
            await world.changes.remove(name, force=False, volumes=False)
        await world.changes.remove(name, force=True, volumes=False)

        with pytest.raises(ResourceNotFound):
            await world.lookup.inspect(name)

    @pytest.mark.parametrize("verb", ["kill", "pause"])
    async def test_what_needs_one_that_runs_is_a_conflict_with_one_that_does_not(
        self, world: World, verb: str
    ) -> None:
        name = await world.made()

        with pytest.raises(ResourceConflict, match="not running"):
            await (
                world.changes.kill(name, "KILL") if verb == "kill" else world.changes.pause(name)
            )
        with pytest.raises(ResourceConflict, match="not running"):
            await world.lookup.processes(name)

    async def test_what_is_not_there_is_told_by_every_call(self, world: World) -> None:
        name = f"{world.project}-nobody"
        calls = [
            world.lookup.inspect(name),
            world.lookup.processes(name),
            world.lookup.file_changes(name),
            world.changes.start(name),
            world.changes.stop(name),
            world.changes.restart(name),
            world.changes.kill(name, "KILL"),
            world.changes.pause(name),
            world.changes.unpause(name),
            world.changes.rename(name, f"{name}-2"),
            world.changes.remove(name, force=True, volumes=True),
            world.files.status(name, "/"),
            world.lines(name),
            world.raw(name),
        ]
        for call in calls:
            with pytest.raises(ResourceNotFound, match="There is no container"):
                await call


class TestLooking:
    """What is told of containers."""

    async def test_names_identifiers_and_their_beginnings_name_it(self, world: World) -> None:
        name = await world.made()
        found = await world.lookup.inspect(name)

        assert await world.lookup.inspect(found.id) == found
        assert await world.lookup.inspect(found.id[:63]) == found

    async def test_a_beginning_of_several_is_ambiguous(self, world: World) -> None:
        begun: set[str] = set()
        for number in range(17):
            name = await world.made(f"n{number}")
            first = (await world.lookup.inspect(name)).id[0]
            if first in begun:
                break
            begun.add(first)

        with pytest.raises(ResourceAmbiguous):
            await world.lookup.inspect(first)

    async def test_processes_are_rows_under_titles(self, world: World) -> None:
        name = await world.running()

        found = await world.lookup.processes(name)

        assert "PID" in found.titles
        assert found.processes
        assert {len(row) for row in found.processes} == {len(found.titles)}

    async def test_processes_are_told_with_the_columns_that_are_asked_for(
        self, world: World
    ) -> None:
        name = await world.running(command=("sleep", "600"))

        asked = (ProcessColumn.ARGUMENTS, ProcessColumn.USER, ProcessColumn.PID)
        found = await world.lookup.processes(name, asked)

        assert found.titles == ("PID", "USER", "COMMAND")
        assert [row[2] for row in found.processes if "sleep 600" in row[2]]
        assert all(row[0].isdigit() for row in found.processes)

    @pytest.mark.parametrize("column", ProcessColumn)
    async def test_every_column_is_one_that_is_known(
        self, world: World, column: ProcessColumn
    ) -> None:
        found = await world.lookup.processes(await world.running(), (column,))

        assert found.titles[0] == "PID"
        assert {len(row) for row in found.processes} == {len({"pid", column.value})}

    async def test_a_healthcheck_of_none_is_no_health(self, world: World) -> None:
        name = await world.running(healthcheck=HealthcheckOrder(test=("NONE",)))

        assert (await world.lookup.inspect(name)).health is None

    async def test_sizes_are_told_for_each(self, world: World) -> None:
        found = await world.lookup.inspect(await world.made())

        assert (await world.lookup.sizes())[found.id] >= 0


class TestSurroundings:
    """Networks and volumes."""

    async def test_a_network_is_made_with_its_addresses_and_labels(self, world: World) -> None:
        name, subnet = f"{world.project}-net", rare_subnet()
        labels = {PROJECT_LABEL: world.project}

        assert await world.surroundings.network(name) is None
        await world.surroundings.make_network(name, subnet, labels)

        found = await world.surroundings.network(name)
        assert found is not None
        assert (found.driver, found.subnets, found.labels) == ("bridge", (subnet,), labels)
        with pytest.raises(ResourceConflict, match="already exists"):
            await world.surroundings.make_network(name, rare_subnet(), labels)

    async def test_a_volume_that_is_not_there_is_none(self, world: World) -> None:
        assert await world.surroundings.volume(f"{world.project}-no") is None


class TestOutput:
    """What a container prints."""

    async def test_lines_come_with_their_stream_and_their_very_bytes(self, world: World) -> None:
        container = await world.printing(b"one", b"!two \xff\xfe\x00", b"", b"\x1b[31mred\r")

        lines = await world.lines(container)

        assert [(line.stream, line.data) for line in lines] == [
            ("stdout", b"one"),
            ("stderr", b"two \xff\xfe\x00"),
            ("stdout", b""),
            ("stdout", b"\x1b[31mred\r"),
        ]
        assert [line.at for line in lines] == sorted(line.at for line in lines)

    async def test_raw_bytes_are_those_of_the_chosen_streams(self, world: World) -> None:
        container = await world.printing(b"one", b"!two\xff", b"three\x00")

        assert await world.raw(container) == b"one\ntwo\xff\nthree\x00\n"
        assert await world.raw(container, stderr=False) == b"one\nthree\x00\n"
        assert await world.raw(container, stdout=False) == b"two\xff\n"
        assert await world.raw(container, tail=1) == b"three\x00\n"
        assert await world.raw(container, tail=0) == b""

    async def test_raw_bytes_can_have_the_moment_before_each_line(self, world: World) -> None:
        container = await world.printing(b"one", b"!two")
        stamps = [line.at for line in await world.lines(container)]

        raw = await world.raw(container, timestamps=True)

        assert raw.decode() == f"{stamps[0]} one\n{stamps[1]} two\n"

    async def test_since_and_until_bound_what_is_read(self, world: World) -> None:
        container = await world.printing(b"one", b"two", b"three")
        second = datetime.fromisoformat((await world.lines(container))[1].at)

        since = await world.lines(container, since=second)
        until = await world.lines(container, until=second)

        assert [line.data for line in since] == [b"two", b"three"]
        assert [line.data for line in until] == [b"one", b"two"]

    async def test_followers_end_with_the_container(self, world: World) -> None:
        container = await world.printing(b"one")

        async def kill_soon() -> None:
            await anyio.sleep(0.3)
            await world.changes.kill(container, "KILL")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(kill_soon)
                assert [x.data for x in await world.lines(container, follow=True)] == [b"one"]
        assert await world.raw(container, follow=True) == b"one\n"

    async def test_followers_end_when_the_agent_does(self, world: World) -> None:
        container = await world.printing(b"one")

        async def end_soon() -> None:
            await anyio.sleep(0.3)
            world.output.end()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(end_soon)
                assert [x.data for x in await world.lines(container, follow=True)] == [b"one"]

    async def test_one_who_begins_to_follow_when_the_agent_ends_is_not_kept(
        self, world: World
    ) -> None:
        container = await world.printing()
        world.output.end()

        with anyio.fail_after(20):
            assert await world.lines(container, follow=True) == []
            assert await world.raw(container, follow=True) == b""

    async def test_waiting_for_a_line_may_be_given_up_and_nothing_is_lost(
        self, world: World
    ) -> None:
        container = await world.printing(b"one", b"two")
        found: list[bytes] = []

        with anyio.fail_after(20):
            async with world.output.lines(container, OutputChoice(follow=True)) as lines:
                while len(found) < 2:
                    with anyio.move_on_after(0.001):
                        found.append((await anext(lines)).data)

        assert found == [b"one", b"two"]


class TestFiles:
    """What is read of a container's files."""

    async def test_a_regular_file_comes_as_it_is(self, world: World) -> None:
        content = bytes(range(256)) * 3
        container = await world.with_files({"/srv/a/data": content}, {})

        async with world.files.regular(container, "/srv/a/data") as opened:
            found = b"".join([piece async for piece in opened.content])

        assert found == content
        assert opened.status.size_bytes == len(content)
        assert (opened.status.name, opened.status.kind) == ("data", FileKind.FILE)
        assert opened.status.modified_at is not None

    async def test_an_empty_file_is_empty(self, world: World) -> None:
        container = await world.with_files({"/srv/empty": b""}, {})

        async with world.files.regular(container, "/srv/empty") as opened:
            assert [piece async for piece in opened.content] == []
        assert opened.status.size_bytes == 0

    async def test_a_link_is_followed_within_the_container(self, world: World) -> None:
        container = await world.with_files({"/srv/data": b"found"}, {"/link": "/srv/data"})

        status = await world.files.status(container, "/link")
        async with world.files.regular(container, "/link") as opened:
            found = b"".join([piece async for piece in opened.content])

        assert (status.kind, status.link_target) == (FileKind.LINK, "/srv/data")
        assert found == b"found"

    async def test_a_link_to_itself_leads_to_nothing(self, world: World) -> None:
        container = await world.with_files({"/srv/data": b""}, {"/loop": "/loop"})

        with pytest.raises(ResourceNotFound, match="no file '/loop'"):
            await world.files.status(container, "/loop")

    async def test_a_folder_comes_as_an_archive(self, world: World) -> None:
        container = await world.with_files({"/srv/a/one": b"1", "/srv/a/two": b"22"}, {})

        async with world.files.tar(container, "/srv/a") as opened:
            archive = io.BytesIO(b"".join([piece async for piece in opened.content]))

        assert opened.status.kind is FileKind.FOLDER
        with tarfile.open(fileobj=archive) as members:
            names = {member.name: member.size for member in members if member.isfile()}
        assert names == {"a/one": 1, "a/two": 2}

    async def test_a_folder_is_no_regular_file(self, world: World) -> None:
        container = await world.with_files({"/srv/a/one": b"1"}, {})

        with pytest.raises(RequestUnreadable, match="no regular file"):
            async with world.files.regular(container, "/srv/a"):
                pass

    @pytest.mark.parametrize("path", ["/no", "/srv/one/deeper", "/..//no", "/?/#", "/%2e%2e/no"])
    async def test_what_is_not_there_is_told(self, world: World, path: str) -> None:
        container = await world.with_files({"/srv/one": b"1"}, {})

        with pytest.raises(ResourceNotFound, match="There is no file"):
            await world.files.status(container, path)


@pytest.mark.engine
class TestTheEngine:
    """What only a real Engine shows."""

    @pytest.fixture
    async def docker(self, host: engine.Host) -> AsyncIterator[DockerWorld]:
        client = EngineClient(engine.SOCKET)
        yield DockerWorld(host, client)
        await client.aclose()

    async def test_files_that_were_written_are_told(self, docker: DockerWorld) -> None:
        name = await docker.running()
        docker.exec(name, "echo x > /tmp/new; rm /bin/wc")

        found = {(c.path, c.kind.value) for c in await docker.lookup.file_changes(name)}

        assert {("/tmp/new", "added"), ("/tmp", "modified"), ("/bin/wc", "deleted")} <= found

    async def test_a_healthcheck_tells_how_it_went(self, docker: DockerWorld) -> None:
        check = HealthcheckOrder(
            test=("CMD-SHELL", "echo fine"), interval_seconds=1, timeout_seconds=5, retries=1
        )
        name = await docker.running(healthcheck=check)

        with anyio.fail_after(20):
            while (await docker.lookup.inspect(name)).health != "healthy":
                await anyio.sleep(0.1)

        health = (await docker.lookup.inspect(name)).state.health
        assert health is not None
        assert [(p.exit_code, p.output.strip()) for p in health.probes][:1] == [(0, "fine")]

    async def test_one_that_was_killed_for_its_memory_says_so(self, docker: DockerWorld) -> None:
        order = docker.order(
            command=("sh", "-c", "x=1234567890; while :; do x=$x$x; done"), init=False
        )
        await docker.changes.create(
            order, msgspec.structs.replace(LIMITS, memory_bytes=32 * 1024 * 1024)
        )
        await docker.changes.start(order.name)

        with anyio.fail_after(60):
            while (await docker.lookup.inspect(order.name)).state.running:
                await anyio.sleep(0.1)

        # The Engine learns of the two by events that may come either way round.
        with anyio.fail_after(20):
            while not (await docker.lookup.inspect(order.name)).state.oom_killed:
                await anyio.sleep(0.1)

    async def test_several_networks_are_joined_with_their_aliases(
        self, docker: DockerWorld
    ) -> None:
        names = [f"{docker.project}-{letter}" for letter in "ab"]
        for name in names:
            await docker.surroundings.make_network(
                name, rare_subnet(), {PROJECT_LABEL: docker.project}
            )
        container = await docker.running(
            networks=tuple(NetworkOrder(name=name, aliases=(f"in-{name}",)) for name in names)
        )

        found = (await docker.lookup.inspect(container)).networks

        assert [network.name for network in found] == names
        assert all(f"in-{network.name}" in network.aliases for network in found)
        assert all(network.ip_address for network in found)

    async def test_a_program_that_is_not_there_is_the_callers_fault(
        self, docker: DockerWorld
    ) -> None:
        name = await docker.made(command=("/no/such/program",), init=False)

        with pytest.raises(RequestUnreadable, match="no such file"):
            await docker.changes.start(name)

    async def test_megabytes_come_whole(self, docker: DockerWorld) -> None:
        script = "seq 1 300000; dd if=/dev/urandom bs=64k count=16 2>/dev/null; echo; sleep 600"
        name = await super(DockerWorld, docker).running("big", command=("sh", "-c", script))
        container = (await docker.lookup.inspect(name)).id
        with anyio.fail_after(60):
            before, raw = b"", b"x"
            while before != raw:
                before, raw = raw, await docker.raw(container)
                await anyio.sleep(0.2)

        lines = await docker.lines(container)

        again = b"".join(x.data + (b"" if x.partial else b"\n") for x in lines)
        assert raw.startswith(b"1\n2\n")
        assert b"\n300000\n" in raw
        assert len(raw) > 3_000_000
        assert again == raw

    async def test_one_that_follows_slowly_loses_the_oldest_with_a_remark_but_no_raw_byte(
        self, docker: DockerWorld
    ) -> None:
        script = "sleep 5; seq 1 60000; sleep 2"
        name = await super(DockerWorld, docker).running("talks", command=("sh", "-c", script))
        container = (await docker.lookup.inspect(name)).id
        raw, remarks, last = bytearray(), [], b""

        async def read_raw() -> None:
            choice = OutputChoice(follow=True)
            async with docker.output.raw(container, choice, timestamps=False) as pieces:
                async for piece in pieces:
                    if not raw:
                        await anyio.sleep(2)
                    raw.extend(piece)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(read_raw)
                async with docker.output.lines(container, OutputChoice(follow=True)) as lines:
                    async for line in lines:
                        if line.data == b"1":
                            await anyio.sleep(3)
                        if line.stream == "agent":
                            remarks.append(line.data.decode())
                        last = line.data

        assert remarks
        assert all("were left out" in remark for remark in remarks)
        assert last == b"60000"
        assert bytes(raw) == b"".join(b"%d\n" % number for number in range(1, 60_001))

    async def test_what_was_printed_before_is_lost_by_no_one_however_slowly_he_reads(
        self, docker: DockerWorld
    ) -> None:
        container = await docker.printing(b"!first")
        docker.exec(container, "seq 1 40000 > /proc/1/fd/1 2>/dev/null || true")
        expected = (await docker.raw(container)).count(b"\n")
        found = 0

        with anyio.fail_after(30):
            async with docker.output.lines(container, OutputChoice(follow=True)) as lines:
                await anyio.sleep(1)
                while found < expected:
                    line = await anext(lines)
                    assert line.stream != "agent"
                    found += 1

    async def test_all_who_follow_share_one_reading_and_hear_every_line_once(
        self, docker: DockerWorld
    ) -> None:
        script = "sleep 0.3; for i in $(seq 1 40); do echo $i; sleep 0.05; done; sleep 600"
        name = await super(DockerWorld, docker).running("talks", command=("sh", "-c", script))
        container = (await docker.lookup.inspect(name)).id
        heard: list[list[bytes]] = []

        async def follow() -> None:
            mine: list[bytes] = []
            heard.append(mine)
            async with docker.output.lines(container, OutputChoice(follow=True)) as lines:
                async for line in lines:
                    mine.append(line.data)  # noqa: PERF401 - it is cut off

        with anyio.fail_after(40):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(follow)
                    await anyio.sleep(0.05)
                while min(len(mine) for mine in heard) < 40 or len(reading_threads()) > 1:
                    await anyio.sleep(0.05)
                group.cancel_scope.cancel()

        assert heard == [[b"%d" % number for number in range(1, 41)]] * 20
        assert not reading_threads()

    async def test_one_that_stops_reading_a_file_is_cut_off(
        self, docker: DockerWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapters.docker.container_files.PAUSE_SECONDS", 0.3)
        name = await docker.running()
        docker.exec(name, "dd if=/dev/zero of=/big bs=1M count=16 2>/dev/null")
        container = (await docker.lookup.inspect(name)).id

        async with docker.files.regular(container, "/big") as opened:
            await anyio.sleep(2)
            with pytest.raises(EngineUnavailable, match="Nobody read on"):
                [piece async for piece in opened.content]

        with anyio.fail_after(5):
            assert await docker.state(name) is ContainerState.RUNNING

    async def test_a_large_file_is_given_up_at_once_where_its_reader_goes(
        self, docker: DockerWorld
    ) -> None:
        name = await docker.running()
        docker.exec(name, "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null")
        container = (await docker.lookup.inspect(name)).id

        with anyio.fail_after(5):
            async with docker.files.tar(container, "/big") as opened:
                await anext(opened.content)
            assert await docker.state(name) is ContainerState.RUNNING

    async def test_an_engine_that_is_away_is_told_by_all(self) -> None:
        address = "unix:///nowhere/docker.sock"
        client = EngineClient(address)
        for call in (
            DockerContainerLookup(client).inspect("a"),
            DockerContainerChanges(client).stop("a"),
            DockerSurroundings(client).network("a"),
            DockerContainerFiles(address, client).status("a", "/"),
        ):
            with pytest.raises(EngineUnavailable):
                await call


def reading_threads() -> list[str]:
    """The threads that read long answers of the Engine."""
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD_NAME]

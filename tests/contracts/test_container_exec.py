"""What every runtime does with commands in containers: the Docker Engine, and the in-memory one."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import anyio
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.container_exec import DockerContainerExec
from adapters.memory.container_exec import MemoryContainerExec
from adapters.memory.containers import MemoryContainerChanges
from adapters.memory.engine import MemoryEngine
from domain.container_exec import ExecOrder, OpenCommand, TerminalSize
from domain.containers import PROJECT_LABEL
from domain.errors import (
    CommandNotStarted,
    EngineUnavailable,
    ResourceConflict,
    ResourceNotFound,
)
from domain.ports.container_exec import ContainerExec, RunningCommand
from tests.support import engine

pytestmark = pytest.mark.anyio

SIZE = TerminalSize(columns=99, rows=33)


class World:
    """One runtime with a container that sleeps."""

    commands: ContainerExec
    container: str

    async def pause(self) -> None:
        """Pauses the container."""
        raise NotImplementedError

    async def end(self) -> None:
        """Ends the container."""
        raise NotImplementedError

    def run(self, *command: str, **fields: Any) -> Any:
        """A command in it."""
        return self.commands.start(self.container, ExecOrder(command=command, **fields))


class MemoryWorld(World):
    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.container = self.engine.run("web").id
        self.commands = MemoryContainerExec(self.engine)

    async def pause(self) -> None:
        await MemoryContainerChanges(self.engine).pause("web")

    async def end(self) -> None:
        self.engine.stop("web")


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient, *, host_processes: bool) -> None:
        project = f"t-{uuid4().hex[:12]}"
        host.projects.append(project)
        self.host = host
        self.container = host.client.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            labels={PROJECT_LABEL: project},
            host_config=host.client.create_host_config(network_mode="none", init=True),
        )["Id"]
        host.client.start(self.container)
        self.commands = DockerContainerExec(engine.SOCKET, client, host_processes=host_processes)

    async def pause(self) -> None:
        self.host.client.pause(self.container)

    async def end(self) -> None:
        self.host.client.kill(self.container)

    def processes(self) -> list[str]:
        """The commands of all that runs in the container."""
        found = self.host.client.top(self.container, "-o pid,args")["Processes"]
        return [row[1] for row in found]


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    client = EngineClient(engine.SOCKET)
    yield DockerWorld(request.getfixturevalue("host"), client, host_processes=True)
    await client.aclose()


async def printed(command: RunningCommand) -> dict[str, bytes]:
    """All that a command prints, by stream."""
    found = {"stdout": bytearray(), "stderr": bytearray()}
    while (piece := await command.receive()) is not None:
        found[piece.stream] += piece.data
    return {stream: bytes(data) for stream, data in found.items()}


async def until(command: RunningCommand, text: bytes) -> bytes:
    """What a command prints up to a text."""
    found = b""
    while text not in found:
        piece = await command.receive()
        assert piece is not None, found
        found += piece.data
    return found


class TestRunning:
    """Commands that run to their end."""

    async def test_streams_are_told_apart_and_the_exit_code_is_told(self, world: World) -> None:
        async with world.run("sh", "-c", "echo out; echo err >&2; exit 3") as command:
            assert await printed(command) == {"stdout": b"out\n", "stderr": b"err\n"}
            assert await command.exit_code() == 3

    async def test_one_that_prints_nothing_ends_too(self, world: World) -> None:
        async with world.run("true") as command:
            assert await command.receive() is None
            assert await command.receive() is None
            assert await command.exit_code() == 0

    async def test_variables_folder_and_user_are_its_own(self, world: World) -> None:
        script = "echo $COURSE; pwd; id -u"
        async with world.run(
            "sh", "-c", script, env={"COURSE": "web 101=ü"}, working_dir="/tmp", user="1:1"
        ) as command:
            found = await printed(command)

        assert found["stdout"].decode() == "web 101=ü\n/tmp\n1\n"

    async def test_input_reaches_it_up_to_its_end(self, world: World) -> None:
        data = bytes(range(256)) * 100
        async with world.run("cat", input=True) as command:
            await command.send(data[:7])
            await command.send(data[7:])
            await command.close_input()
            assert (await printed(command))["stdout"] == data
            assert await command.exit_code() == 0

    async def test_without_input_there_is_none_from_the_beginning(self, world: World) -> None:
        async with world.run("cat") as command:
            assert await printed(command) == {"stdout": b"", "stderr": b""}
            assert await command.exit_code() == 0

    async def test_what_is_sent_after_its_end_is_nobodys(self, world: World) -> None:
        async with world.run("true", input=True) as command:
            assert await command.exit_code() == 0
            await command.send(b"x" * 100_000)
            await command.close_input()
            await command.resize(SIZE)

    async def test_it_speaks_and_listens_in_turn(self, world: World) -> None:
        async with world.run("sh", input=True) as command:
            await command.send(b"echo one\n")
            assert await until(command, b"one\n") == b"one\n"
            await command.send(b"exit 5\n")
            assert await printed(command) == {"stdout": b"", "stderr": b""}
            assert await command.exit_code() == 5

    async def test_nothing_is_lost_by_whoever_waits_no_longer(self, world: World) -> None:
        async with world.run("sh", "-c", "sleep 0.3; echo late") as command:
            with anyio.move_on_after(0.05) as scope:
                await command.receive()
            assert scope.cancelled_caught
            assert (await printed(command))["stdout"] == b"late\n"


class TestTerminals:
    """Commands with a terminal."""

    async def test_it_has_the_size_that_was_asked_for(self, world: World) -> None:
        async with world.run("stty", "size", terminal=SIZE) as command:
            assert await printed(command) == {"stdout": b"33 99\r\n", "stderr": b""}

    async def test_it_is_resized(self, world: World) -> None:
        async with world.run(
            "sh", "-c", "echo begun; sleep 3; stty size", terminal=SIZE, input=True
        ) as command:
            await until(command, b"begun\r\n")
            await command.resize(TerminalSize(columns=132, rows=50))
            assert await printed(command) == {"stdout": b"50 132\r\n", "stderr": b""}

    async def test_both_streams_are_one(self, world: World) -> None:
        async with world.run("sh", "-c", "echo out; echo err >&2", terminal=SIZE) as command:
            assert (await printed(command))["stdout"] == b"out\r\nerr\r\n"


class TestEnding:
    """Commands that are ended."""

    @pytest.mark.parametrize("terminal", [None, SIZE])
    async def test_it_is_stopped_for_certain(
        self, world: World, terminal: TerminalSize | None
    ) -> None:
        async with world.run("sleep", "600", terminal=terminal, input=True) as command:
            with anyio.fail_after(5):
                assert await command.stop()
                assert await command.stop()
                assert await command.exit_code() not in {0, None}
                assert await command.receive() is None

    @pytest.mark.parametrize("terminal", [None, SIZE])
    async def test_whoever_was_told_of_it_can_end_it(
        self, world: World, terminal: TerminalSize | None
    ) -> None:
        told: list[OpenCommand] = []

        async def begins(command: OpenCommand) -> None:
            told.append(command)

        order = ExecOrder(command=("sleep", "600"), terminal=terminal, input=True)
        async with world.commands.start(world.container, order, begins) as command:
            assert not command.is_over
            with anyio.fail_after(10):
                assert await world.commands.end(told[0])
                assert await world.commands.end(told[0])
                assert await command.exit_code() not in {0, None}
            assert command.is_over

    async def test_whoever_leaves_ends_it(self, world: World) -> None:
        with anyio.fail_after(5):
            async with world.run("sleep", "600", input=True) as command:
                pass
            assert await command.exit_code() != 0

    async def test_its_containers_end_is_its_own(self, world: World) -> None:
        async with world.run("sh", "-c", "echo begun; sleep 600") as command:
            await until(command, b"begun\n")
            await world.end()
            with anyio.fail_after(10):
                assert await command.receive() is None
                assert await command.exit_code() in {None, 137}


class TestRefusing:
    """Commands that cannot be run."""

    @pytest.mark.parametrize("terminal", [None, SIZE])
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"command": ("no-such-program",)}, "executable file not found"),
            ({"user": "nobody-of-that-name"}, "unable to find user"),
            ({"working_dir": "/no/such/folder"}, "no such file or directory"),
        ],
    )
    async def test_what_is_not_there_is_told(
        self, world: World, fields: dict[str, Any], reason: str, terminal: TerminalSize | None
    ) -> None:
        order = ExecOrder(**{"command": ("true",), "terminal": terminal, **fields})

        with pytest.raises(CommandNotStarted, match=reason):
            async with world.commands.start(world.container, order):
                pass

    async def test_exit_codes_of_those_that_did_run_are_their_own(self, world: World) -> None:
        for code in (126, 127):
            async with world.run("sh", "-c", f"exit {code}") as command:
                assert await command.exit_code() == code

    async def test_one_that_is_paused_or_has_ended_is_a_conflict(self, world: World) -> None:
        await world.pause()
        with pytest.raises(ResourceConflict, match="paused"):
            async with world.run("true"):
                pass

        await world.end()
        with pytest.raises(ResourceConflict, match="is not running"):
            async with world.run("true"):
                pass

    async def test_one_that_is_not_there_is_told(self, world: World) -> None:
        with pytest.raises(ResourceNotFound, match="no container"):
            async with world.commands.start("0" * 64, ExecOrder(command=("true",))):
                pass


@pytest.mark.engine
class TestTheEngine:
    """What only a real Engine shows."""

    @pytest.fixture(params=["host", "container"])
    async def docker(
        self, host: engine.Host, request: pytest.FixtureRequest
    ) -> AsyncIterator[DockerWorld]:
        """Where commands are found by the host's numbers, and where by the container's shell."""
        client = EngineClient(engine.SOCKET)
        yield DockerWorld(host, client, host_processes=request.param == "host")
        await client.aclose()

    async def test_whatever_it_started_ends_with_it(self, docker: DockerWorld) -> None:
        script = "trap '' TERM HUP; sleep 601 & echo begun; sleep 602"
        async with docker.run("sh", "-c", script) as command:
            await until(command, b"begun\n")
            with anyio.fail_after(5):
                assert await command.stop()

        assert sorted(docker.processes()) == ["/sbin/docker-init -- sleep 600", "sleep 600"]

    async def test_a_hang_up_leaves_what_was_told_to_ignore_it(self, docker: DockerWorld) -> None:
        script = "(trap '' HUP; exec sleep 601) & sleep 0.2; echo begun; sleep 602"
        async with docker.run("sh", "-c", script, terminal=SIZE, input=True) as command:
            await until(command, b"begun\r\n")
            with anyio.fail_after(5):
                assert await command.stop()

        left = docker.processes()
        assert "sleep 601" in left
        assert "sleep 602" not in left

    async def test_one_of_an_ordinary_user_is_ended_too(self, docker: DockerWorld) -> None:
        async with docker.run("sleep", "601", user="1000:1000") as command:
            with anyio.fail_after(5):
                assert await command.stop()

    async def test_whoever_goes_while_it_starts_leaves_nothing(self, docker: DockerWorld) -> None:
        for milliseconds in range(0, 120, 10):
            with anyio.move_on_after(milliseconds / 1000):
                async with docker.run("sleep", "601"):
                    await anyio.sleep_forever()

        with anyio.fail_after(5):
            while "sleep 601" in docker.processes():
                await anyio.sleep(0.1)

    async def test_megabytes_are_what_docker_gives(self, docker: DockerWorld) -> None:
        script = "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' '\\377'; seq 1 400000"
        asked = docker.host.client.exec_create(docker.container, ["sh", "-c", script])
        expected = docker.host.client.exec_start(asked["Id"])

        async with docker.run("sh", "-c", script) as command:
            found = await printed(command)

        assert len(expected) > 10_000_000
        assert found["stdout"] == expected

    async def test_it_waits_for_whoever_reads_slowly(self, docker: DockerWorld) -> None:
        script = "dd if=/dev/zero bs=1M count=64 2>/dev/null; touch /tmp/written; echo done >&2"
        async with docker.run("sh", "-c", script) as command:
            await command.receive()
            await anyio.sleep(1)
            async with docker.run("sh", "-c", "[ -e /tmp/written ]") as look:
                assert await look.exit_code() == 1
            found = await printed(command)

        assert found["stderr"] == b"done\n"
        assert len(found["stdout"]) > 60 * 1024 * 1024

    async def test_one_that_closed_its_streams_is_waited_for(self, docker: DockerWorld) -> None:
        async with docker.run("sh", "-c", "exec >&- 2>&-; sleep 0.5; exit 4") as command:
            assert await command.receive() is None
            assert await command.exit_code() == 4

    async def test_an_image_without_a_shell_says_that_a_command_may_run_on(
        self, host: engine.Host
    ) -> None:
        client = EngineClient(engine.SOCKET)
        docker = DockerWorld(host, client, host_processes=False)
        async with docker.run("sleep", "5") as command:
            async with docker.run("rm", "/bin/sh") as removal:
                assert await removal.exit_code() == 0
            assert not await command.stop()
            assert await command.exit_code() == 0
        await client.aclose()

    async def test_an_engine_that_is_away_is_told(self, tmp_path: Any) -> None:
        away = f"unix://{tmp_path}/docker.sock"
        client = EngineClient(away)
        with pytest.raises(EngineUnavailable):
            async with DockerContainerExec(away, client).start("a", ExecOrder(command=("a",))):
                pass
        await client.aclose()

"""What every source of logs does: the Docker Engine, and the in-memory one."""

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.logs import DockerLogs
from adapters.docker.runtime import DockerContainers
from adapters.docker.streams import THREAD_NAME
from adapters.memory.engine import MemoryEngine
from adapters.memory.runtime import MemoryContainers
from adapters.memory.streams import MemoryLogs
from domain.containers import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    Container,
    LogLine,
)
from domain.errors import EngineUnavailable
from domain.ports.runtime import Containers
from domain.ports.streams import ContainerLogs
from tests.support import engine

pytestmark = pytest.mark.anyio


class World:
    """One source, and a way to let containers print."""

    containers: Containers
    logs: ContainerLogs

    def __init__(self) -> None:
        self.project = f"t-{uuid4().hex[:12]}"

    async def run(self, name: str, *lines: str, then: str = "sleep 600") -> None:
        """Starts a container that prints lines, those with ``!`` to standard error."""
        raise NotImplementedError

    async def kill(self, name: str) -> None:
        """Ends a container from outside."""
        raise NotImplementedError

    async def say(self, name: str, *lines: str) -> None:
        """Lets a container print more."""
        raise NotImplementedError

    def name(self, name: str) -> str:
        """The full name of a container."""
        return f"{self.project}-{name}"

    async def of_project(self) -> list[Container]:
        """The project's containers."""
        return [c for c in await self.containers.list() if c.project == self.project]

    async def read(self, *, tail: int | None = None) -> list[LogLine]:
        """What the project's containers have printed."""
        async with self.logs.read(await self.of_project(), tail=tail) as lines:
            return [line async for line in lines]


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryEngine()
        self.containers = MemoryContainers(self.state)
        self.logs = self._logs = MemoryLogs(self.state)

    async def run(self, name: str, *lines: str, then: str = "sleep 600") -> None:
        full = self.name(name)
        self.state.run(full, project=self.project)
        for line in lines:
            stream = "stderr" if line.startswith("!") else "stdout"
            self._logs.print(full, line.removeprefix("!"), stream=stream)

    async def say(self, name: str, *lines: str) -> None:
        for line in lines:
            self._logs.print(self.name(name), line)

    async def kill(self, name: str) -> None:
        full = self.name(name)
        self.state.stop(full)


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        super().__init__()
        self.host, self.client = host, client
        host.projects.append(self.project)
        self.containers = DockerContainers(client)
        self.logs = DockerLogs(engine.SOCKET, client)

    async def run(self, name: str, *lines: str, then: str = "sleep 600") -> None:
        said = [
            f"echo {line.removeprefix('!')}{' >&2' if line.startswith('!') else ''}; sleep 0.05"
            for line in lines
        ]
        self._run(name, "; ".join([*said, f"exec {then}"]))
        if lines:
            await self.until(lines[-1].removeprefix("!"))

    async def until(self, text: str) -> None:
        """Returns when a container has printed this last."""
        with anyio.fail_after(20):
            while text not in [line.text for line in await self.read(tail=1)]:
                await anyio.sleep(0.05)

    def _run(self, name: str, script: str, *, tty: bool = False) -> None:
        labels = {PROJECT_LABEL: self.project, SERVICE_LABEL: name}
        created = self.host.client.create_container(
            engine.BASE_IMAGE, ["sh", "-c", script], name=self.name(name), labels=labels, tty=tty
        )
        self.host.client.start(created["Id"])

    async def say(self, name: str, *lines: str) -> None:
        script = "; ".join(f"echo {line} >/proc/1/fd/1" for line in lines)
        made = self.host.client.exec_create(self.name(name), ["sh", "-c", script])
        self.host.client.exec_start(made["Id"])

    async def kill(self, name: str) -> None:
        self.host.client.kill(self.name(name))


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def docker_world(host: engine.Host) -> AsyncIterator[DockerWorld]:
    client = EngineClient(engine.SOCKET)
    yield DockerWorld(host, client)
    await client.aclose()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    host: engine.Host = request.getfixturevalue("host")
    client = EngineClient(engine.SOCKET)
    yield DockerWorld(host, client)
    await client.aclose()


class TestLogs:
    """What containers print."""

    async def test_lines_of_several_containers_come_together_sorted_by_time(
        self, world: World
    ) -> None:
        await world.run("a", "one", "two")
        await world.run("b", "three", "!four")

        lines = await world.read()

        assert [line.text for line in lines] == ["one", "two", "three", "four"]
        assert [line.stream for line in lines] == ["stdout", "stdout", "stdout", "stderr"]
        assert [line.container for line in lines][::2] == [world.name("a"), world.name("b")]
        moments = [line.at for line in lines if line.at is not None]
        assert len(moments) == 4
        assert moments == sorted(moments)

    async def test_a_tail_is_of_each_container(self, world: World) -> None:
        await world.run("a", "one", "two")
        await world.run("b", "three", "four")

        assert [line.text for line in await world.read(tail=1)] == ["two", "four"]
        assert await world.read(tail=0) == []

    async def test_since_leaves_out_what_was_printed_before(self, world: World) -> None:
        await world.run("a", "one", "two", "three")
        moment = (await world.read())[1].at

        async with world.logs.read(await world.of_project(), since=moment) as lines:
            assert [line.text async for line in lines] == ["two", "three"]

    async def test_following_goes_on_until_it_is_left(self, world: World) -> None:
        await world.run("a", "one")
        found = []

        with anyio.move_on_after(30) as scope:
            async with world.logs.read(await world.of_project(), follow=True) as lines:
                async for line in lines:
                    found.append(line.text)
                    scope.deadline = anyio.current_time() + 0.5

        assert found == ["one"]

    async def test_followers_end_with_the_last_container(self, world: World) -> None:
        await world.run("a", "one")

        async def kill_soon() -> None:
            await anyio.sleep(0.5)
            await world.kill("a")

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(kill_soon)
                async with world.logs.read(await world.of_project(), follow=True) as lines:
                    assert [line.text async for line in lines] == ["one"]

    async def test_followers_end_when_the_agent_does(self, world: World) -> None:
        await world.run("a", "one")

        async def end_soon() -> None:
            await anyio.sleep(0.5)
            world.logs.end()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(end_soon)
                async with world.logs.read(await world.of_project(), follow=True) as lines:
                    assert [line.text async for line in lines] == ["one"]

    async def test_what_came_before_the_agents_end_is_still_read(self, world: World) -> None:
        await world.run("a", "one")
        found: list[str] = []

        async def read_slowly() -> None:
            async with world.logs.read(await world.of_project(), follow=True) as lines:
                async for line in lines:
                    found.append(line.text)
                    await anyio.sleep(1.5)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(read_slowly)
                # Until it follows: what is printed before is read all the same.
                await anyio.sleep(3)
                await world.say("a", "two", "three", "four")
                await anyio.sleep(1)
                world.logs.end()

        assert found == ["one", "two", "three", "four"]

    async def test_who_follows_after_the_agents_end_gets_what_was_printed(
        self, world: World
    ) -> None:
        await world.run("a", "one")
        world.logs.end()

        with anyio.fail_after(5):
            async with world.logs.read(await world.of_project(), follow=True) as lines:
                assert [line.text async for line in lines] == ["one"]

    async def test_a_container_without_a_word_has_no_lines(self, world: World) -> None:
        await world.run("a")

        assert await world.read() == []


@pytest.mark.engine
class TestTheEnginesStreams:
    """What only a real Engine shows."""

    async def test_what_is_printed_from_now_on_comes_as_it_is_printed(
        self, docker_world: DockerWorld
    ) -> None:
        await docker_world.run("a", "before", then="sh -c 'sleep 1; echo after'")

        found = []
        with anyio.fail_after(10):
            containers = await docker_world.of_project()
            async with docker_world.logs.read(containers, follow=True) as lines:
                async for line in lines:
                    found.append(line.text)  # noqa: PERF401 - it is cut off

        # It ends by itself when the container has.
        assert found == ["before", "after"]

    async def test_bytes_that_are_no_text_and_escapes_are_made_harmless(
        self, docker_world: DockerWorld
    ) -> None:
        docker_world._run("a", r"printf 'a\377b\033[31mred\007\nlast'")
        await docker_world.until("last")

        lines = await docker_world.read()

        assert [line.text for line in lines] == ["a�b�[31mred�", "last"]

    async def test_a_terminals_output_comes_as_it_is(self, docker_world: DockerWorld) -> None:
        docker_world._run("a", "echo one; echo two >&2; sleep 600", tty=True)
        await docker_world.until("two")

        lines = await docker_world.read()

        assert [(line.text, line.stream) for line in lines] == [
            ("one", "stdout"),
            ("two", "stdout"),
        ]

    async def test_megabytes_are_read_whole(self, docker_world: DockerWorld) -> None:
        docker_world._run("a", "seq 1 100000; sleep 600")
        await docker_world.until("100000")

        lines = await docker_world.read()

        assert len(lines) == 100_000
        assert lines[-1].text == "100000"

    async def test_one_that_reads_slowly_loses_the_oldest_with_a_mark(
        self, docker_world: DockerWorld
    ) -> None:
        docker_world._run("a", "sleep 5; seq 1 60000; sleep 600")
        containers = await docker_world.of_project()
        marks = []

        with anyio.fail_after(40):
            async with docker_world.logs.read(containers, follow=True) as lines:
                async for line in lines:
                    if line.text == "1":
                        await anyio.sleep(3)
                    if line.stream == "agent":
                        marks.append(line.text)
                    if line.text == "60000":
                        break

        assert marks
        assert all("were left out" in mark for mark in marks)

    async def test_all_who_follow_share_one_reading_and_hear_every_line_once(
        self, docker_world: DockerWorld
    ) -> None:
        docker_world._run(
            "a", "sleep 0.3; for i in $(seq 1 40); do echo $i; sleep 0.05; done; sleep 600"
        )
        containers = await docker_world.of_project()
        heard: list[list[str]] = []

        async def follow() -> None:
            mine: list[str] = []
            heard.append(mine)
            async with docker_world.logs.read(containers, follow=True) as lines:
                async for line in lines:
                    mine.append(line.text)  # noqa: PERF401 - it is cut off

        with anyio.fail_after(40):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(follow)
                    await anyio.sleep(0.05)
                while min(len(mine) for mine in heard) < 40 or len(reading_threads()) > 1:
                    await anyio.sleep(0.05)
                group.cancel_scope.cancel()

        assert heard == [[str(number) for number in range(1, 41)]] * 20
        assert not reading_threads()

    async def test_fifty_followers_of_a_silent_container_leave_nothing_behind(
        self, docker_world: DockerWorld
    ) -> None:
        await docker_world.run("a")
        containers = await docker_world.of_project()

        async def follow() -> None:
            async with docker_world.logs.read(containers, follow=True) as lines:
                async for _ in lines:
                    pass

        async def fifty() -> None:
            with anyio.move_on_after(1.5):
                async with anyio.create_task_group() as group:
                    for _ in range(50):
                        group.start_soon(follow)

        files = open_files()
        await fifty()
        # What is left are connections that are kept for short calls.
        await docker_world.client.aclose()

        assert open_files() <= files
        assert THREAD_NAME not in {thread.name for thread in threading.enumerate()}
        with anyio.fail_after(5):
            assert await docker_world.read() == []

    async def test_a_container_that_has_gone_is_passed_over(
        self, docker_world: DockerWorld
    ) -> None:
        await docker_world.run("a", "one")
        await docker_world.run("b", "two")
        containers = await docker_world.of_project()
        docker_world.host.client.remove_container(docker_world.name("a"), force=True)

        async with docker_world.logs.read(containers) as lines:
            assert [line.text async for line in lines] == ["two"]


def reading_threads() -> list[str]:
    """The threads that read long answers of the Engine."""
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD_NAME]


def open_files() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class TestEngineAway:
    """An Engine that is not there."""

    async def test_logs_say_so(self) -> None:
        client = EngineClient("unix:///nowhere/docker.sock")
        logs = DockerLogs("unix:///nowhere/docker.sock", client)
        container = Container(id="1", name="a", image="b", state="running")  # type: ignore[arg-type]
        with pytest.raises(EngineUnavailable):
            async with logs.read([container]) as lines:
                assert [line async for line in lines]

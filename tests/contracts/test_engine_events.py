"""What every source of events does: the Docker Engine, and the in-memory one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import msgspec
import pytest

from adapters.docker.events import DockerEvents
from adapters.memory.engine import MemoryEngine
from adapters.memory.happenings import Happenings
from adapters.memory.streams import MemoryEvents
from adapters.system_clock import SystemClock
from domain.containers import PROJECT_LABEL
from domain.engine_events import EngineEvent, Gap, container_event
from domain.errors import EngineUnavailable
from domain.ports.engine_events import EngineEvents
from tests.support import engine

pytestmark = pytest.mark.anyio


class World:
    """One source, and a way to let things happen."""

    events: EngineEvents

    def __init__(self) -> None:
        self.project = f"t-{uuid4().hex[:12]}"

    def name(self, name: str) -> str:
        """The full name of a container."""
        return f"{self.project}-{name}"

    async def run(self, name: str) -> str:
        """Starts a container, and gives its identifier."""
        raise NotImplementedError

    async def kill(self, name: str) -> None:
        """Ends a container from outside."""
        raise NotImplementedError

    async def remove(self, name: str) -> None:
        """Takes a container away that has ended."""
        raise NotImplementedError

    @asynccontextmanager
    async def following(self, since: int | None = None) -> AsyncIterator["Heard"]:
        """What the Engine tells, once it has begun to."""
        with anyio.fail_after(20):
            async with self.events.follow(since=since) as events:
                assert isinstance(await anext(events), Gap)
                yield Heard(self.project, events)


class Heard:
    """What is told of one project."""

    def __init__(self, project: str, events: AsyncIterator[EngineEvent | Gap]) -> None:
        self._project = project
        self._events = events

    async def until(self, action: str) -> list[EngineEvent]:
        """The project's events, to the first with this action."""
        found = []
        async for event in self._events:
            if isinstance(event, EngineEvent) and self._is_ours(event):
                found.append(event)
                if event.action == action:
                    break
        return found

    def _is_ours(self, event: EngineEvent) -> bool:
        return event.attributes.get(PROJECT_LABEL) == self._project


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryEngine(Happenings(SystemClock().now))
        self.events = self.twin = MemoryEvents(self.state)

    async def run(self, name: str) -> str:
        return self.state.run(self.name(name), project=self.project).id

    async def kill(self, name: str) -> None:
        self.state.stop(self.name(name), exit_code=137)

    async def remove(self, name: str) -> None:
        self.state.remove(self.name(name))


class DockerWorld(World):
    def __init__(self, host: engine.Host) -> None:
        super().__init__()
        self.host = host
        host.projects.append(self.project)
        self.events = DockerEvents(engine.SOCKET)

    async def run(self, name: str) -> str:
        created = self.host.client.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            name=self.name(name),
            labels={PROJECT_LABEL: self.project},
            host_config=self.host.client.create_host_config(network_mode="none"),
        )
        self.host.client.start(created["Id"])
        return str(created["Id"])

    async def kill(self, name: str) -> None:
        self.host.client.kill(self.name(name))

    async def remove(self, name: str) -> None:
        self.host.client.remove_container(self.name(name))


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    return DockerWorld(request.getfixturevalue("host"))


async def test_a_containers_life_is_told_in_order(world: World) -> None:
    async with world.following() as heard:
        identifier = await world.run("a")
        await world.kill("a")
        found = await heard.until("die")
        await world.remove("a")
        found += await heard.until("destroy")

    told = [event for event in found if event.action != "kill"]
    assert [event.action for event in told] == ["create", "start", "die", "destroy"]
    assert {("container", identifier)} == {(event.kind, event.id) for event in found}
    assert {world.name("a")} == {event.attributes["name"] for event in found}
    assert told[2].attributes["exitCode"] == "137"


async def test_later_events_have_later_moments(world: World) -> None:
    async with world.following() as heard:
        await world.run("a")
        await world.kill("a")
        moments = [event.nanoseconds for event in await heard.until("die")]

    assert sorted(set(moments)) == moments


async def test_events_since_a_moment_come_first_and_those_before_it_do_not(world: World) -> None:
    async with world.following() as heard:
        await world.run("a")
        created, started = await heard.until("start")

    async with world.following(since=created.nanoseconds) as heard:
        assert [created, started] == await heard.until("start")
    async with world.following(since=created.nanoseconds + 1) as heard:
        assert [started] == await heard.until("start")


async def test_what_comes_after_earlier_events_is_told_once(world: World) -> None:
    async with world.following() as heard:
        await world.run("a")
        created, _ = await heard.until("start")

    async with world.following(since=created.nanoseconds) as heard:
        await heard.until("start")
        await world.kill("a")
        found = await heard.until("die")

    assert {"kill", "die"} >= {event.action for event in found}
    assert [event.action for event in found].count("die") == 1


@pytest.mark.engine
async def test_what_is_executed_is_not_told(host: engine.Host) -> None:
    world = DockerWorld(host)
    async with world.following() as heard:
        await world.run("a")
        host.client.exec_start(host.client.exec_create(world.name("a"), ["true"])["Id"])
        await world.kill("a")
        found = await heard.until("die")

    assert {"create", "start", "kill", "die"} == {event.action for event in found}


@pytest.mark.engine
async def test_networks_and_images_are_told_of(host: engine.Host) -> None:
    world = DockerWorld(host)
    found: set[tuple[str, str]] = set()
    wanted = {("network", "create"), ("image", "tag")}
    async with world.events.follow() as events:
        assert isinstance(await anext(events), Gap)
        host.client.create_network(world.project, labels={PROJECT_LABEL: world.project})
        host.client.tag(engine.BASE_IMAGE, world.project)
        host.client.remove_image(f"{world.project}:latest")
        with anyio.fail_after(20):
            async for event in events:
                if isinstance(event, EngineEvent) and world.project in str(event):
                    found.add((event.kind, event.action))
                if found >= wanted:
                    break


async def test_a_stream_that_is_cut_says_so() -> None:
    world = MemoryWorld()
    async with world.following() as heard:
        world.twin.cut()
        with pytest.raises(EngineUnavailable):
            await heard.until("start")


async def test_an_engine_that_is_not_there_says_so() -> None:
    with pytest.raises(EngineUnavailable):
        async with DockerEvents("unix:///nowhere/docker.sock").follow() as events:
            await anext(events)


class TestContainerEvents:
    """What the agent reads out of events."""

    def test_health_and_exit_codes_are_told_apart(self) -> None:
        world = MemoryWorld()
        container = world.state.run("a", project="p")
        world.state.containers["a"] = msgspec.structs.replace(container, status="Up (unhealthy)")
        world.state.stop("a", exit_code=3)

        events = [container_event(event) for event in world.state.happenings.after(0)]
        told = [(e.action.value, e.health, e.exit_code) for e in events if e is not None]
        assert told == [
            ("create", None, None),
            ("start", None, None),
            ("health_status", "unhealthy", None),
            ("die", None, 3),
        ]

    def test_what_is_of_no_container_is_none(self) -> None:
        event = EngineEvent(nanoseconds=1, kind="network", action="create", id="n")

        assert container_event(event) is None

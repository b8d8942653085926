"""Counters of containers: read where it costs least, shown as long as a container runs."""

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.memory.clock import MemoryClock
from adapters.memory.container_usage import IDLE, MemoryUsage
from adapters.memory.engine import MemoryEngine
from adapters.memory.log import MemoryLog
from adapters.memory.runtime import MemoryContainers, MemoryEngineInfo
from domain.arrangement import ENVIRONMENT_LABEL
from domain.container_usage import ContainerUsage
from domain.containers import SERVICE_LABEL, Container, ContainerState
from domain.errors import EngineUnavailable
from domain.usecases.container_usage import FRESH_SECONDS, MOST_CONTAINERS, UsageWatch
from domain.usecases.inventory import InventoryWatch
from domain.usecases.news import News
from tests.support.agents import World as Agent
from tests.support.agents import agent_on_twins

pytestmark = pytest.mark.anyio


class CountedUsage(MemoryUsage):
    """Notes who was asked for, and fails if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.away = False

    async def usage(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        self.asked.append([container.name for container in containers])
        if self.away:
            raise EngineUnavailable("The Docker Engine is away.")
        return await super().usage(containers)


class World:
    """Two sources, and containers that run."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.engine = MemoryEngine()
        self.cheap, self.dear = CountedUsage(), CountedUsage()
        log = MemoryLog()
        self.inventory = InventoryWatch(
            MemoryContainers(self.engine), MemoryEngineInfo(self.engine), self.clock, log, News()
        )
        self.watch = UsageWatch((self.cheap, self.dear), self.inventory, self.clock, log)

    async def observed(self) -> list[str]:
        """Names of those whose counters were read."""
        await self.inventory.refresh()
        return [container.name for container, _ in (await self.watch.observe()).used]


@pytest.fixture
def world() -> World:
    return World()


async def test_only_what_the_cheap_source_lacks_is_asked_of_the_dear_one(world: World) -> None:
    for name in ("a", "b", "c"):
        world.engine.run(name)
    world.cheap.unseen = {"b"}

    assert await world.observed() == ["a", "b", "c"]
    assert world.dear.asked == [["b"]]


async def test_the_dear_source_is_spared_where_the_cheap_one_sees_all(world: World) -> None:
    world.engine.run("a")

    await world.observed()
    assert world.dear.asked == []


async def test_what_nobody_can_read_is_counted(world: World) -> None:
    world.engine.run("a")
    world.engine.run("b")
    world.cheap.unseen, world.dear.away = {"b"}, True

    assert await world.observed() == ["a"]
    assert world.watch.latest.unread == 1


async def test_a_source_that_hangs_takes_a_bounded_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.usecases.container_usage.SOURCE_SECONDS", 0.05)
    world.engine.run("a")

    async def hang(_: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(world.cheap, "usage", hang)
    with anyio.fail_after(2):
        assert await world.observed() == ["a"]


async def test_those_who_ask_together_cost_one_look(world: World) -> None:
    world.engine.run("a")
    await world.inventory.refresh()
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(world.watch.observe)
    assert len(world.cheap.asked) == 1

    await world.clock.advance(FRESH_SECONDS)
    await world.watch.observe()
    assert len(world.cheap.asked) == 2


async def test_only_what_has_processes_is_looked_at(world: World) -> None:
    for state in ContainerState:
        world.engine.run(state.value, state=state)

    assert await world.observed() == ["paused", "running"]
    assert world.watch.latest.unread == 0


async def test_there_is_a_bound_to_how_many_are_read(world: World) -> None:
    for number in range(MOST_CONTAINERS + 5):
        world.engine.run(f"c-{number:05}")

    assert len(await world.observed()) == MOST_CONTAINERS
    assert world.watch.latest.unread == 5


class TestMetrics:
    """What Prometheus is told of containers."""

    @pytest.fixture
    async def agent(self) -> AsyncIterator[Agent]:
        async with agent_on_twins() as world:
            yield world

    async def told(self, agent: Agent, name: str) -> dict[tuple[str, str, str], float]:
        """The values of one metric by container, environment and service."""
        await agent.look()
        text = (await agent.http.get("/metrics")).text
        return {
            (s.labels["container"], s.labels["environment"], s.labels["service"]): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
            if s.name == f"host_agent_container_{name}"
        }

    async def test_each_container_has_its_counters(self, agent: Agent) -> None:
        container = agent.engine.run("lab-web-1", project="lab")
        labels = {**container.labels, ENVIRONMENT_LABEL: "lab", SERVICE_LABEL: "web"}
        agent.engine.containers["lab-web-1"] = msgspec.structs.replace(container, labels=labels)
        agent.engine.run("alone")
        agent.usages.used["lab-web-1"] = msgspec.structs.replace(
            IDLE, cpu_seconds=12.5, network_sent_bytes=7
        )

        assert await self.told(agent, "cpu_seconds_total") == {
            ("lab-web-1", "lab", "web"): 12.5,
            ("alone", "", ""): 0.0,
        }
        assert (await self.told(agent, "network_sent_bytes_total"))["lab-web-1", "lab", "web"] == 7
        assert (await self.told(agent, "memory_bytes"))["alone", "", ""] == IDLE.memory_bytes

    async def test_one_that_is_gone_leaves_nothing_behind(self, agent: Agent) -> None:
        agent.engine.run("a")
        agent.engine.run("b")
        assert len(await self.told(agent, "processes")) == 2
        agent.engine.remove("a")
        await agent.clock.advance(FRESH_SECONDS)

        assert set(await self.told(agent, "processes")) == {("b", "", "")}

    async def test_labels_of_any_length_are_cut(self, agent: Agent) -> None:
        agent.engine.run("a", project="p" * 10_000)

        ((_, environment, _),) = await self.told(agent, "processes")
        assert len(environment) == 128

    async def test_a_scrape_answers_although_no_counters_can_be_read(self, agent: Agent) -> None:
        agent.engine.run("a")
        agent.usages.unseen = {"a"}

        assert await self.told(agent, "processes") == {}
        text = (await agent.http.get("/metrics")).text
        assert "host_agent_containers_unread 1.0" in text

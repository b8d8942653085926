"""What containers use, over HTTP, on twins and real sockets."""

import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from adapters.memory.container_usage import IDLE
from domain.container_usage import ContainerUsage
from domain.containers import Container, ContainerState
from entrypoints.connections import ConnectionLimits
from tests.http.test_slow_clients import served
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import call
from tests.support.containers import CONTAINERS, act, lab, run

pytestmark = pytest.mark.anyio

MIB = 1024**2
NDJSON = {"accept": "application/x-ndjson"}


class Meter:
    """Lets containers use what a test says, and counts how often they are read."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reads = 0
        self._read = world.usages.usage

    async def usage(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        self.reads += 1
        return await self._read(containers)

    def uses(self, name: str, **counters: Any) -> None:
        """Sets counters of a container."""
        used = self.world.usages.used.get(name, IDLE)
        self.world.usages.used[name] = msgspec.structs.replace(used, **counters)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await run(world)
        yield world


@pytest.fixture
def meter(world: World, monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter(world)
    monkeypatch.setattr(world.usages, "usage", meter.usage)
    return meter


async def ask(world: World, path: str = "web/stats", query: str = "") -> httpx.Response:
    """The answer of a call that waits for the clock, which goes on by a second meanwhile."""
    found: list[httpx.Response] = []

    async def ask() -> None:
        found.append(await call(world, "GET", f"{CONTAINERS}/{path}{query}"))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await world.clock.advance(1)
    return found[0]


async def follow(
    world: World, path: str, meanwhile: Any, headers: dict[str, str] | None = None
) -> str:
    """What a follower reads until the stream ends, while something happens."""
    found: list[str] = []

    async def ask() -> None:
        found.append((await call(world, "GET", f"{CONTAINERS}/{path}", headers=headers)).text)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await world.clock.advance(0)
            await meanwhile()
    return found[0]


def events(text: str) -> list[tuple[str, Any]]:
    """The kinds and data of events."""
    found = []
    for block in text.strip().split("\n\n"):
        kind, data = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


class TestOnce:
    """One who asks once."""

    async def test_counters_and_shares_are_told(self, world: World, meter: Meter) -> None:
        meter.uses(
            "web",
            memory_bytes=64 * MIB,
            memory_limit_bytes=256 * MIB,
            processes=5,
            network_received_bytes=1,
            network_sent_bytes=2,
            block_read_bytes=3,
            block_written_bytes=4,
        )

        answer = await ask(world)

        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["name"] == "web"
        assert told["memory_percent"] == 25.0
        assert told["pids"] == 5
        assert [told[f"{name}_bytes"] for name in ("network_received", "network_sent")] == [1, 2]
        assert [told[f"{name}_bytes"] for name in ("block_read", "block_written")] == [3, 4]

    async def test_cpu_is_of_half_a_second(self, world: World, meter: Meter) -> None:
        meter.uses("web", cpu_seconds=10.0)
        found: list[Any] = []

        async def ask() -> None:
            found.append((await act(world, "web", "stats", "GET")).json())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await world.clock.advance(0.25)
            meter.uses("web", cpu_seconds=11.0)
            await world.clock.advance(0.25)

        assert found[0]["cpu_percent"] == 200.0
        assert found[0]["interval_seconds"] == 0.5
        assert found[0]["cpu_seconds"] == 11.0

    async def test_one_who_asks_again_is_told_of_the_time_since_and_does_not_wait(
        self, world: World, meter: Meter
    ) -> None:
        await ask(world)
        await world.clock.advance(3.5)
        meter.uses("web", cpu_seconds=1.0)

        with anyio.fail_after(5):
            told = (await act(world, "web", "stats", "GET")).json()

        assert told["interval_seconds"] == 4.0
        assert told["cpu_percent"] == 25.0

    async def test_a_reading_of_long_ago_is_no_measure(self, world: World, meter: Meter) -> None:
        await ask(world)
        await world.clock.advance(600)

        assert (await ask(world)).json()["interval_seconds"] == 0.5

    async def test_counters_that_began_anew_tell_no_share(self, world: World, meter: Meter) -> None:
        meter.uses("web", cpu_seconds=100.0)
        await ask(world)
        meter.uses("web", cpu_seconds=0.1)

        assert (await act(world, "web", "stats", "GET")).json()["cpu_percent"] is None

    async def test_many_who_ask_together_cost_two_readings(
        self, world: World, meter: Meter
    ) -> None:
        found: list[int] = []

        async def ask() -> None:
            found.append((await act(world, "web", "stats", "GET")).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
            await world.clock.advance(1)

        assert found == [200] * 50
        assert meter.reads == 2

    async def test_one_that_does_not_run_is_409(self, world: World) -> None:
        world.engine.stop("web")
        await world.look()

        answer = await act(world, "web", "stats", "GET")

        assert answer.status_code == 409
        assert "does not run" in answer.json()["detail"]

    async def test_one_that_ends_meanwhile_is_409(self, world: World) -> None:
        found: list[httpx.Response] = []

        async def ask() -> None:
            found.append(await act(world, "web", "stats", "GET"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await world.clock.advance(0.2)
            world.engine.stop("web")
            await world.look()
            await world.clock.advance(1)

        assert found[0].status_code == 409

    async def test_one_that_is_not_there_is_404(self, world: World) -> None:
        assert (await act(world, "nobody", "stats", "GET")).status_code == 404

    async def test_counters_that_nobody_can_read_are_503(self, world: World) -> None:
        world.usages.unseen.add("web")

        answer = await ask(world)

        assert answer.status_code == 503
        assert "retry-after" in answer.headers

    async def test_an_engine_that_is_away_is_503(self, world: World) -> None:
        world.engine.fault = "no such file"

        assert (await act(world, "web", "stats", "GET")).status_code == 503

    @pytest.mark.parametrize("query", ["interval=0", "interval=61", "follow=perhaps"])
    async def test_what_makes_no_sense_is_refused(self, world: World, query: str) -> None:
        answer = await call(world, "GET", f"{CONTAINERS}/web/stats?{query}")
        assert answer.status_code == 422


class TestFollowing:
    """One who follows."""

    async def test_each_second_is_told_until_the_container_ends(
        self, world: World, meter: Meter
    ) -> None:
        async def meanwhile() -> None:
            for seconds in (1.0, 2.0, 3.0):
                await world.clock.advance(1)
                meter.uses("web", cpu_seconds=seconds)
            world.engine.stop("web")
            await world.look()
            await world.clock.advance(1)

        told = events(await follow(world, "web/stats?follow=true", meanwhile))

        assert [kind for kind, _ in told] == ["stats"] * (len(told) - 1) + ["end"]
        assert len(told) >= 4
        assert 100.0 in [data["cpu_percent"] for kind, data in told if kind == "stats"]

    async def test_a_longer_interval_is_kept(self, world: World, meter: Meter) -> None:
        async def meanwhile() -> None:
            await world.clock.advance(30)
            world.engine.stop("web")
            await world.look()
            await world.clock.advance(10)

        told = events(await follow(world, "web/stats?follow=true&interval=10", meanwhile))

        assert [data["interval_seconds"] for kind, data in told if kind == "stats"][-1] == 10.0
        assert len(told) == 5

    async def test_lines_come_where_they_are_asked_for(self, world: World, meter: Meter) -> None:
        async def meanwhile() -> None:
            await world.clock.advance(1)
            world.engine.stop("web")
            await world.look()
            await world.clock.advance(2)

        text = await follow(world, "web/stats?follow=true", meanwhile, NDJSON)

        assert {json.loads(line)["name"] for line in text.splitlines()} == {"web"}

    async def test_it_ends_when_the_agent_does(self, world: World, meter: Meter) -> None:
        async def meanwhile() -> None:
            await world.clock.advance(0.6)
            world.agent.containers.stats.end()

        told = events(await follow(world, "web/stats?follow=true", meanwhile))

        assert [kind for kind, _ in told] == ["stats", "end"]

    @pytest.mark.parametrize("headers", [None, NDJSON])
    async def test_who_follows_can_tell_an_agent_that_stops_from_a_container_that_ends(
        self, world: World, meter: Meter, headers: dict[str, str] | None
    ) -> None:
        async def meanwhile() -> None:
            await world.clock.advance(0.6)
            world.agent.containers.stats.end()
            await world.agent.operations.close(1)

        text = await follow(world, "web/stats?follow=true", meanwhile, headers)

        assert "The agent is stopping" in text

    async def test_why_it_ends_is_told_where_counters_cannot_be_read_any_more(
        self, world: World, meter: Meter
    ) -> None:
        async def meanwhile() -> None:
            await world.clock.advance(0.6)
            world.usages.unseen.add("web")
            await world.clock.advance(2)

        told = events(await follow(world, "web/stats?follow=true", meanwhile))

        assert [kind for kind, _ in told] == ["stats", "problem", "end"]
        assert "web" in told[1][1]["detail"]

    async def test_fifty_followers_share_one_reading_a_second_and_no_threads(
        self, world: World, meter: Meter
    ) -> None:
        heard: list[bytes] = []
        async with served(world, ConnectionLimits()) as port:

            async def follow() -> None:
                url = f"http://127.0.0.1:{port}{CONTAINERS}/web/stats?follow=true"
                async with (
                    httpx.AsyncClient(trust_env=False, timeout=20) as http,
                    http.stream("GET", url, headers=KEY) as answer,
                ):
                    heard.append(b"".join([piece async for piece in answer.aiter_raw()]))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    threads = threading.active_count()
                    for _ in range(50):
                        group.start_soon(follow)
                    await anyio.sleep(1)
                    begun = meter.reads
                    for _ in range(5):
                        await world.clock.advance(1)
                        await anyio.sleep(0.05)
                    assert threading.active_count() <= threads + 1
                    assert meter.reads - begun <= 7
                    world.engine.stop("web")
                    await world.look()
                    await world.clock.advance(1)

        assert len(heard) == 50
        assert all(one.count(b"event: stats") >= 5 for one in heard)
        assert all(one.endswith(b"event: end\ndata: {}\n\n") for one in heard)


class TestAll:
    """All that run."""

    async def test_they_come_by_name_and_only_those_that_run(self, world: World) -> None:
        world.engine.run("api")
        world.engine.run("old", state=ContainerState.EXITED)
        await world.look()

        told = (await ask(world, "stats")).json()

        assert [one["name"] for one in told["containers"]] == ["api", "web"]
        assert told["unread"] == 0

    async def test_those_of_an_environment_can_be_chosen(self, world: World) -> None:
        name = await lab(world)
        await world.look()

        told = (await ask(world, "stats", "?environment=lab")).json()

        assert [one["name"] for one in told["containers"]] == [name]
        assert (await ask(world, "stats", "?environment=other")).json()["containers"] == []

    async def test_what_cannot_be_read_is_counted(self, world: World) -> None:
        world.usages.unseen.add("web")
        await world.look()

        assert (await ask(world, "stats")).json() == {"containers": [], "unread": 1}

    async def test_they_can_be_followed(self, world: World, meter: Meter) -> None:
        await world.look()

        async def meanwhile() -> None:
            await world.clock.advance(1)
            world.engine.run("api")
            await world.look()
            await world.clock.advance(1)
            world.agent.containers.stats.end()

        told = events(await follow(world, "stats?follow=true", meanwhile))

        lists = [[c["name"] for c in data["containers"]] for kind, data in told if kind == "stats"]
        assert lists[0] == ["web"]
        assert lists[-1] == ["api", "web"]
        assert told[-1] == ("end", {})

    async def test_an_engine_that_is_away_is_503_for_followers_too(self, world: World) -> None:
        world.engine.fault = "no such file"
        await world.look()

        for query in ("", "?follow=true"):
            answer = await call(world, "GET", f"{CONTAINERS}/stats{query}")
            assert answer.status_code == 503

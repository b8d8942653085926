"""The end of an agent that is told to stop: in order, and with nothing half done or half told."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from domain.heartbeat import HeartbeatReport
from entrypoints.connections import ConnectionLimits
from entrypoints.serve import wind_up
from tests.http.test_slow_clients import served
from tests.support.agents import World, agent_on_twins
from tests.support.api import (
    ENVIRONMENTS,
    OPERATIONS,
    PLAIN,
    WAIT,
    WEB,
    begin,
    call,
    deploy,
    left_of,
)
from tests.support.api import operation as shown_operation
from tests.support.containers import CONTAINERS, run
from tests.support.terminals import conversation

pytestmark = pytest.mark.anyio

MANAGED = {"MANAGER_URL": "https://manager.example.com", "SHUTDOWN_TIMEOUT": "60"}
EVENTS = {"Accept": "text/event-stream"}
STATS = f"{CONTAINERS}/web/stats?follow=true"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins(MANAGED) as world:
        world.compose.build_seconds = 5
        yield world


class Answer:
    """The answer to a call that goes on meanwhile."""

    response: httpx.Response

    async def get(self, world: World, path: str) -> None:
        """Makes the call and keeps the answer."""
        self.response = await call(world, "GET", path, headers=EVENTS)

    @property
    def last_event(self) -> str:
        """The last event of the stream."""
        return self.response.text.strip().split("\n\n")[-1]


async def test_what_is_under_way_is_finished_and_then_told(world: World) -> None:
    identifier = await begin(world, "one", WEB)
    follower = Answer()
    async with anyio.create_task_group() as group:
        group.start_soon(follower.get, world, f"{OPERATIONS}/{identifier}/events")
        group.start_soon(wind_up, world.agent)
        await world.clock.advance(4)
        assert world.manager.reports == []
        await world.clock.advance(1)

    assert (await shown_operation(world, identifier))["state"] == "succeeded"
    assert '"state":"succeeded"' in follower.last_event
    assert follower.last_event.startswith("event: end\n")
    assert world.manager.reports == [HeartbeatReport(cpu=100, mem=20, containers=1)]


async def test_meanwhile_nothing_new_is_taken_and_why_is_told(world: World) -> None:
    await begin(world, "one", WEB)
    async with anyio.create_task_group() as group:
        group.start_soon(wind_up, world.agent)
        await world.clock.advance(1)
        refused = await deploy(world, "two", PLAIN)
        health, ready = await world.http.get("/health"), await world.http.get("/ready")
        await world.clock.advance(4)

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "stopping" in refused.json()["detail"]
    assert "The agent is stopping." in health.json()["reasons"]
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["The agent is stopping."])


async def test_what_takes_too_long_is_undone_before_the_last_heartbeat() -> None:
    async with agent_on_twins({**MANAGED, "SHUTDOWN_TIMEOUT": "0"}) as world:
        world.compose.build_seconds = 500
        identifier = await begin(world, "one", WEB)

        await wind_up(world.agent)

        assert (await shown_operation(world, identifier))["state"] == "interrupted"
        assert await left_of(world, "one") == []
        assert world.manager.reports == [HeartbeatReport(cpu=100, mem=20, containers=0)]


async def test_it_can_be_hastened_and_undoes_all_the_same(world: World) -> None:
    world.compose.build_seconds = 500
    identifier = await begin(world, "one", WEB)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wind_up, world.agent)
            await world.clock.advance(1)
            world.agent.operations.interrupt()

    assert (await shown_operation(world, identifier))["state"] == "interrupted"
    assert await left_of(world, "one") == []


async def test_who_follows_logs_gets_the_last_line_and_an_end(world: World) -> None:
    world.compose.build_seconds = 0
    await deploy(world, "one", PLAIN)
    follower = Answer()
    async with anyio.create_task_group() as group:
        group.start_soon(follower.get, world, f"{ENVIRONMENTS}/one/logs?follow=true")
        await world.clock.advance(0)
        world.logs.print("one-solo-1", "the last line")
        await wind_up(world.agent)

    assert '"the last line"' in follower.response.text
    assert follower.last_event == "event: end\ndata: {}"


@pytest.mark.parametrize(
    "path",
    [f"{ENVIRONMENTS}/two/logs?follow=true", f"{CONTAINERS}/web/logs?follow=true", STATS],
)
async def test_who_follows_what_is_no_operation_does_not_wait_for_operations(
    world: World, path: str
) -> None:
    await run(world)
    await deploy(world, "two", PLAIN)
    await begin(world, "one", WEB)
    follower = Answer()
    async with anyio.create_task_group() as group:
        group.start_soon(follower.get, world, path)
        await world.clock.advance(0.1)
        group.start_soon(wind_up, world.agent)
        await world.clock.advance(0.1)
        ended, under_way = follower.last_event, world.agent.operations.count
        await world.clock.advance(5)

    assert ended.startswith("event: end\n")
    assert under_way == 1


async def test_terminals_do_not_wait_for_operations_either(world: World) -> None:
    await run(world)
    await begin(world, "one", WEB)
    async with served(world, ConnectionLimits()) as port, conversation(port) as talk:
        await talk.say(b"echo hi\n")
        with anyio.fail_after(5):
            await talk.until(b"hi\r\n")
        async with anyio.create_task_group() as group:
            group.start_soon(wind_up, world.agent)
            with anyio.fail_after(5):
                await talk.to_end()
            under_way = world.agent.operations.count
            await world.clock.advance(5)

    assert talk.end is not None
    assert (talk.code, talk.end["reason"], under_way) == (1001, "stopping", 1)


async def test_a_recovery_that_ends_late_does_not_open_the_agent_again() -> None:
    async with agent_on_twins(MANAGED, ready=False) as world:
        await wind_up(world.agent)

        await world.agent.recovery.run()

        assert not world.agent.operations.accepting
        assert (await deploy(world, "one", PLAIN)).status_code == 503


@pytest.mark.parametrize("action", ["restart", "reset", "rebuild", "start", "stop"])
async def test_a_change_that_is_cut_off_is_taken_up_by_the_next_agent(action: str) -> None:
    async with agent_on_twins({"SHUTDOWN_TIMEOUT": "0"}) as world:
        await deploy(world, "one", PLAIN)
        if action == "start":
            await call(world, "POST", f"{ENVIRONMENTS}/one/stop", headers=WAIT)
        earlier = {container.id for container in world.engine.containers.values()}
        world.compose.up_seconds = world.compose.stop_seconds = 5
        asked = await call(world, "POST", f"{ENVIRONMENTS}/one/{action}")
        identifier = asked.json()["id"]
        await world.clock.advance(6 if action == "restart" else 1)

        await wind_up(world.agent)
        events = await call(world, "GET", f"{OPERATIONS}/{identifier}/events", headers=EVENTS)

    assert '"state":"interrupted"' in events.text.strip().split("\n\n")[-1]
    world.compose.up_seconds = world.compose.stop_seconds = 0
    async with agent_on_twins(outside=world) as after:
        await after.clock.advance(30)
        (state,) = {container.state.value for container in after.engine.containers.values()}
        kept = earlier == {container.id for container in after.engine.containers.values()}
        told = await shown_operation(after, identifier)

    assert state == ("exited" if action == "stop" else "running")
    assert kept is (action not in {"reset", "rebuild"})
    assert (told["state"], told["error"]) == ("interrupted", "operation-interrupted")


async def test_whoever_asked_for_it_is_told_that_it_will_be() -> None:
    async with agent_on_twins({"SHUTDOWN_TIMEOUT": "0"}) as world:
        await deploy(world, "one", PLAIN)
        world.compose.stop_seconds = 5
        answers: list[httpx.Response] = []

        async def ask() -> None:
            path = f"{ENVIRONMENTS}/one/restart"
            answers.append(await call(world, "POST", path, headers=WAIT))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await world.clock.advance(1)
            await wind_up(world.agent)

    assert answers[0].status_code == 503
    assert "taken up again" in answers[0].json()["detail"]

"""The events of the host over HTTP, on twins and real sockets."""

import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from domain.consistency import ConsistencyReport, Difference, DifferenceKind
from domain.heartbeat import HeartbeatAnswer, HeartbeatResult
from domain.host_events import HostEvent
from entrypoints.connections import ConnectionLimits
from entrypoints.http.events import EventView
from entrypoints.workers import run_workers
from tests.http.test_slow_clients import served
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import BROKEN, PLAIN, call, change, deploy, remove

pytestmark = pytest.mark.anyio

EVENTS = "/api/v1/events"
ALL = "?since=1h&follow=false"
"""All that has happened, and an end."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins({"MANAGER_URL": "https://manager"}) as world:
        yield world


@pytest.fixture
async def live(world: World) -> AsyncIterator[World]:
    """One that hears what its Engine tells."""
    async with anyio.create_task_group() as group:
        group.start_soon(world.agent.engine_entries.run)
        group.start_soon(world.agent.events.run)
        await world.clock.advance(0)
        yield world
        group.cancel_scope.cancel()


class Block:
    """One event as a reader of Server-Sent Events takes it."""

    def __init__(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.split("\n") if line[:1] != ":")
        self.id = fields.get("id", "")
        self.kind = fields.get("event", "")
        self.data: Any = json.loads(fields["data"]) if "data" in fields else None


async def read(
    world: World, query: str = ALL, headers: dict[str, str] | None = None
) -> list[Block]:
    answer = await call(world, "GET", f"{EVENTS}{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    return [Block(text) for text in answer.text.strip().split("\n\n")]


async def told(world: World, query: str = ALL) -> list[tuple[str, str, str]]:
    """Kind, action and name of each event."""
    blocks = [one.data for one in await read(world, query) if one.kind == "message"]
    return [(data["kind"], data["action"], data.get("name", "")) for data in blocks]


class TestOfTheAgent:
    """What the agent does and finds."""

    async def test_a_deploy_is_told_from_its_request_to_its_end(self, world: World) -> None:
        assert (await deploy(world, "lab", PLAIN)).status_code == 200

        found = await told(world, f"{ALL}&source=agent&environment=lab")

        steps = [action for kind, action, _ in found if kind == "operation"]
        assert steps[0] == "requested"
        assert steps[1] == "began"
        assert set(steps[2:-1]) == {"step"}
        assert steps[-1] == "succeeded"
        states = [action for kind, action, _ in found if kind == "environment"]
        assert states == ["deploying", "running"]

    async def test_a_deploy_that_fails_tells_why(self, world: World) -> None:
        await deploy(world, "lab", BROKEN)

        query = f"{ALL}&kind=operation&action=failed"
        (failed,) = [one.data for one in await read(world, query) if one.kind == "message"]

        assert failed["environment"] == failed["name"] == "lab"
        assert failed["attributes"]["error"] == "step-failed"
        assert failed["text"]

    async def test_what_becomes_of_an_environment_is_told(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        await change(world, "lab", "stop")
        await remove(world, "lab")

        found = [action for _, action, _ in await told(world, f"{ALL}&kind=environment")]

        assert found[:2] == ["deploying", "running"]
        assert "stopped" in found
        assert found[-2:] == ["deleting", "removed"]

    async def test_a_hold_is_told(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        body = {"hold": {"owner": "jana", "reason": "exam"}}
        answer = await call(world, "PATCH", "/api/v1/environments/lab", body)
        assert answer.status_code == 200, answer.text

        assert ("environment", "hold", "lab") in await told(world)

    async def test_changes_that_were_asked_for_are_told_with_who_asked(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)

        query = f"{ALL}&kind=change"
        changes = [one.data for one in await read(world, query) if one.kind == "message"]

        (asked,) = [data for data in changes if data["name"] == "lab"]
        assert asked["action"] == "ok"
        assert asked["text"] == "PUT /api/v1/environments/lab"
        assert asked["attributes"]["subject"]

    async def test_whoever_has_the_key_of_a_nameless_host_is_no_stranger(self) -> None:
        async with agent_on_twins({"HOST_ID": ""}) as world:
            await deploy(world, "lab", PLAIN)

            query = f"{ALL}&kind=change"
            changes = [one.data for one in await read(world, query) if one.kind == "message"]

        assert changes[-1]["attributes"]["subject"] == "server-key"

    async def test_strangers_push_nothing_into_it(self, world: World) -> None:
        for _ in range(5):
            await world.http.post("/api/v1/environments", headers={"X-Server-Key": "wrong"})

        assert await told(world) == []

    async def test_heartbeats_that_fail_and_are_taken_again_are_told_once_each(
        self, world: World
    ) -> None:
        manager = world.agent.heartbeat._manager
        assert manager is not None
        for result in ("acknowledged", "unreachable", "unreachable", "acknowledged"):
            world.manager.answers.append(HeartbeatAnswer(result=HeartbeatResult(result)))
            await world.agent.heartbeat.beat(manager)

        found = [action for _, action, _ in await told(world, f"{ALL}&kind=heartbeat")]

        assert found == ["acknowledged", "unreachable", "acknowledged"]

    async def test_what_a_look_finds_and_what_is_gone_is_told(self, world: World) -> None:
        consistency = world.agent.consistency
        difference = Difference(
            kind=DifferenceKind.IMAGES_MISSING, subject="lab", detail="No image."
        )

        async def look(*differences: Difference) -> None:
            consistency.report = ConsistencyReport(differences=differences)
            consistency.looked.set()
            consistency.looked = anyio.Event()
            await world.clock.advance(0)

        async with anyio.create_task_group() as group:
            group.start_soon(world.agent.agent_entries.follow, consistency)
            await world.clock.advance(0)
            await look(difference)
            await look(difference)
            await look()
            group.cancel_scope.cancel()

        found = await told(world, f"{ALL}&kind=consistency")
        assert found == [("consistency", "found", "lab"), ("consistency", "gone", "lab")]

    async def test_a_real_look_is_heard_of(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        world.engine.tags.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(world.agent.agent_entries.follow, world.agent.consistency)
            await world.clock.advance(0)
            report = await world.agent.consistency.look()
            await world.clock.advance(0)
            group.cancel_scope.cancel()

        found = await told(world, f"{ALL}&kind=consistency")
        subjects = [d.subject for d in report.differences] + [h.subject for h in report.healed]
        assert sorted(name for _, _, name in found) == sorted(subjects)


class TestOfTheEngine:
    """What Docker tells."""

    async def test_containers_of_environments_are_known_as_theirs(self, live: World) -> None:
        await deploy(live, "lab", PLAIN)
        live.engine.run("alone")
        await live.clock.advance(0)

        found = await told(live, f"{ALL}&source=engine&environment=lab&action=start")

        assert found == [("container", "start", "lab-solo-1")]
        assert ("container", "start", "alone") in await told(live)

    async def test_labels_and_containers_are_chosen(self, live: World) -> None:
        live.engine.happenings.tell("container", "start", "a1", {"name": "a", "course": "x"})
        live.engine.happenings.tell("container", "start", "b1", {"name": "b", "course": "y"})
        await live.clock.advance(0)

        assert await told(live, f"{ALL}&label=course%3Dx") == [("container", "start", "a")]
        assert await told(live, f"{ALL}&container=b1") == [("container", "start", "b")]
        assert await told(live, f"{ALL}&container=a&label=course%3Dy") == []

    async def test_docker_and_the_agent_come_in_one_order(self, live: World) -> None:
        await deploy(live, "lab", PLAIN)

        kinds = [kind for kind, _, _ in await told(live)]

        first = kinds.index("container")
        assert "operation" in kinds[:first]
        assert "operation" in kinds[first:]


class TestStream:
    """How it is told."""

    async def test_whoever_comes_back_gets_what_came_after_once(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        blocks = await read(world)
        ids = [one.id for one in blocks if one.kind == "message"]
        middle = len(ids) // 2

        again = await read(world, "?follow=false", {"Last-Event-ID": ids[middle]})

        assert [one.id for one in again if one.kind == "message"] == ids[middle + 1 :]
        assert "lost" not in [one.kind for one in again]

    async def test_whoever_comes_back_to_another_agent_is_told_that_events_are_lost(
        self, world: World
    ) -> None:
        await deploy(world, "lab", PLAIN)
        last = (await read(world))[-2].id
        await world.clock.advance(1)

        async with agent_on_twins(outside=world) as later:
            await remove(later, "lab")
            blocks = await read(later, "?follow=false", {"Last-Event-ID": last})

        assert blocks[0].kind == "lost"
        assert blocks[0].data["reason"]
        assert {one.id for one in blocks}.isdisjoint({last})
        assert "operation" in {one.data["kind"] for one in blocks if one.kind == "message"}

    async def test_a_place_to_come_back_to_is_told_before_anything_happens(
        self, world: World
    ) -> None:
        begin = (await read(world, "?follow=false"))[0]
        await deploy(world, "lab", PLAIN)

        again = await read(world, "?follow=false", {"Last-Event-ID": begin.id})

        assert next(one.data["action"] for one in again if one.kind == "message") == "ok"

    async def test_lines_come_where_they_are_asked_for(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)

        answer = await call(
            world, "GET", f"{EVENTS}{ALL}", headers={"accept": "application/x-ndjson"}
        )

        lost, *lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lost["lost"]["reason"]
        assert "operation" in {line["kind"] for line in lines}
        assert len({line["event_id"] for line in lines}) == len(lines)
        gone = {"accept": "application/x-ndjson", "Last-Event-ID": "x-1"}
        answer = await call(world, "GET", f"{EVENTS}?follow=false", headers=gone)
        assert "lost" in json.loads(answer.text.splitlines()[0])

    @pytest.mark.parametrize(
        "query", ["since=yesterday", "until=", "source=docker", "follow=perhaps"]
    )
    async def test_what_makes_no_sense_is_refused(self, world: World, query: str) -> None:
        assert (await call(world, "GET", f"{EVENTS}?{query}")).status_code == 422

    async def test_no_key_no_events(self, world: World) -> None:
        assert (await world.http.get(EVENTS)).status_code == 401

    async def test_fifty_followers_all_hear_and_cost_no_thread(self, world: World) -> None:
        heard: list[bytes] = []
        async with served(world, ConnectionLimits()) as port:

            async def follow() -> None:
                async with (
                    httpx.AsyncClient(trust_env=False, timeout=20) as http,
                    http.stream("GET", f"http://127.0.0.1:{port}{EVENTS}", headers=KEY) as answer,
                ):
                    heard.append(b"".join([piece async for piece in answer.aiter_raw()]))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    threads = threading.active_count()
                    for _ in range(50):
                        group.start_soon(follow)
                    await anyio.sleep(1)
                    assert threading.active_count() == threads
                    await deploy(world, "lab", PLAIN)
                    world.agent.journal.end()

        assert len(heard) == 50
        assert len(set(heard)) == 1
        assert b"deploying" in heard[0]
        assert heard[0].endswith(b"event: end\ndata: {}\n\n")

    @pytest.mark.parametrize("form", ["text/event-stream", "application/x-ndjson"])
    async def test_who_follows_can_tell_that_the_agent_stops(self, world: World, form: str) -> None:
        found: list[str] = []

        async def follow() -> None:
            found.append((await call(world, "GET", EVENTS, headers={"Accept": form})).text)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                await anyio.sleep(0.1)
                await world.agent.operations.close(1)
                world.agent.journal.end()

        assert "The agent is stopping" in found[0]
        once = await call(world, "GET", f"{EVENTS}{ALL}", headers={"Accept": form})
        assert "The agent is stopping" not in once.text

    async def test_one_who_goes_away_leaves_nothing_behind(self, world: World) -> None:
        async with served(world, ConnectionLimits()) as port:
            tasks = len(anyio.get_running_tasks())
            async with (
                httpx.AsyncClient(trust_env=False) as http,
                http.stream("GET", f"http://127.0.0.1:{port}{EVENTS}", headers=KEY) as answer,
            ):
                await anext(answer.aiter_raw())
            with anyio.fail_after(5):
                while len(anyio.get_running_tasks()) > tasks:
                    await anyio.sleep(0.01)

    async def test_the_agents_workers_keep_it(self, world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_workers, world.agent)
            await world.clock.advance(1)
            world.engine.run("alone")
            await world.clock.advance(1)
            group.cancel_scope.cancel()

        found = await told(world)
        assert ("agent", "started", "") in found
        assert ("container", "start", "alone") in found


def test_events_are_shown_with_all_that_they_have() -> None:
    kept = set(HostEvent.__struct_fields__)

    assert set(EventView.__struct_fields__) == kept - {"number"} | {"event_id"}

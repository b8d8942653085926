"""What was opened with a key that expires, and goes on for as long as somebody listens."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest

from entrypoints.connections import ConnectionLimits
from tests.contracts.test_keys import signed
from tests.http.test_slow_clients import served
from tests.support.agents import World, agent_on_twins
from tests.support.api import ENVIRONMENTS, OPERATIONS, PLAIN, WEB, begin, deploy
from tests.support.containers import CONTAINERS, run
from tests.support.terminals import conversation

pytestmark = pytest.mark.anyio

EVENTS = "text/event-stream"
LIVE = [
    f"{CONTAINERS}/web/logs?follow=true",
    f"{CONTAINERS}/web/stats?follow=true",
    f"{ENVIRONMENTS}/two/logs?follow=true",
    "/api/v1/events",
]
LOOKS = 31
"""Seconds within which a clock that jumps is seen."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await run(world)
        await deploy(world, "two", PLAIN)
        yield world


def key(exp: int | None = None) -> dict[str, str]:
    """The header with a key that the manager signed."""
    return {"X-Server-Key": signed(exp=exp)}


EXPIRY = int(time.time()) + 3600


def expire(world: World) -> None:
    """Lets the time come at which the key is good no more; the agent grants it a little more."""
    moment = datetime.fromtimestamp(EXPIRY, UTC) + timedelta(seconds=5)
    world.clock.jump_wall_clock((moment - world.clock.now()).total_seconds())


class Follower:
    """One who follows something."""

    answer: httpx.Response | None = None

    async def follow(self, world: World, path: str, headers: dict[str, str]) -> None:
        """Reads on to the end."""
        self.answer = await world.http.get(path, headers=headers)


@pytest.mark.parametrize("path", LIVE)
async def test_events_end_with_the_key_and_say_so(world: World, path: str) -> None:
    follower = Follower()
    async with anyio.create_task_group() as group:
        group.start_soon(follower.follow, world, path, {**key(exp=EXPIRY), "Accept": EVENTS})
        await world.clock.advance(LOOKS)
        assert follower.answer is None
        expire(world)
        await world.clock.advance(LOOKS)

    assert follower.answer is not None
    problem, end = follower.answer.text.strip().split("\n\n")[-2:]
    assert problem.startswith("event: problem\n")
    told = json.loads(problem.partition("data: ")[2])
    assert (told["status"], "has expired" in told["detail"]) == (401, True)
    assert end == "event: end\ndata: {}"


async def test_events_of_an_operation_end_with_the_key_and_the_operation_goes_on(
    world: World,
) -> None:
    world.compose.build_seconds = 500
    identifier = await begin(world, "one", WEB)
    follower = Follower()
    headers = {**key(exp=EXPIRY), "Accept": EVENTS}
    async with anyio.create_task_group() as group:
        path = f"{OPERATIONS}/{identifier}/events"
        group.start_soon(follower.follow, world, path, headers)
        await world.clock.advance(1)
        expire(world)
        await world.clock.advance(LOOKS)
        assert follower.answer is not None
        assert world.agent.operations.count == 1
        await world.clock.advance(500)

    assert follower.answer is not None
    assert "event: problem" in follower.answer.text


@pytest.mark.parametrize("follow", ["follow=true", "follow=1", "%66ollow=t%72ue"])
async def test_text_that_is_followed_breaks_off_so_that_nobody_takes_it_for_the_whole(
    world: World, follow: str
) -> None:
    world.output.print("web", b"one")
    path, read = f"{CONTAINERS}/web/logs?{follow}", b""
    async with (
        served(world, ConnectionLimits()) as port,
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("GET", f"http://127.0.0.1:{port}{path}", headers=key(exp=EXPIRY)) as answer,
    ):
        pieces = answer.aiter_raw()
        read += await anext(pieces)
        expire(world)
        await world.clock.advance(LOOKS)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)

    assert read == b"one\n"
    assert any("answer broke off" in event for event in world.log.events)


async def test_a_key_without_an_end_goes_on(world: World) -> None:
    follower = Follower()
    async with anyio.create_task_group() as group:
        group.start_soon(follower.follow, world, LIVE[0], {**key(), "Accept": EVENTS})
        await world.clock.advance(1)
        expire(world)
        await world.clock.advance(LOOKS)
        assert follower.answer is None
        world.output.end()
        await world.clock.advance(1)

    assert follower.answer is not None
    assert "problem" not in follower.answer.text


async def test_what_was_begun_in_time_and_ends_by_itself_is_finished(world: World) -> None:
    world.compose.build_seconds = 100
    answers: list[httpx.Response] = []

    async def ask() -> None:
        digest = (await world.http.post("/api/v1/bundles", content=WEB, headers=key())).json()
        body = {"name": "one", "bundle": digest["digest"]}
        headers = {**key(exp=EXPIRY), "Prefer": "wait=300"}
        answers.append(await world.http.post(ENVIRONMENTS, json=body, headers=headers))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await world.clock.advance(1)
        expire(world)
        await world.clock.advance(101)

    assert answers[0].status_code == 200


async def test_a_terminal_closes_with_the_key_and_says_so(world: World) -> None:
    async with served(world, ConnectionLimits()) as port:
        headers = key(exp=EXPIRY)
        async with conversation(port, headers=headers) as talk:
            with anyio.fail_after(5):
                await talk.say(b"echo hi\n")
                await talk.until(b"hi\r\n")
                expire(world)
                await world.clock.advance(LOOKS)
                await talk.to_end()

    assert talk.end is not None
    assert (talk.code, talk.end["reason"]) == (1008, "key-expired")
    assert "newer one" in talk.end["detail"]

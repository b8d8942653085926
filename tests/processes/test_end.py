"""How a real agent process ends, seen from its clients, its manager and its disk."""

import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.agent_process import KEY, Process, agent_process, starting_agent
from tests.support.agents import HOST_ID
from tests.support.api import BUNDLES, ENVIRONMENTS, OPERATIONS, PLAIN, WEB
from tests.support.manager_server import ManagerServer, hang, manager_server
from tests.support.slow_agent import PRINTED

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(60)]

WAIT = {"Prefer": "wait=20"}
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def manager() -> AsyncIterator[ManagerServer]:
    async with manager_server() as manager:
        yield manager


@asynccontextmanager
async def slow_agent(
    root: Path, manager: ManagerServer, *, builds_take: float, **variables: str
) -> AsyncIterator[Process]:
    """An agent without an Engine, whose manager has heard of it."""
    settings = {
        "MANAGER_URL": manager.url,
        "HOST_ID": HOST_ID,
        "HEARTBEAT_INTERVAL": "1",
        "RUNTIME": "memory",
    }
    program = ("tests.support.slow_agent", str(builds_take))
    async with starting_agent(root, {**settings, **variables}, program=program) as agent:
        await agent.ready()
        with anyio.fail_after(10):
            while not manager.requests:
                await anyio.sleep(0.02)
        yield agent


async def begin(agent: Process, name: str, archive: bytes) -> str:
    """Asks for a deploy and lets it begin; its operation."""
    digest = (await agent.http.post(BUNDLES, content=archive)).json()["digest"]
    answer = await agent.http.put(f"{ENVIRONMENTS}/{name}", json={"bundle": digest})
    assert answer.status_code == 202, answer.text
    identifier: str = answer.json()["id"]
    with anyio.fail_after(5):
        while (await agent.http.get(f"{OPERATIONS}/{identifier}")).json()["step"] != "build":
            await anyio.sleep(0.02)
    return identifier


async def deploy(agent: Process, name: str, archive: bytes) -> None:
    """Deploys to the end."""
    digest = (await agent.http.post(BUNDLES, content=archive)).json()["digest"]
    body = {"bundle": digest}
    answer = await agent.http.put(f"{ENVIRONMENTS}/{name}", json=body, headers=WAIT)
    assert answer.status_code == 200, answer.text


def reports(manager: ManagerServer) -> list[dict[str, int]]:
    """The bodies of all heartbeats that came."""
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in manager.requests]


def stored(agent: Process, table: str) -> list[dict[str, Any]]:
    """The records of an agent that has ended."""
    with sqlite3.connect(agent.root / "state" / "agent.db") as connection:
        rows = connection.execute(f"SELECT document FROM {table}").fetchall()  # noqa: S608
    connection.close()
    return [json.loads(document) for (document,) in rows]


def left_of_deploys(agent: Process) -> list[str]:
    """What lies in the workspace but for the bundles that were uploaded."""
    return [path for path in agent.workspace() if not path.startswith(".agent/library/")]


async def ended(agent: Process, seconds: float) -> int | None:
    """The exit code of an agent that ends in time."""
    with anyio.fail_after(seconds):
        return await agent.process.wait()


class Follower:
    """A client that reads a stream to its end."""

    text = ""
    ended_well = False

    async def read(self, agent: Process, path: str) -> None:
        """Reads until the agent ends the stream; an end in the middle raises."""
        async with agent.http.stream("GET", path, headers=EVENTS) as answer:
            async for piece in answer.aiter_text():
                self.text += piece
        self.ended_well = True

    async def has_read(self, words: str) -> None:
        """Returns when it has."""
        with anyio.fail_after(5):
            while words not in self.text:
                await anyio.sleep(0.02)

    @property
    def last_event(self) -> str:
        """The last event of the stream."""
        return self.text.strip().split("\n\n")[-1]


async def test_what_is_under_way_is_finished_and_everybody_is_told(
    tmp_path: Path, manager: ManagerServer
) -> None:
    operation, logs = Follower(), Follower()
    async with slow_agent(tmp_path, manager, builds_take=10) as agent:
        await deploy(agent, "quick", PLAIN)
        identifier = await begin(agent, "slow", WEB)
        async with anyio.create_task_group() as group:
            group.start_soon(operation.read, agent, f"{OPERATIONS}/{identifier}/events")
            group.start_soon(logs.read, agent, f"{ENVIRONMENTS}/quick/logs?follow=true")
            await logs.has_read(PRINTED)
            before = len(reports(manager))
            agent.process.send_signal(signal.SIGTERM)
            await operation.has_read("build")
            with anyio.fail_after(8):
                while not (full := [r for r in reports(manager)[before:] if r["cpu"] == 100]):
                    await anyio.sleep(0.05)
            refused = await agent.http.delete(f"{ENVIRONMENTS}/quick")
            assert await ended(agent, 40) == 0

    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert operation.ended_well
    assert '"state":"succeeded"' in operation.last_event
    assert logs.ended_well
    assert logs.last_event == "event: end\ndata: {}"
    assert full[0]["containers"] == 1
    last = reports(manager)[-1]
    assert (last["cpu"], last["containers"]) == (100, 2)
    assert 503 in {entry["status"] for entry in stored(agent, "audit")}


async def test_what_takes_too_long_is_undone_and_written_down(
    tmp_path: Path, manager: ManagerServer
) -> None:
    operation = Follower()
    async with slow_agent(tmp_path, manager, builds_take=600, SHUTDOWN_TIMEOUT="1") as agent:
        identifier = await begin(agent, "slow", WEB)
        async with anyio.create_task_group() as group:
            group.start_soon(operation.read, agent, f"{OPERATIONS}/{identifier}/events")
            await operation.has_read("build")
            agent.process.send_signal(signal.SIGTERM)
            assert await ended(agent, 15) == 0

    assert operation.ended_well
    assert '"state":"interrupted"' in operation.last_event
    (record,) = stored(agent, "operations")
    assert (record["state"], record["error"]) == ("interrupted", "operation-interrupted")
    assert left_of_deploys(agent) == []
    last = reports(manager)[-1]
    assert (last["cpu"], last["containers"]) == (100, 0)


@pytest.mark.parametrize("hastens", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_hastens_the_end_and_undoes_all_the_same(
    tmp_path: Path, manager: ManagerServer, hastens: signal.Signals
) -> None:
    async with slow_agent(tmp_path, manager, builds_take=600, SHUTDOWN_TIMEOUT="60") as agent:
        await begin(agent, "slow", WEB)
        agent.process.send_signal(signal.SIGTERM)
        await anyio.sleep(1)
        assert agent.process.returncode is None

        agent.process.send_signal(hastens)
        assert await ended(agent, 10) == 0

    assert [record["state"] for record in stored(agent, "operations")] == ["interrupted"]
    assert left_of_deploys(agent) == []


async def test_a_manager_that_hangs_holds_the_end_up_for_seconds_only(
    tmp_path: Path, manager: ManagerServer
) -> None:
    async with slow_agent(tmp_path, manager, builds_take=0) as agent:
        manager.behaviour = hang
        await anyio.sleep(1.2)
        began = time.monotonic()
        agent.process.send_signal(signal.SIGTERM)

        assert await ended(agent, 10) == 0
        assert time.monotonic() - began < 6


async def test_a_client_that_never_ends_its_request_holds_the_end_up_for_seconds_only(
    tmp_path: Path, manager: ManagerServer
) -> None:
    async with slow_agent(tmp_path, manager, builds_take=0) as agent:
        await deploy(agent, "quick", PLAIN)
        url = agent.http.base_url
        stream = await anyio.connect_tcp(str(url.host), int(url.port or 0))
        async with stream:
            lines = ("Host: agent", f"X-Server-Key: {KEY}", "Content-Length: 1000", "", "")
            head = "\r\n".join([f"POST {BUNDLES} HTTP/1.1", *lines])
            await stream.send(head.encode() + b"half a body")
            await anyio.sleep(0.2)
            agent.process.send_signal(signal.SIGTERM)

            assert await ended(agent, 12) == 0
            answer = (await stream.receive()).decode()

    assert answer.startswith("HTTP/1.1 503 ")
    assert "The agent is stopping" in answer
    assert 503 in {entry["status"] for entry in stored(agent, "audit")}
    assert "Traceback" not in (tmp_path / "agent.log").read_text()


async def test_alone_it_ends_too_and_tells_nobody(tmp_path: Path, manager: ManagerServer) -> None:
    async with agent_process(tmp_path, RUNTIME="memory") as agent:
        agent.process.send_signal(signal.SIGINT)

        assert await ended(agent, 10) == 0

    log = (tmp_path / "agent.log").read_text()
    assert "agent ends" in log
    assert "ERROR" not in log
    assert manager.requests == []


async def test_however_often_it_is_told_to_stop_it_ends_well(tmp_path: Path) -> None:
    async with agent_process(tmp_path, RUNTIME="memory") as agent:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            agent.process.send_signal(number)

        assert await ended(agent, 10) == 0


async def test_a_manager_that_returns_hears_of_the_host_within_an_interval(
    tmp_path: Path, manager: ManagerServer
) -> None:
    async with slow_agent(tmp_path, manager, builds_take=0):
        good, manager.behaviour = manager.behaviour, hang
        for _ in range(2):
            await anyio.sleep(1.3)
            manager.behaviour, seen = good, len(manager.requests)
            with anyio.fail_after(1.8):
                while len(manager.requests) == seen:
                    await anyio.sleep(0.01)
            manager.behaviour = hang

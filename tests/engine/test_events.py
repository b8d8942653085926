"""The events of the host on a real Engine: Docker's and the agent's, by agents that die too."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.abc
import httpx
import psutil
import pytest

from tests.engine.test_containers import docker
from tests.engine.test_environments import SLEEPER, deploy
from tests.support import engine
from tests.support.agent_process import Process, agent_process

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

EVENTS = "/api/v1/events"


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
def name(host: engine.Host) -> str:
    name = f"t-{uuid4().hex[:12]}"
    host.projects.append(name)
    return name


class Reader:
    """One who reads events."""

    def __init__(self) -> None:
        self.id = ""
        self.ids: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.lost: list[Any] = []
        self.ended = False

    def take(self, line: str, kind: str) -> None:
        """Takes a line, which is data of an event of a kind."""
        if line.startswith("id: "):
            self.id = line.removeprefix("id: ")
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            match kind:
                case "message":
                    self.ids.append(self.id)
                    self.events.append(data)
                case "lost":
                    self.lost.append(data)
                case "end":
                    self.ended = True

    def actions(self, kind: str) -> list[str]:
        """What happened to things of a kind."""
        return [event["action"] for event in self.events if event["kind"] == kind]

    async def hears(self, condition: Callable[[], bool]) -> None:
        """Returns when something was heard."""
        with anyio.fail_after(60):
            while not condition():
                await anyio.sleep(0.05)


@asynccontextmanager
async def reading(agent: Process, after: str = "", **query: str) -> AsyncIterator[Reader]:
    """One who reads the events of an agent as long as the block lasts."""
    reader = Reader()

    async def read(task_status: anyio.abc.TaskStatus[None]) -> None:
        headers = {"Last-Event-ID": after} if after else {}
        stream = agent.http.stream("GET", EVENTS, params=query, headers=headers, timeout=60)
        # The agent may be killed.
        with suppress(httpx.RemoteProtocolError):
            async with stream as answer:
                assert answer.status_code == 200
                kind = ""
                async for line in answer.aiter_lines():
                    kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
                    reader.take(line, kind)
                    if reader.id:
                        task_status.started()
                        task_status = anyio.TASK_STATUS_IGNORED

    async with anyio.create_task_group() as group:
        await group.start(read)
        yield reader
        group.cancel_scope.cancel()


def container(host: engine.Host, name: str) -> None:
    """Runs and removes a container behind the agent's back."""
    label = {"com.docker.compose.project": name}
    client = host.client
    made = client.create_container(engine.BASE_IMAGE, "true", name=f"{name}-once", labels=label)
    client.start(made["Id"])
    client.wait(made["Id"])
    client.remove_container(made["Id"])


async def test_docker_and_the_agent_are_heard_in_one_stream(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    async with agent_process(tmp_path) as agent, reading(agent, environment=name) as reader:
        assert (await deploy(agent, name, {"compose.yaml": SLEEPER})).status_code == 200
        await reader.hears(lambda: "running" in reader.actions("environment"))
        host.client.kill(f"{name}-web-1")
        await reader.hears(lambda: reader.actions("environment")[-1] in {"degraded", "stopped"})

    assert reader.actions("operation")[:2] == ["requested", "began"]
    assert reader.actions("operation")[-1] == "succeeded"
    found = reader.actions("container")
    assert [action for action in found if action in {"create", "start", "kill", "die"}] == [
        "create",
        "start",
        "kill",
        "die",
    ]


async def test_the_same_is_heard_as_docker_events_prints(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    mine = f"com.docker.compose.project={name}"
    async with agent_process(tmp_path) as agent, reading(agent, label=mine) as reader:
        container(host, name)
        await reader.hears(lambda: "destroy" in reader.actions("container"))
    form = ("--since", "2m", "--until", f"{time.time():.6f}", "--format", "{{json .}}")

    printed = await docker("events", *form, "--filter", f"label={mine}")

    theirs = [json.loads(line) for line in printed.splitlines()]
    assert [(row["Type"], row["Action"], row["Actor"]["ID"]) for row in theirs] == [
        (event["kind"], event["action"], event["id"]) for event in reader.events
    ]


async def test_whoever_comes_back_hears_all_once(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    mine = f"com.docker.compose.project={name}"
    async with agent_process(tmp_path) as agent, reading(agent, label=mine) as whole:
        async with reading(agent, label=mine) as first:
            container(host, name)
            await first.hears(lambda: "destroy" in first.actions("container"))
        container(host, name)
        middle = first.ids[1]
        async with reading(agent, middle, label=mine) as second:
            await second.hears(lambda: second.actions("container").count("destroy") == 2)
        await whole.hears(lambda: whole.actions("container").count("destroy") == 2)

    assert first.ids[:2] + second.ids == whole.ids
    assert second.lost == []


async def test_one_who_comes_back_after_the_agent_was_killed_is_told_that_events_are_lost(
    tmp_path: Path, name: str
) -> None:
    async with agent_process(tmp_path) as agent, reading(agent, since="1h") as before:
        await before.hears(lambda: "started" in before.actions("agent"))
        last = before.id
        await agent.kill()

    async with agent_process(tmp_path) as agent, reading(agent, last) as after:
        await after.hears(lambda: "started" in after.actions("agent"))

    assert len(after.lost) == 1
    assert set(before.ids).isdisjoint(after.ids)
    assert after.ids[0].partition("-")[0] > before.ids[0].partition("-")[0]


async def test_fifty_followers_cost_no_thread_and_end_when_the_agent_does(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    readers: list[Reader] = []
    async with agent_process(tmp_path) as agent, anyio.create_task_group() as group:

        async def follow(task_status: anyio.abc.TaskStatus[None]) -> None:
            async with reading(agent) as reader:
                readers.append(reader)
                task_status.started()
                await reader.hears(lambda: reader.ended)

        await group.start(follow)
        with_one = psutil.Process(agent.process.pid).num_threads()
        for _ in range(49):
            await group.start(follow)
        container(host, name)
        with anyio.fail_after(20):
            while not all("destroy" in reader.actions("container") for reader in readers):
                await anyio.sleep(0.05)
        assert psutil.Process(agent.process.pid).num_threads() <= with_one + 15

        agent.process.terminate()
        with anyio.fail_after(10):
            await agent.process.wait()

    assert [reader.ended for reader in readers] == [True] * 50

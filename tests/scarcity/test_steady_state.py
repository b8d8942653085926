"""Hundreds of environments come and go, in every way there is, and nothing of them stays."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from adapters.memory.clock import MemoryClock
from adapters.memory.log import MemoryLog
from adapters.memory.store import MemoryStore
from domain.names import OperationId
from domain.operations import OperationKind, OperationState
from domain.usecases.journal import KEPT
from domain.usecases.news import News
from domain.usecases.operations import Operations
from tests.support.agents import KEY, launch_body
from tests.support.api import BUNDLES, CONTAINERS, ENVIRONMENTS, OPERATIONS, WAIT, lab
from tests.support.disk_agents import DiskWorld, agent_on_disk
from tests.support.growth import Footprint, footprint, sizes

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(400)]

AT_ONCE = 10
VARIABLES = {
    "MAX_CONTAINERS": "1000",
    "MAX_BUILDS": "64",
    "MAX_STARTS": "64",
    "OPERATION_TTL": "1h",
    "BUNDLE_TTL": "1h",
    "IMAGE_TTL": "1h",
    "AUDIT_TTL": "1h",
    "MIN_FREE_PERCENT": "0",
}
HOURS = 2 * 3600.0

MOST_THREADS = 40
"""Threads that wait for work stay for a while; there are no more than work was done at once."""


def sound(number: int, version: str = "1") -> bytes:
    """A bundle that no other is the same as."""
    return lab(
        "services: {web: {build: ., volumes: ['./site:/site', 'data:/data']}}\nvolumes: {data: }\n",
        Dockerfile=f"FROM busybox\nRUN echo {number} {version}\n",
        **{"site/page": f"page {number}"},
    )


def broken(number: int) -> bytes:
    """One whose build fails."""
    return lab("services: {web: {build: .}}", Dockerfile=f"FROM busybox\n# {number}\nRUN exit 1\n")


class Lab:
    """One environment, as its users deal with it."""

    def __init__(self, world: DiskWorld, number: int) -> None:
        self.world = world
        self.number = number
        self.name = f"lab-{number}"

    async def deploy(
        self, archive: bytes, headers: dict[str, str] | None = None, **fields: str
    ) -> httpx.Response:
        """Deploys with a form."""
        return await self.world.http.put(
            f"{ENVIRONMENTS}/{self.name}",
            files={"bundle": ("lab.zip", archive)},
            data=fields,
            headers=WAIT if headers is None else headers,
        )

    async def change(self, what: str, status: int = 200) -> None:
        """Changes it, and waits."""
        answer = await self.world.http.post(f"{ENVIRONMENTS}/{self.name}/{what}", headers=WAIT)
        assert answer.status_code == status, answer.text

    async def remove(self, *, begun: bool = True) -> None:
        """Removes it, and waits; one that never began has left nothing to remove."""
        answer = await self.world.http.delete(f"{ENVIRONMENTS}/{self.name}", headers=WAIT)
        assert answer.status_code == 200 or (answer.status_code == 404 and not begun), answer.text

    async def follow_for_a_moment(self, path: str) -> None:
        """Begins to read a stream, and goes away in the middle of it."""
        transport: Any = self.world.http._transport
        gone = anyio.Event()

        async def receive() -> dict[str, Any]:
            if not gone.is_set():
                await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                gone.set()

        where, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": where,
            "raw_path": where.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"x-server-key", KEY["X-Server-Key"].encode())],
            "client": ("127.0.0.1", 1),
            "server": ("agent", 80),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
        }
        with anyio.fail_after(10):
            await transport.app(scope, receive, send)


async def fails(lab: Lab) -> None:
    assert (await lab.deploy(broken(lab.number))).status_code == 422
    await lab.remove()


async def is_replaced(lab: Lab) -> None:
    assert (await lab.deploy(sound(lab.number))).status_code == 200
    assert (await lab.deploy(broken(lab.number))).status_code == 422
    assert (await lab.deploy(sound(lab.number, "2"))).status_code == 200
    await lab.remove()


async def is_changed(lab: Lab) -> None:
    await lab.deploy(sound(lab.number), vpn_profile="client\n")
    for what in ("stop", "start", "restart", "rebuild", "reset"):
        await lab.change(what)
    await lab.remove()


async def expires(lab: Lab) -> None:
    assert (await lab.deploy(sound(lab.number), ttl="30m")).status_code == 200


async def is_uploaded_and_built_ahead(lab: Lab) -> None:
    http = lab.world.http
    digest = (await http.post(BUNDLES, content=sound(lab.number))).json()["digest"]
    await http.post(f"{BUNDLES}/{digest}/check")
    await http.post(f"{BUNDLES}/{digest}/build", headers=WAIT)
    body = {"bundle": digest, "variables": {"NUMBER": str(lab.number)}}
    answer = await http.put(f"{ENVIRONMENTS}/{lab.name}", json=body, headers=WAIT)
    assert answer.status_code == 200, answer.text
    await lab.remove()


async def is_followed(lab: Lab) -> None:
    operation = (await lab.deploy(sound(lab.number))).json()["id"]
    await lab.follow_for_a_moment(f"{OPERATIONS}/{operation}/events")
    await lab.follow_for_a_moment(f"{ENVIRONMENTS}/{lab.name}/logs?follow=true")
    await lab.world.http.get(f"{ENVIRONMENTS}/{lab.name}/timeline")
    await lab.remove()


async def is_cancelled(lab: Lab) -> None:
    identifier = await _begin(lab)
    follower = asyncio.create_task(lab.follow_for_a_moment(f"{OPERATIONS}/{identifier}/events"))
    cancelled = await lab.world.http.delete(f"{OPERATIONS}/{identifier}", headers=WAIT)
    await follower
    assert cancelled.json()["state"] == "cancelled", cancelled.text
    await lab.remove(begun=False)


async def is_removed_while_it_is_deployed(lab: Lab) -> None:
    await _begin(lab)
    await lab.remove(begun=False)


async def _begin(lab: Lab) -> str:
    """Begins a deploy whose build takes long."""
    answer = await lab.deploy(sound(lab.number, "slow"), headers={})
    assert answer.status_code == 202, answer.text
    identifier: str = answer.json()["id"]
    return identifier


async def is_the_managers(lab: Lab) -> None:
    http, name = lab.world.http, lab.name
    for archive in (sound(lab.number), sound(lab.number, "2")):
        launched = await http.post("/agent/containers", json=launch_body(name, archive))
        assert launched.status_code == 201, launched.text
    assert (await http.post(f"/agent/containers/{name}/restart")).status_code == 200
    assert (await http.delete(f"/agent/containers/{name}")).status_code == 200
    assert (await http.delete(f"/agent/containers/{name}")).status_code == 404


async def is_asked_for_twice(lab: Lab) -> None:
    once = {**WAIT, "Idempotency-Key": f"key-{lab.number}"}
    answers = [await lab.deploy(sound(lab.number), headers=once) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    await lab.world.http.patch(f"{ENVIRONMENTS}/{lab.name}", json={"labels": {"a": "b"}})
    await lab.world.http.get(f"/no/such/path/{lab.number}")
    await lab.remove()


async def is_a_single_container(lab: Lab) -> None:
    http, path = lab.world.http, f"{CONTAINERS}/{lab.name}"
    body = {"name": lab.name, "image": "labs/app:1", "command": ["sleep", "600"]}
    made = await http.post(f"{CONTAINERS}?start=true", json=body)
    assert made.status_code == 201, made.text
    for stream in (f"{path}/logs", f"{path}/stats", f"{CONTAINERS}/stats", "/api/v1/events"):
        await lab.follow_for_a_moment(f"{stream}?follow=true")
    for what in ("stop", f"rename?name={lab.name}-again"):
        assert (await http.post(f"{path}/{what}")).status_code == 200
    assert (await http.delete(f"{path}-again")).status_code == 204


Life = Callable[[Lab], Coroutine[Any, Any, None]]

LIVES: list[list[Life]] = [
    [fails, is_replaced, is_changed, expires],
    [is_uploaded_and_built_ahead, is_followed, is_the_managers, is_asked_for_twice],
    [is_a_single_container],
]
CUT_OFF: list[Life] = [is_cancelled, is_removed_while_it_is_deployed]


async def live(world: DiskWorld, lives: list[Life], numbers: range) -> None:
    """Lets environments come and go, some at a time; every fifth lot is cut off in its builds."""
    for begin in range(numbers.start, numbers.stop, AT_ONCE):
        chosen = CUT_OFF if (begin // AT_ONCE) % 5 == 4 else lives
        world.compose.build_seconds = 60.0 if chosen is CUT_OFF else 0.0
        async with anyio.create_task_group() as group:
            for number in range(begin, begin + AT_ONCE):
                group.start_soon(chosen[number % len(chosen)], Lab(world, number))


async def settle(world: DiskWorld) -> None:
    """Lets the time pass after which nothing is kept, and the agent do what it does meanwhile."""
    clock, agent = world.clock, world.agent
    assert isinstance(clock, MemoryClock)
    for _ in range(3):
        await clock.advance(HOURS)
        await agent.lifetimes.tick()
        while agent.operations.count:
            await anyio.sleep(0.01)
        await agent.audit.flush()
        await agent.housekeeping.tick(agent.library, agent.space)
        await agent.storage.observe_records()
        await agent.consistency.look()
        await agent.host.observe()


async def look(world: DiskWorld, state: Path) -> tuple[Footprint, dict[str, int]]:
    """What the agent takes up."""
    await settle(world)
    world.log.events.clear()
    world.compose.built.clear()
    # The Engine's own memory, of which each event may be another size.
    world.engine.happenings._last.clear()
    # So the agent's, which holds no more than it keeps.
    assert len(world.agent.journal._ring) <= KEPT
    world.agent.journal._ring.clear()
    held = sizes([world.agent, world.engine, world.exposition])
    return footprint(world.workspace, state), held


@pytest.fixture
def root(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent's folders, and ``tmp`` for temporary files."""
    (in_memory / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(in_memory / "tmp"))
    return in_memory


@pytest.fixture
async def world(root: Path) -> AsyncIterator[DiskWorld]:
    async with agent_on_disk(root, VARIABLES) as world:
        yield world


@pytest.mark.parametrize("lives", LIVES, ids=["changed", "used", "single"])
async def test_after_hundreds_of_environments_all_is_as_it_was(
    world: DiskWorld, root: Path, lives: list[Life]
) -> None:
    """250 for each set of lives; of the first ones what is bounded fills: threads and caches."""
    await live(world, lives, range(100))
    before, held_before = await look(world, root / "state")

    await live(world, lives, range(100, 250))
    after, held_after = await look(world, root / "state")

    assert _grown(held_before, held_after) == {}
    assert after.files == before.files
    assert after.descriptors <= before.descriptors
    assert after.tasks == before.tasks
    assert after.threads <= MOST_THREADS
    assert after.store_bytes <= before.store_bytes + 256 * 1024
    assert after.objects <= before.objects * 1.05
    assert after.memory_bytes <= before.memory_bytes + 24 * 1024 * 1024
    assert os.listdir(root / "tmp") == []  # noqa: PTH208 - whether it is empty


def _grown(before: dict[str, int], after: dict[str, int]) -> dict[str, tuple[int, int]]:
    sizes_of_both = {path: (before.get(path, 0), size) for path, size in after.items()}
    return {path: pair for path, pair in sizes_of_both.items() if pair[1] > pair[0]}


async def test_growth_is_seen_wherever_it_is() -> None:
    """A look that misses what grows would find that nothing does."""
    operations = Operations(MemoryStore().operations, MemoryClock(), MemoryLog(), News())
    before = sizes(operations)

    operations._keys["key"] = anyio.Lock()
    operations._ends._waiting[OperationId("id")] = None  # type: ignore[assignment]
    operations.ended[OperationKind.DEPLOY, OperationState.FAILED] += 1

    assert _grown(before, sizes(operations)) == {
        "._keys": (0, 1),
        "._ends._waiting": (0, 1),
        ".ended": (0, 1),
    }

"""The disk of the records is full: what is under way ends well, removals work, the rest waits."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from adapters.memory.clock import MemoryClock
from adapters.memory.log import MemoryLog
from adapters.sqlite.reserve import Reserve
from adapters.sqlite.store import SqliteStore
from domain.errors import StoreUnavailable
from tests.support.agents import launch_body
from tests.support.api import BROKEN, ENVIRONMENTS, OPERATIONS, OTHER, WAIT, WEB
from tests.support.disk_agents import DiskWorld, agent_on_disk
from tests.support.small_disk import SmallDisk, left_in, small_disk

pytestmark = [pytest.mark.anyio, pytest.mark.long]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        yield disk


def places(disk: SmallDisk) -> dict[str, str]:
    return {
        "STATE_DIR": str(disk.path / "state"),
        "MIN_FREE_PERCENT": "0",
        "MAX_CONTAINERS": "1000",
    }


async def launch(world: DiskWorld, name: str, archive: bytes = WEB) -> httpx.Response:
    return await world.http.post("/agent/containers", json=launch_body(name, archive))


async def remove(world: DiskWorld, name: str) -> int:
    return (await world.http.delete(f"/agent/containers/{name}")).status_code


async def operations(world: DiskWorld) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.http.get(OPERATIONS)).json()["operations"]
    return found


class TestWithRoomHeld:
    """Some megabytes are held for this."""

    @pytest.fixture
    async def world(self, tmp_path: Path, disk: SmallDisk) -> AsyncIterator[DiskWorld]:
        async with agent_on_disk(tmp_path, places(disk)) as world:
            yield world

    async def test_what_is_under_way_comes_to_its_end_and_nothing_new_begins(
        self, world: DiskWorld, disk: SmallDisk
    ) -> None:
        disk.fill()

        under_way = await launch(world, "one")
        refused = [await launch(world, "two") for _ in range(3)]

        assert under_way.status_code == 201
        assert [answer.status_code for answer in refused] == [507] * 3
        assert "held for removals" in refused[0].json()["detail"]
        assert str(disk.path) in refused[0].json()["detail"]
        assert [o["state"] for o in await operations(world)] == ["succeeded"]

    async def test_all_that_stands_can_be_removed(self, world: DiskWorld, disk: SmallDisk) -> None:
        names = [f"lab-{number}" for number in range(30)]
        for name in names:
            assert (await launch(world, name)).status_code == 201
        disk.fill()

        assert [await remove(world, name) for name in names] == [200] * 30
        assert left_in(world.workspace) == []
        assert {o["state"] for o in await operations(world)} == {"succeeded"}

    async def test_health_tells_it_until_there_is_room(
        self, world: DiskWorld, disk: SmallDisk
    ) -> None:
        disk.fill()
        await launch(world, "one")

        full = (await world.http.get("/health")).json()
        ready = await world.http.get("/ready")
        disk.make_room()
        again = await launch(world, "two")
        well = (await world.http.get("/health")).json()

        assert full["status"] == "degraded"
        assert "make room" in full["reasons"][0]
        assert ready.status_code == 200
        assert again.status_code == 201
        assert well["status"] == "ok"

    async def test_it_is_held_again_once_there_is_room(
        self, world: DiskWorld, disk: SmallDisk
    ) -> None:
        held = disk.path / "state" / "reserve"
        before = sorted(os.listdir(held))  # noqa: PTH208 - names are wanted
        disk.fill()
        await launch(world, "one")
        given_up = os.listdir(held)  # noqa: PTH208
        await world.agent.storage.observe_records()
        still_given_up = os.listdir(held)  # noqa: PTH208
        disk.make_room()

        await world.agent.storage.observe_records()

        assert (given_up, still_given_up) == ([], [])
        assert before
        assert sorted(os.listdir(held)) == before  # noqa: PTH208


class TestWithNone:
    """Somebody else has taken that too."""

    @pytest.fixture
    async def world(self, tmp_path: Path, disk: SmallDisk) -> AsyncIterator[DiskWorld]:
        async with agent_on_disk(tmp_path, places(disk), reserve=False) as world:
            yield world

    @pytest.mark.parametrize("archive", [WEB, BROKEN], ids=["sound", "broken"])
    async def test_wherever_it_runs_out_all_comes_to_a_true_end_once_there_is_room(
        self, world: DiskWorld, disk: SmallDisk, archive: bytes
    ) -> None:
        statuses: set[int] = set()
        for pages in range(45):
            name = f"lab-{pages}"
            disk.fill(pages=pages)
            answer = await launch(world, name, archive)
            disk.make_room()
            statuses.add(answer.status_code)

            await world.agent.storage.observe_records()
            await world.agent.consistency.look()

            await self.assert_true(world, name, answer)

        assert 503 in statuses
        assert statuses & {201, 422}

    async def assert_true(self, world: DiskWorld, name: str, answer: httpx.Response) -> None:
        stands = answer.status_code == 201
        (*found,) = [o for o in await operations(world) if o["environment"] == name]
        assert [o["state"] for o in found] in ([], ["succeeded" if stands else "failed"])
        assert found or answer.status_code == 503
        shown = (await world.http.get(f"{ENVIRONMENTS}/{name}")).json()
        assert shown.get("state") in ({"running"} if stands else {None, "failed"})
        files = [path for path in left_in(world.workspace) if name in path.split("/")]
        assert bool(files) == stands
        assert bool(world.engine.of_project(name)) == stands
        if answer.status_code == 503:
            assert "Make room" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0

    async def test_what_stood_stands_however_a_redeploy_ends(
        self, world: DiskWorld, disk: SmallDisk
    ) -> None:
        assert (await launch(world, "lab", WEB)).status_code == 201
        statuses = []
        for pages in range(45):
            disk.fill(pages=pages)
            answer = await launch(world, "lab", OTHER)
            disk.make_room()
            await world.agent.storage.observe_records()
            await world.agent.consistency.look()
            statuses.append(answer.status_code)

            shown = (await world.http.get(f"{ENVIRONMENTS}/lab")).json()
            assert shown["state"] == "running", answer.text
            assert len(world.engine.of_project("lab")) == 1
            again = await world.http.post(f"{ENVIRONMENTS}/lab/restart", headers=WAIT)
            assert again.status_code == 200

        assert {503, 201} == set(statuses)

    async def test_an_end_that_cannot_be_written_is_told_at_once_and_written_later(
        self, world: DiskWorld, disk: SmallDisk
    ) -> None:
        clock = world.clock
        assert isinstance(clock, MemoryClock)
        world.compose.build_seconds = 60
        answer = await self.begin(world, clock)
        disk.fill()
        await clock.advance(61)
        identifier = answer["id"]
        while world.agent.operations.live(identifier) is not None:
            await anyio.sleep(0.01)

        told = (await world.http.get(f"{OPERATIONS}/{identifier}")).json()
        in_list = (await operations(world))[0]
        events = (await world.http.get(f"{OPERATIONS}/{identifier}/events")).text
        on_disk = await world.store.operations.get(identifier)
        disk.make_room()
        await world.agent.storage.observe_records()
        later = await world.store.operations.get(identifier)

        assert told["state"] == in_list["state"] == "failed"
        assert "event: end" in events
        assert on_disk is not None
        assert on_disk.state == "running"
        assert later is not None
        assert (later.state, later.error) == ("failed", "store-unavailable")
        assert (await world.store.operations.events(identifier))[-1].text == "failed"

    async def begin(self, world: DiskWorld, clock: MemoryClock) -> dict[str, Any]:
        files = {"bundle": ("lab.zip", WEB)}
        answer = await world.http.put(f"{ENVIRONMENTS}/lab", files=files)
        assert answer.status_code == 202
        while not world.compose.building:
            await anyio.sleep(0.01)
        begun: dict[str, Any] = answer.json()
        return begun

    async def test_audited_requests_wait_to_be_written(
        self, world: DiskWorld, disk: SmallDisk
    ) -> None:
        await launch(world, "one")
        disk.fill()
        names = {f"lab-{number}" for number in range(100)}
        for name in names:
            await launch(world, name)
        with pytest.raises(StoreUnavailable):
            await world.agent.audit.flush()
        disk.make_room()

        entries = (await world.http.get("/api/v1/audit?limit=1000")).json()["entries"]

        assert names <= {e["entry"]["target"] for e in entries}


class TestAtTheStart:
    """What an agent does that starts on a full disk."""

    @pytest.mark.parametrize("kind", ["bytes", "inodes"])
    async def test_it_starts_and_removes_what_stands(
        self, tmp_path: Path, disk: SmallDisk, kind: str
    ) -> None:
        variables = {**places(disk), "WORKSPACE_DIR": str(disk.path / "ws")}
        async with agent_on_disk(tmp_path, variables) as world:
            assert (await launch(world, "lab")).status_code == 201
        if kind == "bytes":
            disk.fill()
        else:
            disk.fill_inodes()

        async with agent_on_disk(tmp_path, variables) as world:
            refused = await launch(world, "other")
            removed = await world.http.delete(f"{ENVIRONMENTS}/lab?force=true", headers=WAIT)

            assert refused.status_code == 507
            assert removed.status_code == 200, removed.text
            disk.make_room()
            assert (await launch(world, "other")).status_code == 201

    @pytest.mark.parametrize("kind", ["bytes", "inodes"])
    async def test_a_first_start_says_what_is_full_and_leaves_nothing(
        self, disk: SmallDisk, kind: str
    ) -> None:
        if kind == "bytes":
            disk.fill()
        else:
            disk.fill_inodes()
        state = disk.path / "state"

        with pytest.raises(StoreUnavailable) as refusal:
            async with SqliteStore.open(
                state / "agent.db", log=MemoryLog(), reserve=Reserve(state / "reserve")
            ):
                pytest.fail("it was opened")

        assert str(disk.path) in refusal.value.message
        assert "STATE_DIR" in refusal.value.hint
        disk.make_room()
        async with SqliteStore.open(state / "agent.db", log=MemoryLog()) as store:
            await store.check()

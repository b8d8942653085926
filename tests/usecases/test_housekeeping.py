"""What nobody needs any more goes by itself; what somebody needs never does."""

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from domain.errors import StoreUnavailable
from domain.names import EnvironmentName
from domain.resources import FileSystem
from domain.timeline import EntryKind
from tests.support.agents import World, agent_on_twins
from tests.support.api import (
    BROKEN,
    BUNDLES,
    ENVIRONMENTS,
    OPERATIONS,
    OTHER,
    PLAIN,
    WAIT,
    WEB,
    begin,
    call,
    change,
    deploy,
    exists,
    image_tags,
    lab,
    operation,
    remove,
    shown,
    upload,
)

pytestmark = pytest.mark.anyio

DAY = 86400.0
WEEK = 7 * DAY
Disk = Callable[[Callable[[], float]], None]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins({"MAX_CONTAINERS": "50"}) as world:
        yield world


@pytest.fixture
def disk(world: World, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Lets the disks be as free as a function says, in percent."""

    def put(free_percent: Callable[[], float]) -> None:
        async def file_system(role: str, path: str) -> FileSystem:
            free = free_percent()
            return FileSystem(
                role=role,
                path=path,
                total_bytes=1000,
                used_bytes=1000 - int(free * 10),
                free_bytes=int(free * 10),
                percent=100 - free,
            )

        monkeypatch.setattr(world.metrics, "file_system", file_system)

    return put


async def tick(world: World) -> None:
    await world.agent.housekeeping.tick(world.agent.library, world.agent.space)


async def image_of(world: World, name: str) -> str:
    record = await world.store.environments.get(EnvironmentName(name))
    assert record is not None
    (tag,) = record.images.values()
    return tag


async def three_unused(world: World) -> list[str]:
    """Three images that nobody uses, the one unused for longest first."""
    tags = []
    for number, name in enumerate(("one", "two", "three")):
        await deploy(world, name, _echoing(number))
        tags.append(await image_of(world, name))
        await world.clock.advance(60)
    # Used again, so that it is not the oldest any more.
    await deploy(world, "one", _echoing(0))
    for name in ("one", "two", "three"):
        await remove(world, name)
    return [tags[1], tags[2], tags[0]]


def _echoing(number: int) -> bytes:
    text = f"FROM busybox\nRUN echo {number}\n"
    return lab("services: {web: {build: .}}", Dockerfile=text)


class TestRoom:
    async def test_unused_images_go_oldest_first_until_there_is_room(
        self, world: World, disk: Disk
    ) -> None:
        oldest, older, newest = await three_unused(world)
        disk(lambda: 10.0 if len(world.engine.tags) <= 1 else 1.0)

        await tick(world)

        assert set(world.engine.tags) == {newest}
        gone = [fields["image"] for fields in world.log.named("unused image removed")]
        assert gone == [oldest, older]

    async def test_where_there_is_room_nothing_goes(self, world: World, disk: Disk) -> None:
        await three_unused(world)
        disk(lambda: 6.0)

        await tick(world)

        assert len(world.engine.tags) == 3

    async def test_images_in_use_stay_however_full_the_disk_is(
        self, world: World, disk: Disk
    ) -> None:
        await deploy(world, "one", WEB)
        await deploy(world, "two", OTHER)
        await change(world, "two", "stop")
        before = set(world.engine.tags)
        digest = await upload(world, PLAIN)
        disk(lambda: 0.0)

        await tick(world)
        refused = await call(world, "PUT", f"{ENVIRONMENTS}/three", {"bundle": digest}, WAIT)

        assert set(world.engine.tags) == before
        assert len(before) == 2
        assert refused.status_code == 507
        assert (await change(world, "two", "start")).status_code == 200

    async def test_a_deploy_is_refused_only_once_nothing_more_can_go(
        self, world: World, disk: Disk
    ) -> None:
        digest = await upload(world, PLAIN)
        await three_unused(world)
        disk(lambda: 1.0)

        answer = await call(world, "PUT", f"{ENVIRONMENTS}/four", {"bundle": digest}, WAIT)

        assert answer.status_code == 507
        assert world.engine.tags == {}
        assert await image_tags(world) == set()

    async def test_a_bundle_is_taken_once_room_is_made(self, world: World, disk: Disk) -> None:
        await three_unused(world)
        disk(lambda: 10.0 if len(world.engine.tags) < 3 else 1.0)

        digest = await upload(world, PLAIN)

        assert digest in world.workspaces.bundles.library
        assert len(world.engine.tags) == 2

    async def test_many_who_need_room_at_once_remove_no_more_than_need_be(
        self, world: World, disk: Disk
    ) -> None:
        digest = await upload(world, PLAIN)
        await three_unused(world)
        disk(lambda: 10.0 if len(world.engine.tags.keys() - {"nginx:1"}) < 3 else 1.0)
        answers: list[int] = []

        async def ask(number: int) -> None:
            path = f"{ENVIRONMENTS}/lab-{number}"
            answers.append((await call(world, "PUT", path, {"bundle": digest}, WAIT)).status_code)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(ask, number)

        assert answers == [200] * 5
        assert len(world.engine.tags.keys() - {"nginx:1"}) == 2

    async def test_an_engine_that_is_away_makes_no_room_and_breaks_nothing(
        self, world: World, disk: Disk
    ) -> None:
        await three_unused(world)
        disk(lambda: 1.0)
        world.engine.fault = "is away"

        answer = await call(world, "POST", BUNDLES)
        world.engine.fault = ""

        assert answer.status_code == 507
        assert len(world.engine.tags) == 3

    async def test_a_disk_without_inodes_is_as_short_as_one_without_bytes(
        self, world: World
    ) -> None:
        digest = await upload(world, PLAIN)
        await three_unused(world)
        world.metrics.free_inodes_percent = 4.0

        answer = await call(world, "PUT", f"{ENVIRONMENTS}/four", {"bundle": digest}, WAIT)
        shown = (await call(world, "GET", "/system/resources")).json()["file_systems"]

        assert answer.status_code == 507
        assert "4.0 % of the inodes of the disk" in answer.json()["detail"]
        assert world.engine.tags == {}
        assert {disk["free_inodes"] for disk in shown} == {40_000}

    async def test_a_disk_that_counts_no_inodes_is_not_short_of_them(
        self, world: World, disk: Disk
    ) -> None:
        disk(lambda: 50.0)

        assert (await deploy(world, "one", PLAIN)).status_code == 200

    async def test_where_records_have_no_room_nothing_is_deployed_and_all_can_be_removed(
        self, world: World
    ) -> None:
        await deploy(world, "one", PLAIN)
        digest = await upload(world, PLAIN)
        world.store.short_of_room = "The disk at /state is full; the rest is held for removals."

        refused = await call(world, "PUT", f"{ENVIRONMENTS}/two", {"bundle": digest}, WAIT)
        uploaded = await call(world, "POST", BUNDLES)
        health = (await call(world, "GET", "/health")).json()
        removed = await remove(world, "one")

        assert (refused.status_code, uploaded.status_code, removed.status_code) == (507, 507, 200)
        assert "held for removals" in refused.json()["detail"]
        assert health["status"] == "degraded"

    async def test_a_disk_that_cannot_be_seen_refuses_nobody(self, world: World) -> None:
        world.metrics.visible = False

        assert (await deploy(world, "one", PLAIN)).status_code == 200


class TestRecords:
    async def test_operations_and_their_events_go_together(self, world: World) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]
        await world.clock.advance(WEEK + 60)

        await tick(world)

        answer = await call(world, "GET", f"{OPERATIONS}/{identifier}/events")
        assert answer.status_code == 404
        assert await world.store.operations.events(identifier) == []

    async def test_an_operation_that_has_not_ended_stays(self) -> None:
        async with agent_on_twins({"OPERATION_TTL": "1m"}) as world:
            world.compose.build_seconds = 300
            identifier = await begin(world, "one", WEB)
            await world.clock.advance(120)

            await tick(world)

            assert (await operation(world, identifier))["state"] == "running"
            assert await world.store.operations.get(identifier) is not None  # type: ignore[arg-type]
            await world.clock.advance(300)

    async def test_old_entries_of_timelines_go_and_new_ones_stay(self, world: World) -> None:
        name = EnvironmentName("one")
        await deploy(world, name, PLAIN)
        await world.agent.chronicle.note(name, EntryKind.LIFETIME, "Old.")
        await world.clock.advance(WEEK - 60)
        await world.agent.chronicle.note(name, EntryKind.LIFETIME, "New.")
        await world.clock.advance(120)

        await tick(world)

        assert [entry.text for entry in await world.store.timeline.of(name, 10)] == ["New."]
        assert await exists(world, name)

    async def test_what_environments_are_is_never_forgotten(self, world: World) -> None:
        await deploy(world, "one", WEB, labels={"a": "b"})
        await change(world, "one", "stop")
        await world.clock.advance(50 * WEEK)

        await tick(world)

        view = await shown(world, "one")
        assert (view["state"], view["labels"]) == ("stopped", {"a": "b"})
        assert (await change(world, "one", "start")).status_code == 200

    async def test_a_deploy_that_failed_is_forgotten_with_its_operation(self, world: World) -> None:
        await deploy(world, "one", BROKEN)
        await world.clock.advance(30 * DAY)

        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        assert not await exists(world, "one")

    async def test_a_store_that_is_away_ends_nothing(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.store.fault = StoreUnavailable("The records cannot be read.")

        with pytest.raises(StoreUnavailable):
            await tick(world)
        world.store.fault = None
        await tick(world)

        assert (await shown(world, "one"))["state"] == "running"


class TestTimes:
    @pytest.mark.parametrize(
        ("setting", "left"),
        [
            ("BUNDLE_TTL", (0, 1, True)),
            ("IMAGE_TTL", (1, 0, True)),
            ("OPERATION_TTL", (1, 1, False)),
        ],
    )
    async def test_each_kind_has_a_time_of_its_own(
        self, setting: str, left: tuple[int, int, bool]
    ) -> None:
        async with agent_on_twins({setting: "1h"}) as world:
            identifier = (await deploy(world, "one", WEB)).json()["id"]
            await remove(world, "one")
            await world.clock.advance(2 * 3600)

            await tick(world)

            found = await call(world, "GET", f"{OPERATIONS}/{identifier}")
            bundles, images = len(world.workspaces.bundles.library), len(world.engine.tags)
            assert (bundles, images, found.status_code == 200) == left

    async def test_an_unused_image_goes_while_the_engine_answers_again(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await remove(world, "one")
        await world.clock.advance(WEEK + 60)
        world.engine.fault = "is away"
        with pytest.raises(Exception, match="is away"):
            await tick(world)
        kept = await image_tags(world)
        world.engine.fault = ""

        await tick(world)

        assert len(kept) == 1
        assert await image_tags(world) == set()
        assert world.engine.tags == {}

    async def test_an_image_that_somebody_elses_container_runs_stays(self, world: World) -> None:
        await deploy(world, "one", WEB)
        tag = await image_of(world, "one")
        await remove(world, "one")
        world.engine.run("debug", image=tag)
        await world.clock.advance(WEEK + 60)

        await tick(world)

        assert tag in world.engine.tags

    async def test_an_image_that_stayed_is_tried_again_later(self, world: World) -> None:
        await deploy(world, "one", WEB)
        tag = await image_of(world, "one")
        await remove(world, "one")
        world.engine.run("debug", image=tag)
        await world.clock.advance(WEEK + 60)
        await tick(world)
        world.engine.remove("debug")

        await tick(world)

        assert world.engine.tags == {}

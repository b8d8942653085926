"""A clock that is set makes nothing old, lets nothing last for ever, and mixes nothing up."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.containers import ContainerAction, ContainerEvent
from domain.moments import ClockChange, moved, out_of_the_future
from domain.names import EnvironmentName
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
    remove,
    shown,
    upload,
)

pytestmark = pytest.mark.anyio

HOUR, DAY = 3600.0, 86_400.0
YEAR = 365 * DAY
JUMPS = [YEAR, 30 * YEAR, -YEAR, -30 * YEAR, 2 * HOUR, -2 * HOUR]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins({"MAX_CONTAINERS": "50"}) as world:
        yield world


async def tick(world: World) -> None:
    """What the agent does now and then."""
    await world.agent.housekeeping.tick(world.agent.library, world.agent.space)
    await world.agent.lifetimes.tick()
    await world.clock.advance(0)


async def kept(world: World) -> dict[str, Any]:
    """How much is kept of each kind that goes by its age."""
    operations = (await call(world, "GET", OPERATIONS)).json()["operations"]
    return {
        "bundles": len((await call(world, "GET", BUNDLES)).json()["bundles"]),
        "images": len(await image_tags(world)),
        "operations": len(operations),
        "timeline": len(await world.store.timeline.of(EnvironmentName("one"), 1000)),
        "audit": len(await world.store.audit.latest(1000)),
        "failed": await exists(world, "failed"),
    }


async def with_everything(world: World) -> dict[str, Any]:
    """Lets there be something of each kind that nobody uses; how much."""
    await deploy(world, "one", WEB)
    await world.agent.chronicle.note(EnvironmentName("one"), EntryKind.LIFETIME, "Noted.")
    await remove(world, "one")
    await deploy(world, "failed", BROKEN)
    await world.agent.audit.flush()
    return await kept(world)


class TestAge:
    @pytest.mark.parametrize("jump", JUMPS, ids=str)
    async def test_nothing_is_thrown_away_for_a_minute_of_a_wrong_clock(
        self, world: World, jump: float
    ) -> None:
        before = await with_everything(world)
        await world.clock.advance(DAY)
        await tick(world)

        world.clock.jump_wall_clock(jump)
        await tick(world)
        await world.clock.advance(60)
        await tick(world)
        world.clock.jump_wall_clock(-jump)
        await tick(world)

        assert await kept(world) == before

    @pytest.mark.parametrize("jump", JUMPS, ids=str)
    async def test_everything_goes_when_its_time_has_passed_by_whatever_clock(
        self, world: World, jump: float
    ) -> None:
        before = await with_everything(world)
        await world.clock.advance(3 * DAY)
        await tick(world)
        world.clock.jump_wall_clock(jump)
        await tick(world)
        await world.clock.advance(4 * DAY - HOUR)
        await tick(world)
        still = await kept(world)

        await world.clock.advance(2 * HOUR)
        await tick(world)

        after = await kept(world)
        assert still == before
        assert {k: after[k] for k in ("bundles", "images", "operations", "timeline", "failed")} == {
            "bundles": 0, "images": 0, "operations": 0, "timeline": 0, "failed": False,
        }  # fmt: skip

    @pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=str)
    async def test_what_was_used_before_the_jump_was_noticed_is_as_old_as_it_is(
        self, world: World, jump: float
    ) -> None:
        await tick(world)
        world.clock.jump_wall_clock(jump)
        digest = await upload(world, PLAIN)
        await tick(world)
        await world.clock.advance(7 * DAY - HOUR)
        await tick(world)
        early = digest in world.workspaces.bundles.library

        await world.clock.advance(2 * HOUR)
        await tick(world)

        assert early
        assert digest not in world.workspaces.bundles.library

    async def test_an_operation_that_ends_after_a_jump_is_not_old(self, world: World) -> None:
        world.compose.build_seconds = 60
        identifier = await begin(world, "one", WEB)
        world.clock.jump_wall_clock(YEAR)
        await world.clock.advance(61)

        await tick(world)
        await tick(world)

        assert (await call(world, "GET", f"{OPERATIONS}/{identifier}")).status_code == 200

    async def test_what_a_clock_that_was_ahead_wrote_goes_in_time_once_it_was_set_back(
        self, world: World
    ) -> None:
        """The clock is set back while no agent runs, so that nobody notices."""
        world.clock.jump_wall_clock(YEAR)
        await tick(world)
        await with_everything(world)
        world.clock.jump_wall_clock(-YEAR)
        async with agent_on_twins({"MAX_CONTAINERS": "50"}, outside=world) as later:
            for _ in range(9):
                await later.clock.advance(DAY)
                await tick(later)

            after = await kept(later)

        assert {k: after[k] for k in ("bundles", "images", "operations", "timeline", "failed")} == {
            "bundles": 0, "images": 0, "operations": 0, "timeline": 0, "failed": False,
        }  # fmt: skip

    async def test_a_host_that_starts_with_a_wrong_clock_keeps_what_it_has(
        self, world: World
    ) -> None:
        """Without a battery clocks begin in 1970, until a time server is reached."""
        before = await with_everything(world)
        world.clock.jump_wall_clock(-56 * YEAR)
        async with agent_on_twins({"MAX_CONTAINERS": "50"}, outside=world) as later:
            await later.clock.advance(120)
            await tick(later)
            later.clock.jump_wall_clock(56 * YEAR)
            await tick(later)
            await later.clock.advance(6 * DAY)
            await tick(later)
            still = await kept(later)
            await later.clock.advance(2 * DAY)
            await tick(later)

            assert still == before
            assert (await kept(later))["bundles"] == 0

    async def test_what_is_told_of_the_past_stays_as_it_was_told(self, world: World) -> None:
        await with_everything(world)
        before = (await call(world, "GET", OPERATIONS)).json()
        entries = (await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")).json()
        world.clock.jump_wall_clock(YEAR)

        await tick(world)

        assert (await call(world, "GET", OPERATIONS)).json() == before
        assert (await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")).json() == entries


class TestOrder:
    @pytest.fixture(params=[-60.0, -HOUR, -YEAR], ids=str)
    async def set_back(self, request: pytest.FixtureRequest) -> float:
        jump: float = request.param
        return jump

    async def test_operations_are_listed_as_they_were_asked_for(
        self, world: World, set_back: float
    ) -> None:
        asked = []
        for archive in (WEB, OTHER, PLAIN):
            asked.append((await deploy(world, "one", archive)).json()["id"])
            world.clock.jump_wall_clock(set_back)

        listed = (await call(world, "GET", f"{OPERATIONS}?environment=one")).json()["operations"]

        assert [o["id"] for o in listed] == asked[::-1]

    async def test_the_order_outlives_the_agent(self, world: World, set_back: float) -> None:
        first = (await deploy(world, "one", WEB)).json()["id"]
        world.clock.jump_wall_clock(set_back)
        async with agent_on_twins({"MAX_CONTAINERS": "50"}, outside=world) as later:
            second = (await deploy(later, "one", OTHER)).json()["id"]

            listed = (await call(later, "GET", OPERATIONS)).json()["operations"]

        assert [o["id"] for o in listed] == [second, first]

    async def test_a_repeated_request_leads_to_its_own_operation(
        self, world: World, set_back: float
    ) -> None:
        key = {**WAIT, "Idempotency-Key": "once"}
        first = await deploy(world, "one", WEB, headers=key)
        world.clock.jump_wall_clock(set_back)

        again = await deploy(world, "one", WEB, headers=key)

        assert again.json()["id"] == first.json()["id"]

    async def test_a_timeline_tells_what_happened_in_the_order_in_which_it_did(
        self, world: World, set_back: float
    ) -> None:
        name = EnvironmentName("one")
        for number in range(3):
            await world.clock.advance(5)
            await deploy(world, name, PLAIN)
            await world.clock.advance(5)
            await world.agent.chronicle.note(name, EntryKind.HOLD, f"Note {number}.")
            await world.agent.chronicle.happened(died(world, name, number))
            world.clock.jump_wall_clock(set_back)

        entries = (await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")).json()["entries"]
        told = [entry["kind"] for entry in entries if entry["kind"] != "step"]

        assert told == ["requested", "ended", "hold", "container"] * 3
        notes = [entry["text"] for entry in entries if entry["kind"] == "hold"]
        assert notes == ["Note 0.", "Note 1.", "Note 2."]
        numbers = [entry["number"] for entry in entries]
        assert numbers == sorted(numbers)


def died(world: World, name: str, code: int) -> ContainerEvent:
    return ContainerEvent(
        at=world.clock.now(),
        action=ContainerAction.DIED,
        container=f"{name}-solo-1",
        container_id="1",
        project=name,
        service="solo",
        exit_code=code,
    )


class TestTimePassed:
    """What is measured in time that has passed does not go by the time of day."""

    @pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=str)
    async def test_the_host_has_been_up_as_long_as_it_was(self, world: World, jump: float) -> None:
        before = (await call(world, "GET", "/agent/health")).json()["uptime_seconds"]
        world.clock.jump_wall_clock(jump)
        await world.clock.advance(100)

        after = (await call(world, "GET", "/agent/health")).json()["uptime_seconds"]

        assert after - before == 100

    @pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=str)
    async def test_the_engine_was_away_as_long_as_it_was(self, world: World, jump: float) -> None:
        world.engine.fault = "is away"
        with pytest.raises(Exception, match="is away"):
            await world.agent.inventory.refresh()
        world.clock.jump_wall_clock(jump)
        await world.clock.advance(30)
        world.engine.fault = ""

        await world.agent.inventory.refresh()

        (told,) = world.log.named("engine answers again")
        assert told["away_seconds"] == 30.0

    @pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=str)
    async def test_a_hold_holds_on_a_clock_that_was_just_set(
        self, world: World, jump: float
    ) -> None:
        until = (world.clock.now() + timedelta(hours=1)).isoformat()
        hold = {"owner": "jana", "reason": "exam", "until": until}
        await deploy(world, "one", PLAIN, hold=hold)
        world.clock.jump_wall_clock(jump)

        held = await call(world, "DELETE", f"{ENVIRONMENTS}/one")
        await world.clock.advance(HOUR + 1)
        freed = await call(world, "DELETE", f"{ENVIRONMENTS}/one", headers=WAIT)

        assert (held.status_code, freed.status_code) == (409, 200)

    @pytest.mark.parametrize("year", [1970, 2232])
    async def test_a_clock_at_the_end_or_the_beginning_of_its_time_breaks_nothing(
        self, world: World, year: int
    ) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await tick(world)
        jump = (datetime(year, 1, 1, tzinfo=UTC) - world.clock.now()).total_seconds()
        world.clock.jump_wall_clock(jump)
        await tick(world)
        restarted = await change(world, "one", "restart")
        world.clock.jump_wall_clock(-jump)
        await tick(world)

        assert restarted.status_code == 200
        view = await shown(world, "one")
        assert (view["state"], view["expires_at"]) == ("running", "2026-01-01T01:00:00Z")


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


class TestClockChange:
    @pytest.mark.parametrize("by", [minutes(600), minutes(-600)])
    def test_what_the_earlier_clock_wrote_moves(self, by: timedelta) -> None:
        looked_at = NOON
        change = ClockChange(looked_at=looked_at, now=looked_at + by + minutes(1), by=by)

        for age in (0, 1, 300, 900, 5000):
            assert change.shift(looked_at - minutes(age)) == by

    @pytest.mark.parametrize("by", [minutes(600), minutes(-600)])
    def test_what_the_later_clock_wrote_stays(self, by: timedelta) -> None:
        change = ClockChange(looked_at=NOON, now=NOON + by + minutes(1), by=by)

        assert change.shift(NOON + by + minutes(0.5)) == timedelta(0)
        assert change.shift(change.now) == timedelta(0)

    def test_what_lies_in_the_future_of_the_earlier_clock_stays(self) -> None:
        change = ClockChange(looked_at=NOON, now=NOON + minutes(601), by=minutes(600))

        assert change.shift(NOON + minutes(300)) == timedelta(0)
        assert change.shift(NOON + minutes(9000)) == timedelta(0)

    def test_only_what_lies_in_the_future_comes_back_to_now(self) -> None:
        shift = out_of_the_future(NOON)

        assert shift(NOON + minutes(5)) == minutes(-5)
        assert shift(NOON) == shift(NOON - minutes(5)) == timedelta(0)

    @pytest.mark.parametrize("days", [3_000_000, -3_000_000])
    def test_a_moment_beyond_all_time_is_the_last_or_first_there_is(self, days: int) -> None:
        found = moved(NOON, timedelta(days=days))

        assert found.year == (9999 if days > 0 else 1)

"""How long environments live: asked for, limited, told of, held, and never moved by a clock."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from domain.timeline import TimelineEntry
from tests.support.agents import World, agent_on_twins
from tests.support.api import (
    ENVIRONMENTS,
    MISSING,
    PLAIN,
    begin,
    call,
    deploy,
    exists,
    left_of,
    operation,
    remove,
    shown,
)

pytestmark = pytest.mark.anyio

HOUR = 3600.0
DAY = 86400.0
HOLD = {"owner": "jana", "reason": "exam review"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def tick(world: World) -> None:
    """Lets the agent look at lifetimes once, and do what comes of it."""
    await world.agent.lifetimes.tick()
    await world.clock.advance(0)


async def pass_time(world: World, seconds: float) -> None:
    """Lets time pass between two looks of the agent."""
    await tick(world)
    await world.clock.advance(seconds)
    await tick(world)


def ahead(world: World, seconds: float) -> str:
    return (world.clock.now() + timedelta(seconds=seconds)).isoformat()


async def left(world: World, name: str = "one") -> float | None:
    """How many seconds an environment has left as it is shown; None for one without end."""
    end = (await shown(world, name))["expires_at"]
    if end is None:
        return None
    return (datetime.fromisoformat(end) - world.clock.now()).total_seconds()


async def amend(world: World, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await call(world, "PATCH", f"{ENVIRONMENTS}/one", body)
    return answer.status_code, answer.json()


async def lifetime_entries(world: World) -> list[str]:
    entries = (await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")).json()["entries"]
    return [entry["text"] for entry in entries if entry["kind"] in {"lifetime", "hold"}]


class TestAskedFor:
    @pytest.mark.parametrize(
        ("ttl", "seconds"),
        [(3600, HOUR), (90.5, 90.5), ("3600", HOUR), ("90m", 1.5 * HOUR), ("1d", DAY)],
    )
    async def test_a_time_to_live_gives_the_end(
        self, world: World, ttl: float | str, seconds: float
    ) -> None:
        await deploy(world, "one", PLAIN, ttl=ttl)

        assert await left(world) == seconds

    @pytest.mark.parametrize("end", ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00+01:00"])
    async def test_a_moment_may_be_given_instead(self, world: World, end: str) -> None:
        await deploy(world, "one", PLAIN, expires_at=end)

        assert await left(world) == HOUR

    async def test_without_either_it_lives_for_ever(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        await pass_time(world, 400 * DAY)

        assert await left(world) is None
        assert (await shown(world, "one"))["state"] == "running"

    async def test_the_operator_may_set_a_time_for_all_that_say_nothing(self) -> None:
        async with agent_on_twins({"DEFAULT_TTL": "2h"}) as world:
            await deploy(world, "one", PLAIN)
            await deploy(world, "two", PLAIN, ttl=0)
            await deploy(world, "three", PLAIN, ttl="1h")

            assert [await left(world, name) for name in ("one", "two", "three")] == [
                2 * HOUR,
                None,
                HOUR,
            ]

    async def test_the_managers_own_launches_live_for_ever(self) -> None:
        async with agent_on_twins({"DEFAULT_TTL": "2h", "MAX_TTL": "4h"}) as world:
            await world.launch("one", PLAIN)
            await pass_time(world, DAY)

            assert await left(world) is None

    async def test_a_redeploy_gives_a_new_end(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await deploy(world, "one", PLAIN, ttl="3h")
        first = await left(world)

        await deploy(world, "one", PLAIN)

        assert (first, await left(world)) == (3 * HOUR, None)


class TestLongest:
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        async with agent_on_twins({"MAX_TTL": "4h"}) as world:
            yield world

    async def test_who_says_nothing_gets_the_longest(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        await deploy(world, "two", PLAIN, ttl=0)

        assert (await left(world), await left(world, "two")) == (4 * HOUR, 4 * HOUR)

    @pytest.mark.parametrize("fields", [{"ttl": "5h"}, {"expires_at": "2026-01-01T05:00:00Z"}])
    async def test_more_is_refused(self, world: World, fields: dict[str, Any]) -> None:
        answer = await deploy(world, "one", PLAIN, **fields)

        assert answer.status_code == 422
        assert "MAX_TTL" in answer.json()["detail"]
        assert not await exists(world, "one")

    async def test_as_much_is_given(self, world: World) -> None:
        assert (await deploy(world, "one", PLAIN, ttl="4h")).status_code == 200

    async def test_extensions_count_from_the_creation(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="2h")
        await pass_time(world, HOUR)

        extended, view = await amend(world, ttl="3h")
        refused, problem = await amend(world, ttl="4h")
        also_refused, _ = await amend(world, expires_at=ahead(world, 4 * HOUR))

        assert (extended, refused, also_refused) == (200, 422, 422)
        assert view["expires_at"].startswith("2026-01-01T04:00:00")
        assert "MAX_TTL" in problem["detail"]
        assert await left(world) == 3 * HOUR

    async def test_for_ever_is_until_the_longest(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR / 2)

        await amend(world, ttl=None)

        assert await left(world) == 3.5 * HOUR

    async def test_a_redeploy_does_not_begin_its_life_anew(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="4h")
        await pass_time(world, 3 * HOUR)

        refused = await deploy(world, "one", PLAIN, ttl="2h")
        await deploy(world, "one", PLAIN)

        assert refused.status_code == 422
        assert await left(world) == HOUR

    @pytest.mark.parametrize("body", [{"ttl": None}, {"ttl": 0}, {"expires_at": None}], ids=str)
    async def test_one_older_than_the_longest_is_not_ended_by_a_change(
        self, world: World, body: dict[str, Any]
    ) -> None:
        await world.launch("one", PLAIN)
        await pass_time(world, 10 * HOUR)

        status, _ = await amend(world, **body)
        await tick(world)

        assert status == 422
        assert (await shown(world, "one"))["state"] == "running"

    async def test_one_older_than_the_longest_is_not_ended_by_a_redeploy(
        self, world: World
    ) -> None:
        await world.launch("one", PLAIN)
        await pass_time(world, 10 * HOUR)

        await deploy(world, "one", PLAIN)
        await tick(world)

        assert (await shown(world, "one"))["state"] == "running"

    async def test_one_that_was_removed_may_begin_anew(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        await pass_time(world, 3 * HOUR)
        await remove(world, "one")

        await deploy(world, "one", PLAIN)

        assert await left(world) == 4 * HOUR


class TestEnd:
    async def test_it_is_told_of_before_and_once(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR - 301)
        before = await lifetime_entries(world)

        for _ in range(3):
            await pass_time(world, 2)

        assert before == []
        assert await lifetime_entries(world) == ["Expires in 299 s, at 2026-01-01T01:00:00+00:00."]
        assert len(world.log.named("environment expires soon")) == 1

    async def test_one_that_is_extended_is_warned_again(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR - 10)
        await amend(world, ttl="1h")
        await pass_time(world, HOUR - 10)

        warnings = [text for text in await lifetime_entries(world) if text.startswith("Expires in")]

        assert len(warnings) == 2

    async def test_it_takes_everything_away(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR - 1)
        alive = await exists(world, "one")

        await pass_time(world, 1)

        assert alive
        assert not await exists(world, "one")
        assert await left_of(world, "one") == []
        assert world.engine.containers == {}
        (newest, *_) = (await call(world, "GET", "/api/v1/operations")).json()["operations"]
        assert (newest["kind"], newest["requested_by"]) == ("delete", "agent")
        assert "Has expired." in await lifetime_entries(world)

    async def test_it_ends_one_that_is_stopped_too(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await call(world, "POST", f"{ENVIRONMENTS}/one/stop", headers={"Prefer": "wait=9"})

        await pass_time(world, HOUR)

        assert not await exists(world, "one")

    async def test_it_is_told_once_while_its_removal_takes_time(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        world.compose.stop_seconds = 60
        await pass_time(world, HOUR)
        await pass_time(world, 2)
        await pass_time(world, 2)
        told = (await lifetime_entries(world)).count("Has expired.")

        await world.clock.advance(60)

        assert told == 1
        assert not await exists(world, "one")

    async def test_one_that_cannot_be_removed_now_is_removed_later(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        world.engine.fault = "is away"
        await pass_time(world, HOUR)
        still = await exists(world, "one")
        world.engine.fault = ""

        await pass_time(world, 2)

        assert still
        assert not await exists(world, "one")

    async def test_one_that_failed_is_left_to_be_looked_at(self, world: World) -> None:
        await deploy(world, "one", MISSING, ttl="1h")

        await pass_time(world, 2 * HOUR)

        assert (await shown(world, "one"))["state"] == "failed"

    async def test_one_that_is_still_being_deployed_goes_too(self, world: World) -> None:
        world.compose.up_seconds = 500
        identifier = await begin(world, "one", PLAIN, ttl="10s")

        await pass_time(world, 20)

        assert not await exists(world, "one")
        assert (await operation(world, identifier))["state"] == "cancelled"

    async def test_others_live_on(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await deploy(world, "two", PLAIN, ttl="2h")

        await pass_time(world, 1.5 * HOUR)

        assert not await exists(world, "one")
        assert await left(world, "two") == HOUR / 2


class TestClock:
    @pytest.mark.parametrize("jump", [DAY, -DAY, 6.0, -HOUR], ids=str)
    async def test_one_that_is_set_neither_ends_nor_draws_out_a_life(
        self, world: World, jump: float
    ) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR / 2)

        world.clock.jump_wall_clock(jump)
        await tick(world)
        after_jump = await left(world)
        await pass_time(world, HOUR / 2 - 1)
        alive = await exists(world, "one")
        await pass_time(world, 1)

        assert after_jump == HOUR / 2
        assert alive
        assert not await exists(world, "one")

    async def test_one_that_is_set_again_and_again_moves_nothing(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await tick(world)

        for jump in (DAY, -2 * DAY, 300 * DAY, -DAY):
            world.clock.jump_wall_clock(jump)
            await pass_time(world, 60)

        assert await left(world) == HOUR - 240

    async def test_one_that_drifts_is_followed_slowly_and_moves_nothing_at_once(
        self, world: World
    ) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await tick(world)

        world.clock.jump_wall_clock(1)
        await tick(world)

        assert await left(world) == HOUR - 1
        assert not world.log.named("clock was set, lifetimes move with it")

    @pytest.mark.parametrize("jump", [DAY, -DAY], ids=str)
    async def test_one_made_after_the_clock_was_set_and_before_it_was_noticed_keeps_its_time(
        self, world: World, jump: float
    ) -> None:
        await tick(world)
        world.clock.jump_wall_clock(jump)
        await deploy(world, "one", PLAIN, ttl="1h")

        await tick(world)

        assert await left(world) == HOUR

    @pytest.mark.parametrize("jump", [DAY, -DAY], ids=str)
    async def test_a_hold_with_an_end_moves_with_the_clock(self, world: World, jump: float) -> None:
        hold = {"owner": "jana", "reason": "exam", "until": ahead(world, HOUR)}
        await deploy(world, "one", PLAIN, hold=hold, ttl="30m")
        await tick(world)
        world.clock.jump_wall_clock(jump)

        await pass_time(world, HOUR - 60)
        held = await exists(world, "one")
        await pass_time(world, 120)

        assert held
        assert not await exists(world, "one")

    @pytest.mark.parametrize("jump", [DAY, -DAY], ids=str)
    async def test_the_longest_life_is_not_drawn_out_or_cut_by_a_clock_that_is_set(
        self, jump: float
    ) -> None:
        async with agent_on_twins({"MAX_TTL": "4h"}) as world:
            await deploy(world, "one", PLAIN, ttl="1h")
            await tick(world)
            world.clock.jump_wall_clock(jump)
            await tick(world)

            within, _ = await amend(world, ttl="4h")
            beyond, _ = await amend(world, ttl="5h")

            assert (within, beyond) == (200, 422)


class TestNewAgent:
    async def test_it_keeps_the_end(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR / 2)

        async with agent_on_twins(outside=world) as after:
            assert await left(after) == HOUR / 2
            await pass_time(after, HOUR / 2 - 1)
            alive = await exists(after, "one")
            await pass_time(after, 1)

            assert alive
            assert not await exists(after, "one")

    async def test_what_expired_while_none_ran_goes_at_once(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await world.clock.advance(2 * HOUR)

        async with agent_on_twins(outside=world) as after:
            await tick(after)

            assert not await exists(after, "one")

    async def test_it_does_not_warn_again(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        await pass_time(world, HOUR - 60)

        async with agent_on_twins(outside=world) as after:
            await pass_time(after, 2)

            assert len(await lifetime_entries(after)) == 1


class TestHold:
    async def test_it_stops_expiry_until_it_is_taken_away(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h", hold=HOLD)
        await pass_time(world, DAY)
        held = await exists(world, "one")

        status, view = await amend(world, hold=None)
        await tick(world)

        assert held
        assert (status, view["hold"]) == (200, None)
        assert not await exists(world, "one")

    async def test_it_stops_expiry_until_its_end(self, world: World) -> None:
        hold = {**HOLD, "until": ahead(world, 2 * HOUR)}
        await deploy(world, "one", PLAIN, ttl="1h", hold=hold)
        await pass_time(world, 2 * HOUR - 1)
        held = await exists(world, "one")

        await pass_time(world, 2)

        assert held
        assert not await exists(world, "one")

    async def test_it_may_come_later(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")

        status, view = await amend(world, hold=HOLD)
        await pass_time(world, DAY)

        assert status == 200
        assert (view["hold"]["owner"], view["hold"]["until"]) == ("jana", None)
        assert await exists(world, "one")
        assert (await remove(world, "one")).status_code == 409
        assert "Held by jana: exam review." in await lifetime_entries(world)

    async def test_it_is_told_when_it_is_taken_away(self, world: World) -> None:
        await deploy(world, "one", PLAIN, hold=HOLD)

        await amend(world, hold=None)

        assert await lifetime_entries(world) == ["No longer held."]
        assert (await remove(world, "one")).status_code == 200


class TestAmendment:
    async def test_an_end_can_be_put_off_and_taken_away(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        before = dict(world.engine.containers)

        put_off, _ = await amend(world, ttl="2h")
        later = await left(world)
        forever, view = await amend(world, expires_at=None)

        assert (put_off, later, forever, view["expires_at"]) == (200, 2 * HOUR, 200, None)
        await pass_time(world, 3 * HOUR)
        assert (await shown(world, "one"))["state"] == "running"
        assert dict(world.engine.containers) == before

    @pytest.mark.parametrize("ttl", [None, 0, "0"])
    async def test_no_time_to_live_is_for_ever(self, world: World, ttl: str | int | None) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")

        await amend(world, ttl=ttl)

        assert await left(world) is None

    async def test_what_is_left_out_stays(self, world: World) -> None:
        hold = {"owner": "jana", "reason": "exam"}
        await deploy(world, "one", PLAIN, ttl="1h", labels={"a": "b"}, hold=hold)

        status, view = await amend(world, labels={"c": "d"})
        await amend(world)

        assert status == 200
        assert view["labels"] == {"c": "d"}
        assert (await shown(world, "one"))["labels"] == {"c": "d"}
        assert (await shown(world, "one"))["hold"]["owner"] == "jana"
        assert await left(world) == HOUR

    async def test_who_changed_it_is_told(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        await amend(world, expires_at="2026-01-01T03:00:00Z")

        entries = (await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")).json()["entries"]
        (entry,) = [entry for entry in entries if entry["kind"] == "lifetime"]

        assert entry["text"] == "Expires now at 2026-01-01T03:00:00+00:00."
        assert entry["by"] == "the server key"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"ttl": "1h", "expires_at": "2030-01-01T00:00:00Z"},
            {"ttl": None, "expires_at": "2030-01-01T00:00:00Z"},
            {"ttl": "soon"},
            {"ttl": -5},
            {"expires_at": "2020-01-01T00:00:00Z"},
            {"expires_at": "2030-01-01"},
            {"hold": {"owner": "jana"}},
            {"hold": "jana"},
            {"labels": None},
            {"labels": {"a b": "c"}},
            {"labels": {"a": "b\nc"}},
            {"unknown": 1},
            {"limits": {"cpus": 1}},
        ],
        ids=str,
    )
    async def test_what_cannot_be_is_refused_and_changes_nothing(
        self, world: World, wrong: dict[str, Any]
    ) -> None:
        await deploy(world, "one", PLAIN, ttl="1h", labels={"a": "b"})
        before = await shown(world, "one")

        status, problem = await amend(world, **wrong)

        assert status == 422
        assert problem["detail"]
        assert await shown(world, "one") == before

    async def test_what_only_failed_to_come_up_is_404(self, world: World) -> None:
        await deploy(world, "one", MISSING)

        assert (await amend(world, ttl="1h"))[0] == 404

    async def test_a_change_made_while_it_is_deployed_is_not_lost(self, world: World) -> None:
        world.compose.up_seconds = 5
        await begin(world, "one", PLAIN, ttl="1h")

        status, _ = await amend(world, ttl="3h", labels={"a": "b"})
        await world.clock.advance(10)

        assert status == 200
        assert (await shown(world, "one"))["labels"] == {"a": "b"}
        assert await left(world) == 3 * HOUR - 10

    async def test_a_change_made_while_a_replacement_fails_is_not_lost(self, world: World) -> None:
        await deploy(world, "one", PLAIN, ttl="1h")
        world.compose.up_seconds = 5
        await begin(world, "one", MISSING)

        status, _ = await amend(world, hold={"owner": "jana", "reason": "exam"})
        await world.clock.advance(20)

        assert status == 200
        assert (await shown(world, "one"))["hold"]["owner"] == "jana"


class TestAtOnce:
    """What is asked for while the agent looks through all lifetimes, or writes a change down."""

    @staticmethod
    def during_a_look(
        world: World, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]
    ) -> None:
        """Lets something happen while the agent writes of the first environment, once."""
        append, waiting = world.store.timeline.append, [happens]

        async def appended(entry: TimelineEntry) -> None:
            if entry.environment == "first" and waiting:
                await waiting.pop()()
            await append(entry)

        monkeypatch.setattr(world.store.timeline, "append", appended)

    async def test_one_that_is_removed_meanwhile_stays_gone(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("first", "one"):
            await deploy(world, name, PLAIN, ttl="1m")
        self.during_a_look(world, monkeypatch, lambda: remove(world, "one"))

        await tick(world)

        assert not await exists(world, "one")

    async def test_one_that_is_extended_meanwhile_lives_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("first", "one"):
            await deploy(world, name, PLAIN, ttl="1m")
        await world.clock.advance(60)
        self.during_a_look(world, monkeypatch, lambda: amend(world, ttl="1h"))

        await tick(world)

        assert await left(world) == HOUR

    async def test_one_that_is_held_meanwhile_lives_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("first", "one"):
            await deploy(world, name, PLAIN, ttl="1m")
        await world.clock.advance(60)
        self.during_a_look(world, monkeypatch, lambda: amend(world, hold=HOLD))

        await tick(world)

        assert await exists(world, "one")

    async def test_a_change_that_crosses_the_end_of_a_deploy_does_not_undo_it(
        self, world: World
    ) -> None:
        world.compose.up_seconds = 5
        await begin(world, "one", PLAIN)

        async with anyio.create_task_group() as group:
            group.start_soon(world.clock.advance, 10)
            for _ in range(30):
                await amend(world, labels={"a": "b"})

        view = await shown(world, "one")
        assert (view["state"], view["labels"]) == ("running", {"a": "b"})

"""The heartbeat: what it reports, when, and what it says of itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from domain.errors import EngineUnavailable, StoreUnavailable
from domain.heartbeat import (
    HeartbeatAnswer,
    HeartbeatReport,
    HeartbeatResult,
    next_pause_seconds,
)
from entrypoints.workers import run_workers
from tests.support.agents import World, agent_on_twins

pytestmark = pytest.mark.anyio

MANAGED = {"MANAGER_URL": "https://manager.example.com", "HEARTBEAT_INTERVAL": "10"}
GOOD = HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
UNREACHABLE = HeartbeatAnswer(result=HeartbeatResult.UNREACHABLE, detail="no route")
REFUSED = HeartbeatAnswer(
    result=HeartbeatResult.REFUSED, status=401, detail="register the host again"
)


WAIT_A_MINUTE = HeartbeatAnswer(
    result=HeartbeatResult.BUSY, status=503, detail="later", retry_after_seconds=60
)


def places_work(report: HeartbeatReport, max_containers: int) -> bool:
    """The manager's rule for placing a launch on a host that is not offline."""
    return report.cpu < 90 and report.mem < 90 and report.containers < max_containers


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins(MANAGED) as world:
        world.clock.next_chance = 0.0
        yield world


def invitations(world: World) -> list[bool]:
    """Of each heartbeat that came, whether the manager would place work here."""
    return [places_work(report, max_containers=1000) for report in world.manager.reports]


async def beat(world: World) -> float:
    """Lets the agent send one heartbeat."""
    await world.agent.host.observe()
    return await world.agent.heartbeat.beat(world.manager)


async def away(world: World) -> None:
    """Lets the Engine go away and the agent notice."""
    world.engine.fault = "is away"
    with pytest.raises(EngineUnavailable):
        await world.agent.inventory.refresh()


class TestReport:
    async def test_it_holds_integers_averaged_since_the_last_one(self, world: World) -> None:
        world.metrics.cpu_percent, world.metrics.memory_percent = 40.4, 55.5
        await world.clock.advance(5)
        await world.agent.host.observe()
        world.metrics.cpu_percent = 20.0
        await world.clock.advance(5)
        world.engine.run("one")
        await world.agent.inventory.refresh()

        await beat(world)

        assert world.manager.reports == [HeartbeatReport(cpu=30, mem=56, containers=1)]
        assert all(type(n) is int for r in world.manager.reports for n in (r.cpu, r.mem))

    async def test_the_next_one_covers_only_what_came_after(self, world: World) -> None:
        world.metrics.cpu_percent = 100.0
        await world.clock.advance(10)
        await beat(world)
        world.metrics.cpu_percent = 0.0
        await world.clock.advance(10)

        await beat(world)

        assert [report.cpu for report in world.manager.reports] == [100, 0]

    async def test_with_the_engine_away_the_manager_places_nothing_here(self, world: World) -> None:
        for number in range(3):
            world.engine.run(f"c{number}")
        await world.agent.inventory.refresh()
        await away(world)

        await beat(world)

        (report,) = world.manager.reports
        assert report.containers == 3
        assert not places_work(report, max_containers=1000)

    async def test_an_engine_that_never_answered_is_no_empty_host(self) -> None:
        async with agent_on_twins(MANAGED, ready=False) as world:
            await away(world)

            await beat(world)

            (report,) = world.manager.reports
            assert report.containers > 0
            assert not places_work(report, max_containers=1000)

    async def test_silence_can_be_asked_for(self) -> None:
        async with agent_on_twins({**MANAGED, "HEARTBEAT_WITHOUT_ENGINE": "silent"}) as world:
            await away(world)

            pause = await beat(world)

            assert world.manager.reports == []
            assert 0 < pause <= 10
            assert world.agent.health.report().heartbeat.state == "off"

            world.engine.fault = ""
            await world.agent.inventory.refresh()
            await beat(world)
            assert len(world.manager.reports) == 1


def pause(answer: HeartbeatAnswer, chance: float, *, failures: int = 0, took: float = 0.0) -> float:
    """The pause after an answer, with an interval of 10 s."""
    return next_pause_seconds(
        answer,
        interval_seconds=10,
        took_seconds=took,
        consecutive_failures=failures,
        chance=chance,
    )


class TestPause:
    async def test_one_interval_less_a_little_jitter(self) -> None:
        assert [pause(GOOD, chance) for chance in (0.0, 0.5, 1.0)] == [10.0, 9.5, 9.0]

    async def test_the_time_that_a_beat_took_counts(self) -> None:
        assert pause(GOOD, 0.0, took=4.0) == 6.0
        assert pause(GOOD, 0.0, took=30.0) == 0.0
        assert pause(REFUSED, 0.0, took=4.0) == 56.0

    async def test_after_failures_it_grows_up_to_one_interval(self) -> None:
        pauses = [
            next_pause_seconds(
                UNREACHABLE,
                interval_seconds=60,
                took_seconds=0,
                consecutive_failures=failures,
                chance=1.0,
            )
            for failures in (1, 2, 3, 4, 100_000)
        ]

        assert pauses == [10.0, 20.0, 40.0, 57.0, 57.0]

    async def test_agents_that_fail_together_do_not_return_together(self) -> None:
        for took in (0.0, 4.0, 8.0):
            left = 9.5 - took
            pauses = {pause(UNREACHABLE, n / 10, failures=9, took=took) for n in range(11)}

            assert len(pauses) == 11
            assert (min(pauses), max(pauses)) == (left / 2, left)

    async def test_a_refusal_slows_it_to_about_once_a_minute(self) -> None:
        assert pause(REFUSED, 0.0, failures=1) == 60

    @pytest.mark.parametrize("asked", [0.5, 30, 120])
    async def test_retry_after_is_obeyed_and_never_undercut(self, asked: float) -> None:
        busy = HeartbeatAnswer(result=HeartbeatResult.BUSY, status=429, retry_after_seconds=asked)

        assert pause(busy, 0.0, failures=3, took=5.0) == asked
        assert pause(busy, 1.0, failures=3, took=5.0) == asked + 10

    async def test_a_refusal_cannot_ask_to_be_repeated_soon(self) -> None:
        refused = msgspec.structs.replace(REFUSED, retry_after_seconds=1.0)

        assert pause(refused, 0.0) == 60


class TestWorker:
    async def test_the_first_beat_comes_at_once_and_the_next_after_an_interval(
        self, world: World
    ) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_workers, world.agent)
            await world.clock.advance(1)
            assert len(world.manager.reports) == 1
            await world.clock.advance(9)
            assert len(world.manager.reports) == 1
            await world.clock.advance(1)
            assert len(world.manager.reports) == 2
            group.cancel_scope.cancel()

    async def test_no_heartbeat_is_sent_while_another_is_under_way(self, world: World) -> None:
        world.manager.release = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(run_workers, world.agent)
            await world.clock.advance(100)
            assert len(world.manager.reports) == 1
            world.manager.release.set()
            world.manager.release = None
            await world.clock.advance(5)
            assert len(world.manager.reports) == 2
            group.cancel_scope.cancel()

        assert world.manager.most_sending == 1

    async def test_it_is_back_within_one_interval_after_hours_without_a_manager(
        self, world: World
    ) -> None:
        world.manager.answers.extend([UNREACHABLE] * 1000)
        async with anyio.create_task_group() as group:
            group.start_soon(world.agent.heartbeat.run)
            await world.clock.advance(1800)
            world.manager.answers.clear()
            before = len(world.manager.reports)
            await world.clock.advance(10)
            group.cancel_scope.cancel()

        assert len(world.manager.reports) > before
        assert world.agent.heartbeat.status.consecutive_failures == 0
        assert len(world.log.named("heartbeat failed")) <= 8


@asynccontextmanager
async def beating(world: World) -> AsyncIterator[None]:
    """The heartbeat alone, without what else works in an agent."""
    async with anyio.create_task_group() as group:
        group.start_soon(world.agent.heartbeat.run)
        yield
        group.cancel_scope.cancel()


class TestNews:
    """What the manager must know at once: that work can be placed here, or no longer."""

    @pytest.fixture
    async def starting(self) -> AsyncIterator[World]:
        async with agent_on_twins(MANAGED, ready=False) as world:
            world.clock.next_chance = 0.0
            world.engine.run("one")
            await world.agent.inventory.refresh()
            yield world

    async def test_the_first_one_waits_a_little_for_an_agent_that_starts(
        self, starting: World
    ) -> None:
        async with beating(starting):
            await starting.clock.advance(2)
            assert starting.manager.reports == []

            starting.agent.operations.open()
            await starting.clock.advance(0)
            assert invitations(starting) == [True]

    async def test_while_it_starts_no_work_is_invited_and_the_rest_is_true(
        self, starting: World
    ) -> None:
        async with beating(starting):
            await starting.clock.advance(13)

        assert starting.manager.reports == [HeartbeatReport(cpu=100, mem=20, containers=1)] * 2

    async def test_when_it_has_started_the_manager_hears_of_it_at_once(
        self, starting: World
    ) -> None:
        async with beating(starting):
            await starting.clock.advance(4)
            starting.agent.operations.open()
            await starting.clock.advance(0.1)

        assert invitations(starting) == [False, True]

    async def test_an_engine_that_goes_and_comes_is_told_of_at_once(self, world: World) -> None:
        async with beating(world):
            await world.clock.advance(5)
            await away(world)
            await world.clock.advance(0.1)
            assert invitations(world) == [True, False]

            await world.clock.advance(3)
            world.engine.fault = ""
            await world.agent.inventory.refresh()
            await world.clock.advance(0.1)
            assert invitations(world) == [True, False, True]

    @pytest.mark.parametrize("what", ["records", "files"])
    async def test_nothing_is_placed_where_nothing_can_be_kept(
        self, world: World, what: str
    ) -> None:
        storage = world.agent.storage
        look = storage.observe_records if what == "records" else storage.observe_files
        async with beating(world):
            await world.clock.advance(5)
            world.store.fault = StoreUnavailable("The disk is gone.")
            world.workspaces.fault = "The folder is gone."
            await look()
            await world.clock.advance(0.1)
            assert invitations(world) == [True, False]

            await world.clock.advance(3)
            world.store.fault, world.workspaces.fault = None, ""
            await look()
            await world.clock.advance(0.1)
            assert invitations(world) == [True, False, True]

    async def test_the_end_of_silence_is_told_at_once(self) -> None:
        async with agent_on_twins({**MANAGED, "HEARTBEAT_WITHOUT_ENGINE": "silent"}) as world:
            await away(world)
            async with beating(world):
                await world.clock.advance(22)
                assert world.manager.reports == []

                world.engine.fault = ""
                await world.agent.inventory.refresh()
                await world.clock.advance(0.1)
                assert invitations(world) == [True]

    async def test_an_engine_that_comes_and_goes_makes_no_more_than_one_a_second(
        self, world: World
    ) -> None:
        async with beating(world):
            await world.clock.advance(5)
            before = len(world.manager.reports)
            for _ in range(50):
                await away(world)
                await world.clock.advance(0.1)
                world.engine.fault = ""
                await world.agent.inventory.refresh()
                await world.clock.advance(0.1)

        assert len(world.manager.reports) - before <= 10

    async def test_news_during_a_beat_is_told_soon_after_it(self, world: World) -> None:
        world.manager.release = anyio.Event()
        async with beating(world):
            await world.clock.advance(2)
            await away(world)
            world.manager.release.set()
            world.manager.release = None
            await world.clock.advance(1.1)

        assert invitations(world) == [True, False]

    @pytest.mark.parametrize("answer", [UNREACHABLE, REFUSED, WAIT_A_MINUTE])
    async def test_a_manager_that_does_not_listen_is_not_asked_more_often(
        self, world: World, answer: HeartbeatAnswer
    ) -> None:
        world.manager.answers.append(answer)
        async with beating(world):
            await world.clock.advance(2)
            await away(world)
            await world.clock.advance(2)

        assert len(world.manager.reports) == 1


class TestEnd:
    """The last heartbeat."""

    async def test_it_tells_what_stays_and_invites_no_work(self, world: World) -> None:
        async with beating(world):
            await world.clock.advance(5)
            world.engine.run("one")
            world.engine.run("two")
            await world.agent.operations.close(0)
            await world.agent.heartbeat.end()
            await world.clock.advance(60)

        assert world.manager.reports[-1] == HeartbeatReport(cpu=100, mem=20, containers=2)
        assert len(world.manager.reports) == 2

    async def test_it_does_not_wait_for_one_that_hangs(self, world: World) -> None:
        world.manager.release = anyio.Event()
        async with beating(world):
            await world.clock.advance(2)
            world.manager.release = None
            await world.agent.operations.close(0)
            await world.agent.heartbeat.end()

        assert invitations(world) == [True, False]
        assert world.manager.most_sending == 1

    async def test_a_manager_that_hangs_holds_the_end_up_for_a_few_seconds_only(
        self, world: World
    ) -> None:
        world.manager.release = anyio.Event()
        await world.agent.operations.close(0)
        async with anyio.create_task_group() as group:
            group.start_soon(world.agent.heartbeat.end)
            await world.clock.advance(3)
            assert world.manager.sending == 0

        assert len(world.log.named("last heartbeat not taken")) == 1

    async def test_an_engine_that_hangs_does_not_keep_it_back(self, world: World) -> None:
        world.engine.run("one")
        await world.agent.inventory.refresh()
        world.engine.hang = True
        await world.agent.operations.close(0)
        async with anyio.create_task_group() as group:
            group.start_soon(world.agent.heartbeat.end)
            await world.clock.advance(2)

        assert world.manager.reports == [HeartbeatReport(cpu=100, mem=20, containers=1)]

    async def test_there_is_none_to_a_manager_that_asked_for_peace(self, world: World) -> None:
        world.manager.answers.append(WAIT_A_MINUTE)
        await beat(world)
        await world.agent.heartbeat.end()

        assert len(world.manager.reports) == 1

    async def test_there_is_none_without_a_manager(self) -> None:
        async with agent_on_twins() as world:
            await world.agent.heartbeat.end()

            assert world.manager.reports == []

    async def test_there_is_none_where_silence_was_asked_for(self) -> None:
        async with agent_on_twins({**MANAGED, "HEARTBEAT_WITHOUT_ENGINE": "silent"}) as world:
            await away(world)
            await world.agent.heartbeat.end()

            assert world.manager.reports == []


class TestStatus:
    async def test_a_refusal_is_told_in_health_and_log_with_what_to_do(self, world: World) -> None:
        world.manager.answers.append(REFUSED)

        pause = await beat(world)

        report = (await world.http.get("/health")).json()
        assert pause == 60
        assert report["status"] == "degraded"
        assert any("register the host again" in reason for reason in report["reasons"])
        assert world.log.named("heartbeat refused")[0]["reason"] == "register the host again"

    async def test_an_acknowledged_one_makes_it_well_again(self, world: World) -> None:
        world.manager.answers.append(UNREACHABLE)
        await beat(world)
        await beat(world)

        report = (await world.http.get("/health")).json()
        assert (report["status"], report["heartbeat"]["state"]) == ("ok", "up")

    async def test_that_no_work_is_invited_is_told_where_all_else_is_well(
        self, world: World
    ) -> None:
        await world.agent.operations.close(0)
        await beat(world)

        report = (await world.http.get("/health")).json()
        assert report["heartbeat"]["state"] == "up"
        assert "told that this host is full" in report["heartbeat"]["reason"]
        assert "The agent is stopping." in report["reasons"]

    async def test_without_a_manager_the_agent_runs_alone_and_says_so(self) -> None:
        async with agent_on_twins() as world:
            await world.agent.heartbeat.run()

            report = (await world.http.get("/health")).json()
            assert report["status"] == "ok"
            assert report["heartbeat"]["state"] == "off"
            assert "MANAGER_URL" in report["heartbeat"]["reason"]

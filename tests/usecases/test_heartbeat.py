"""The heartbeat: what it reports, when, and what it says of itself."""

from collections.abc import AsyncIterator

import anyio
import pytest

from domain.errors import EngineUnavailable
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
UNREACHABLE = HeartbeatAnswer(result=HeartbeatResult.UNREACHABLE, detail="no route")
REFUSED = HeartbeatAnswer(
    result=HeartbeatResult.REFUSED, status=401, detail="register the host again"
)


def places_work(report: HeartbeatReport, max_containers: int) -> bool:
    """The manager's rule for placing a launch on a host that is not offline."""
    return report.cpu < 90 and report.mem < 90 and report.containers < max_containers


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins(MANAGED) as world:
        world.clock.next_chance = 0.0
        yield world


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


class TestPause:
    async def test_one_interval_less_a_little_jitter(self) -> None:
        good = HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED)
        pauses = [
            next_pause_seconds(good, interval_seconds=10, consecutive_failures=0, chance=chance)
            for chance in (0.0, 0.5, 1.0)
        ]

        assert pauses == [10.0, 9.5, 9.0]

    async def test_after_failures_it_grows_up_to_one_interval(self) -> None:
        pauses = [
            next_pause_seconds(
                UNREACHABLE, interval_seconds=10, consecutive_failures=failures, chance=1.0
            )
            for failures in (1, 2, 3, 4, 5, 100_000)
        ]

        assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]

    async def test_agents_that_fail_together_do_not_return_together(self) -> None:
        pauses = {
            next_pause_seconds(
                UNREACHABLE, interval_seconds=10, consecutive_failures=9, chance=chance / 10
            )
            for chance in range(11)
        }

        assert len(pauses) == 11
        assert all(5 <= pause <= 10 for pause in pauses)

    async def test_a_refusal_slows_it_to_about_once_a_minute(self) -> None:
        pause = next_pause_seconds(REFUSED, interval_seconds=10, consecutive_failures=1, chance=0.0)

        assert pause == 60

    @pytest.mark.parametrize("asked", [0.5, 30, 120])
    async def test_retry_after_is_obeyed_and_never_undercut(self, asked: float) -> None:
        busy = HeartbeatAnswer(result=HeartbeatResult.BUSY, status=429, retry_after_seconds=asked)

        for chance in (0.0, 0.9):
            pause = next_pause_seconds(
                busy, interval_seconds=10, consecutive_failures=3, chance=chance
            )
            assert asked <= pause <= asked + 1


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
            await world.clock.advance(25)
            group.cancel_scope.cancel()

        assert world.manager.most_sending == 1
        assert len(world.manager.reports) == 3

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

    async def test_without_a_manager_the_agent_runs_alone_and_says_so(self) -> None:
        async with agent_on_twins() as world:
            await world.agent.heartbeat.run()

            report = (await world.http.get("/health")).json()
            assert report["status"] == "ok"
            assert report["heartbeat"]["state"] == "off"
            assert "MANAGER_URL" in report["heartbeat"]["reason"]

"""The events of containers, followed through an Engine's absences."""

from collections.abc import AsyncIterator

import anyio
import pytest

from domain.containers import PROJECT_LABEL
from entrypoints.workers import _follow_events, _write_chronicle
from tests.support.agents import World, agent_on_twins
from tests.support.api import ENVIRONMENTS, PLAIN, call, deploy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await deploy(world, "one", PLAIN)
        yield world


def dies(world: World, exit_code: int) -> None:
    world.engine.happenings.tell(
        "container",
        "die",
        "c1",
        {"name": "one-solo-1", PROJECT_LABEL: "one", "exitCode": str(exit_code)},
    )


async def exit_codes(world: World) -> list[int]:
    entries = (await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")).json()["entries"]
    return [entry["exit_code"] for entry in entries if entry["kind"] == "container"]


async def test_what_happened_while_the_engine_was_away_is_told_when_it_is_back(
    world: World,
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_write_chronicle, world.agent)
        group.start_soon(_follow_events, world.agent)
        await world.clock.advance(1)
        dies(world, 1)
        await world.clock.advance(1)
        world.engine.fault = "is away"
        dies(world, 2)
        await world.clock.advance(60)
        assert await exit_codes(world) == [1]

        world.engine.fault = ""
        await world.clock.advance(15)
        assert await exit_codes(world) == [1, 2]
        dies(world, 3)
        await world.clock.advance(1)
        assert await exit_codes(world) == [1, 2, 3]
        group.cancel_scope.cancel()


async def test_an_engine_that_is_away_is_asked_less_and_less_often(world: World) -> None:
    world.engine.fault = "is away"
    async with anyio.create_task_group() as group:
        group.start_soon(_follow_events, world.agent)
        await world.clock.advance(5)
        soon = len(world.log.named("events of the engine end"))
        await world.clock.advance(595)
        group.cancel_scope.cancel()

    assert soon >= 2
    assert len(world.log.named("events of the engine end")) <= 80

"""States that are written into the records as the containers show them."""

from collections.abc import AsyncIterator

import pytest

from adapters.memory.engine import Change
from domain.environments import EnvironmentState
from domain.names import EnvironmentName
from tests.support.agents import World, agent_on_twins
from tests.support.api import PLAIN, deploy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def look(world: World) -> None:
    await world.agent.inventory.refresh()
    await world.agent.states.follow()


async def test_what_ended_unseen_is_told_though_it_looks_as_it_did_before_it_began(
    world: World,
) -> None:
    async def look_before_it_runs(request: str, _change: Change | None) -> None:
        if request.startswith("start container"):
            await look(world)

    world.engine.watch = look_before_it_runs
    await deploy(world, "one", PLAIN)
    world.engine.watch = None
    world.engine.stop("one-solo-1")

    await look(world)

    record = await world.store.environments.get(EnvironmentName("one"))
    assert record is not None
    assert record.state is EnvironmentState.STOPPED

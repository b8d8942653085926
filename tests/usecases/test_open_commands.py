"""No command in a container runs on that nobody waits for, whatever becomes of the agent."""

from collections.abc import AsyncIterator

import pytest

from domain.container_exec import ExecOrder
from domain.errors import StoreUnavailable
from tests.http.test_container_exec import execute, executed
from tests.support.agents import World, agent_on_twins
from tests.support.containers import run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await run(world)
        yield world


async def left_running(world: World) -> None:
    """A command that could not be ended when its time was over."""
    world.commands.unstoppable = True
    found = await executed(world, "sleep", "600", timeout="1s")
    assert found["may_run_on"]
    assert len(world.commands.running) == 1


async def written_down(world: World) -> int:
    return len(await world.store.open_commands.list())


async def test_one_that_could_not_be_ended_is_ended_later(world: World) -> None:
    await left_running(world)
    await world.agent.commands.clear()
    assert world.commands.running

    world.commands.unstoppable = False
    await world.agent.commands.clear()

    assert world.commands.running == []
    assert await written_down(world) == 0
    assert world.log.named("left command has ended")


async def test_one_whose_agent_was_killed_ends_with_the_next_start(world: World) -> None:
    await left_running(world)
    world.commands.unstoppable = False

    async with agent_on_twins(outside=world):
        assert world.commands.running == []
        assert await written_down(world) == 0


async def test_one_that_the_engine_does_not_tell_of_is_asked_for_again(world: World) -> None:
    await left_running(world)
    world.commands.unstoppable = False
    world.engine.fault = "is away"
    await world.agent.commands.clear()
    assert await written_down(world) == 1

    world.engine.fault = ""
    await world.agent.commands.clear()
    assert world.commands.running == []


async def test_one_that_runs_is_written_down_and_left_alone(world: World) -> None:
    (container,) = world.engine.containers.values()
    order = ExecOrder(command=("sleep", "600"))
    async with world.agent.commands.running(container.id, order) as command:
        assert await written_down(world) == 1
        await world.agent.commands.clear()
        assert not command.is_over

    assert await written_down(world) == 0


@pytest.mark.parametrize("command", [("true",), ("no-such-program",)])
async def test_one_that_ended_or_never_began_is_forgotten(
    world: World, command: tuple[str, ...]
) -> None:
    await execute(world, *command)

    assert await written_down(world) == 0


async def test_it_runs_where_nothing_can_be_written_down(world: World) -> None:
    world.store.fault = StoreUnavailable("The disk of the records is full.")
    (container,) = world.engine.containers.values()
    order = ExecOrder(command=("sleep", "600"))

    async with world.agent.commands.running(container.id, order):
        assert world.commands.running
    assert world.commands.running == []

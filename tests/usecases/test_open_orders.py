"""A single container comes wholly or not at all, whatever cuts its making off."""

from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import anyio.lowlevel
import msgspec
import pytest

from domain.container_orders import ORDER_LABEL, OpenOrder
from domain.containers import ContainerState
from domain.engine_volumes import VolumeOrder
from domain.usecases.open_orders import LATE
from tests.support.agents import World, agent_on_twins
from tests.support.containers import create, run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def cut_off(world: World, name: str = "web", volumes: tuple[str, ...] = ()) -> OpenOrder:
    """What a killed agent has written down."""
    order = OpenOrder(mark="cut-off", name=name, volumes=volumes, at=world.clock.now())
    await world.store.open_orders.put(order)
    return order


def made(world: World, name: str, mark: str) -> None:
    """A container that was made for an order, and not started."""
    container = msgspec.structs.replace(
        world.engine.run(name), state=ContainerState.CREATED, labels={ORDER_LABEL: mark}
    )
    world.engine.containers[name] = container


async def look(world: World) -> None:
    """Lets the agent do what it does every half a minute."""
    await world.agent.housekeeping.tick(world.agent.library, world.agent.space)


async def open_orders(world: World) -> int:
    return len(await world.store.open_orders.list())


async def test_one_that_was_made_and_not_started_goes_with_the_next_start(world: World) -> None:
    made(world, "web", (await cut_off(world)).mark)

    async with agent_on_twins(outside=world) as after:
        assert "web" not in after.engine.containers
        assert await open_orders(after) == 0


async def test_volumes_that_were_made_for_it_go_and_others_stay(world: World) -> None:
    order = await cut_off(world, volumes=("new", "used", "old", "never"))
    for name in ("new", "used"):
        await world.volumes.create(VolumeOrder(name=name, labels={ORDER_LABEL: order.mark}))
    await world.volumes.create(VolumeOrder(name="old"))
    await run(world, "other", volumes=["used:/data"])

    await look(world)
    # The Engine may still be making the container, which would bring it back.
    assert "new" in world.engine.volumes
    await world.clock.advance((LATE + timedelta(seconds=1)).total_seconds())
    await look(world)

    assert "new" not in world.engine.volumes
    assert {"used", "old"} <= world.engine.volumes.keys()


async def test_a_volume_that_a_later_container_has_used_stays(world: World) -> None:
    order = await cut_off(world, volumes=("data",))
    await world.volumes.create(VolumeOrder(name="data", labels={ORDER_LABEL: order.mark}))
    await run(world, "other", volumes=["data:/data"])
    world.engine.remove("other")

    await world.clock.advance((LATE + timedelta(seconds=1)).total_seconds())
    await look(world)

    assert "data" in world.engine.volumes


async def test_one_that_the_engine_makes_late_goes_too(world: World) -> None:
    order = await cut_off(world)
    async with agent_on_twins(outside=world) as after:
        made(after, "web", order.mark)
        await look(after)

        assert "web" not in after.engine.containers
        assert await open_orders(after) == 0


async def test_an_order_of_which_nothing_comes_is_forgotten(world: World) -> None:
    await cut_off(world)
    await look(world)
    assert await open_orders(world) == 1

    await world.clock.advance((LATE + timedelta(seconds=1)).total_seconds())
    await look(world)
    assert await open_orders(world) == 0


async def test_somebody_elses_of_the_same_name_stays(world: World) -> None:
    await cut_off(world)
    await run(world)
    await look(world)

    assert world.engine.containers["web"].running


async def test_one_that_is_being_made_is_left_alone(world: World) -> None:
    async with world.agent.containers.creation._orders.carrying_out("web") as mark:
        made(world, "web", mark)
        await look(world)

        assert "web" in world.engine.containers
    assert await open_orders(world) == 0


async def test_one_that_could_not_be_cleared_away_goes_later(world: World) -> None:
    with anyio.CancelScope() as scope:
        async with world.agent.containers.creation._orders.carrying_out("web") as mark:
            made(world, "web", mark)
            world.engine.fault = "is away"
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert "web" in world.engine.containers

    world.engine.fault = ""
    await look(world)
    assert "web" not in world.engine.containers


async def test_one_that_is_refused_leaves_no_order(world: World) -> None:
    await run(world)
    answer = await create(world)

    assert answer.status_code == 409
    assert world.engine.containers["web"].running
    assert await open_orders(world) == 0


async def test_whoever_goes_away_leaves_nothing(world: World) -> None:
    with anyio.CancelScope() as scope:
        async with world.agent.containers.creation._orders.carrying_out("web") as mark:
            made(world, "web", mark)
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    assert "web" not in world.engine.containers

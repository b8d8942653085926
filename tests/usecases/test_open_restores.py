"""A volume that is restored comes wholly or not at all, whatever cuts that off."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from domain.container_orders import ORDER_LABEL, OpenOrder
from domain.containers import HELPER_LABEL
from domain.engine_volumes import VolumeOrder
from tests.contracts.test_engine_volumes import FILES, packed
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.containers import run

pytestmark = pytest.mark.anyio

ARCHIVE = "/api/v1/volumes/new/archive"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def cut_off(world: World) -> None:
    """A volume that a killed agent had made for a restore."""
    order = OpenOrder(mark="cut-off", name="", volumes=("new",), at=world.clock.now())
    await world.store.open_orders.put(order)
    await world.volumes.create(VolumeOrder(name="new", labels={ORDER_LABEL: order.mark}))


def mount(world: World) -> None:
    """A helper that the Engine did not remove mounts the volume."""
    helper = world.engine.run("helper")
    marked = msgspec.structs.replace(helper, labels={HELPER_LABEL: "agent"})
    world.engine.containers["helper"] = marked
    world.volumes.mount("new", "helper")


async def test_one_that_was_made_for_it_goes_with_the_next_start(world: World) -> None:
    await cut_off(world)

    async with agent_on_twins(outside=world) as after:
        assert "new" not in after.engine.volumes
        assert after.log.named("volume that was not done is cleared away")
        assert list(await after.store.open_orders.list()) == []


async def test_one_that_stood_before_stays(world: World) -> None:
    await world.volumes.create(VolumeOrder(name="new"))
    order = OpenOrder(mark="cut-off", name="", volumes=("new",), at=world.clock.now())
    await world.store.open_orders.put(order)

    async with agent_on_twins(outside=world) as after:
        assert "new" in after.engine.volumes


async def test_one_that_a_container_mounts_by_now_stays(world: World) -> None:
    await cut_off(world)
    await run(world, "other", volumes=["new:/data"])

    async with agent_on_twins(outside=world) as after:
        assert "new" in after.engine.volumes


async def test_one_whose_helper_hangs_goes_when_that_has_gone(world: World) -> None:
    await cut_off(world)
    mount(world)
    world.clock._pass(3600)
    world.engine.fault = "is away"
    await world.agent.restores.clear()
    await world.agent.housekeeping._orders.clear()
    assert world.log.named("restores that were cut off not ended")
    world.engine.fault = ""
    await world.agent.housekeeping._orders.clear()
    assert "new" in world.engine.volumes

    await world.agent.restores.clear()

    assert not {"helper", "new"} & {*world.engine.containers, *world.engine.volumes}


async def test_one_is_cleared_away_without_a_start_when_the_engine_is_back(world: World) -> None:
    async def broken_off() -> AsyncIterator[bytes]:
        yield packed(FILES)
        world.engine.fault = "is away"

    answer = await world.http.put(ARCHIVE, content=broken_off(), headers=KEY)
    assert answer.status_code == 503
    assert "new" in world.engine.volumes

    world.engine.fault = ""
    await world.agent.restores.clear()
    assert "new" not in world.engine.volumes


async def test_what_was_restored_is_nobodys_to_clear_away(world: World) -> None:
    answer = await world.http.put(ARCHIVE, content=packed(FILES), headers=KEY)
    assert answer.status_code == 200, answer.text
    world.clock._pass(3600)

    async with agent_on_twins(outside=world) as after:
        assert "new" in after.engine.volumes
        assert list(await after.store.open_orders.list()) == []

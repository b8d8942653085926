"""What happens to containers is told once, and by its cause, also when it is heard of late."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from domain.errors import StoreUnavailable
from domain.names import EnvironmentName
from domain.timeline import EntryKind, TimelineEntry
from entrypoints.workers import run_workers
from tests.support.agents import World, agent_on_twins
from tests.support.api import PLAIN, deploy

pytestmark = pytest.mark.anyio

ONE = EnvironmentName("one")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


@asynccontextmanager
async def at_work(world: World) -> AsyncIterator[None]:
    """Lets an agent's workers run."""
    async with anyio.create_task_group() as group:
        group.start_soon(run_workers, world.agent)
        await world.clock.advance(1)
        yield
        await world.clock.advance(1)
        group.cancel_scope.cancel()


async def told(world: World) -> list[TimelineEntry]:
    """What is told of containers."""
    entries = await world.store.timeline.of(ONE, 100)
    return [entry for entry in entries if entry.kind is EntryKind.CONTAINER]


async def test_what_happens_while_no_agent_runs_is_told_once(world: World) -> None:
    async with at_work(world):
        await deploy(world, "one", PLAIN)
        world.engine.stop("one-solo-1", exit_code=1)
    await world.clock.advance(60)
    world.engine.start(world.engine.containers["one-solo-1"].id)
    await world.clock.advance(60)
    world.engine.stop("one-solo-1", exit_code=2)

    for _ in range(2):
        async with agent_on_twins(outside=world) as later, at_work(later):
            pass

    assert [entry.text for entry in await told(world)] == [
        "one-solo-1 ended with exit code 1.",
        "one-solo-1: start.",
        "one-solo-1 ended with exit code 2.",
    ]


async def test_what_the_agent_did_itself_is_known_although_it_is_heard_of_late(
    world: World,
) -> None:
    async with at_work(world):
        world.events.cut()
        world.engine.fault = "is away"
        await world.clock.advance(1)
        world.engine.fault = ""
        await world.look()
        # Done before the stream is back.
        done = await deploy(world, "one", PLAIN)
        await world.clock.advance(2)
        world.engine.stop("one-solo-1", exit_code=1)

    entries = await told(world)
    assert done.status_code == 200
    assert [(entry.text, entry.operation) for entry in entries] == [
        ("one-solo-1 ended with exit code 1.", None)
    ]


async def test_records_that_cannot_be_read_only_cost_what_was_missed(world: World) -> None:
    world.store.fault = StoreUnavailable("The disk is gone.")

    assert await world.agent.chronicle.told_until() is None

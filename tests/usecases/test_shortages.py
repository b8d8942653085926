"""A host that is short of something for a moment ends no worker, and no operation untold."""

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from domain.errors import HostExhausted, StoreUnavailable
from domain.names import EnvironmentName, OperationId
from entrypoints.workers import run_workers
from tests.support.agents import World, agent_on_twins
from tests.support.api import (
    BUNDLES,
    ENVIRONMENTS,
    OPERATIONS,
    PLAIN,
    WAIT,
    WEB,
    begin,
    call,
    deploy,
    left_of,
    operation,
)

pytestmark = pytest.mark.anyio

SHORTAGES = [
    OSError(errno.EMFILE, "Too many open files"),
    MemoryError(),
    RuntimeError("can't start new thread"),
    HostExhausted("memory"),
]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


PLACES = ["host", "engine", "store"]


def break_(world: World, place: str, broken: Callable[..., Awaitable[Any]]) -> None:
    """Lets the host's counters, the Engine or the store do something else."""
    match place:
        case "host":
            world.metrics.sample = broken  # type: ignore[method-assign, assignment]
        case "engine":
            world.engine.answer = broken  # type: ignore[method-assign, assignment]
        case _:
            world.store.check = broken  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", SHORTAGES, ids=repr)
async def test_workers_go_on_when_it_has_passed(world: World, place: str, fault: Exception) -> None:
    short = True
    wholes: dict[str, Callable[..., Awaitable[Any]]] = {
        "host": world.metrics.sample,
        "engine": world.engine.answer,
        "store": world.store.check,
    }
    whole = wholes[place]

    async def broken(*arguments: Any) -> Any:
        if short:
            raise fault
        return await whole(*arguments)

    async with anyio.create_task_group() as group:
        group.start_soon(run_workers, world.agent)
        await world.clock.advance(1)
        break_(world, place, broken)
        await world.clock.advance(40)
        short = False
        await world.clock.advance(40)

        assert (await call(world, "GET", "/ready")).status_code == 200
        assert (await deploy(world, "one", PLAIN)).status_code == 200
        group.cancel_scope.cancel()


@pytest.mark.parametrize("place", PLACES)
async def test_a_fault_of_the_agents_own_ends_them(world: World, place: str) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_workers, world.agent)
            await world.clock.advance(60)

    break_(world, place, broken)
    with pytest.raises(ExceptionGroup) as ended:
        await work()

    assert ended.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("fault", SHORTAGES, ids=repr)
async def test_an_operation_that_it_cuts_off_fails_as_such_and_is_undone(
    world: World, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(world.compose, "build", broken)

    answer = await deploy(world, "one", WEB)

    assert answer.status_code == 503
    assert "The host has run out of" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "10"
    assert await left_of(world, "one") == []
    (shown,) = (await call(world, "GET", OPERATIONS)).json()["operations"]
    assert (shown["state"], shown["error"]) == ("failed", "host-exhausted")


@pytest.mark.parametrize("fault", SHORTAGES, ids=repr)
async def test_a_request_that_it_cuts_off_is_told_to_come_again(
    world: World, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(world.workspaces.bundles, "receive", broken)

    answer = await call(world, "POST", BUNDLES)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"


class TestEnds:
    """How an operation ended is known, whenever the store can take it."""

    async def test_one_whose_end_cannot_be_written_shows_it_at_once_and_writes_it_later(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 60
        identifier = OperationId(await begin(world, "one", WEB))
        await world.clock.advance(30)
        world.store.fault = StoreUnavailable("The disk is full.")
        await world.clock.advance(60)
        world.store.fault = None

        told = await operation(world, identifier)
        on_disk = await world.store.operations.get(identifier)
        await world.agent.storage.observe_records()

        assert told["state"] == "failed"
        assert on_disk is not None
        assert on_disk.state == "running"
        written = await world.store.operations.get(identifier)
        assert written is not None
        assert (written.state, written.reason) == ("failed", told["reason"])
        events = await world.store.operations.events(identifier)
        assert events[-1].text == "failed"

    async def test_one_that_was_done_is_not_called_cut_off_by_a_look_at_consistency(
        self, world: World
    ) -> None:
        async with anyio.create_task_group() as group:
            world.compose.stop_seconds = 60
            await deploy(world, "one", PLAIN)
            group.start_soon(call, world, "POST", f"{ENVIRONMENTS}/one/stop", None, WAIT)
            await world.clock.advance(30)
            (running, *_) = (await call(world, "GET", OPERATIONS)).json()["operations"]
            puts = world.store.operations.put_events

            async def refused(*_: object) -> None:
                raise StoreUnavailable("The disk is full.")

            world.store.operations.put_events = refused  # type: ignore[method-assign, assignment]
            await world.clock.advance(60)
            world.store.operations.put_events = puts  # type: ignore[method-assign]

        await world.agent.consistency.look()

        written = await world.store.operations.get(running["id"])
        assert written is not None
        assert written.state == "succeeded"

    async def test_nothing_new_begins_while_ends_wait(self, world: World) -> None:
        world.compose.build_seconds = 60
        identifier = await begin(world, "one", WEB)
        await world.clock.advance(30)
        world.store.fault = StoreUnavailable("The disk is full.")
        await world.clock.advance(60)

        refused = await call(world, "POST", f"{ENVIRONMENTS}/one/stop")
        world.store.fault = None
        await deploy(world, "two", PLAIN)

        assert refused.status_code == 503
        written = await world.store.operations.get(OperationId(identifier))
        assert written is not None
        assert written.state.ended

    async def test_a_deploy_that_could_not_be_undone_is_as_soon_as_can_be(
        self, world: World
    ) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_workers, world.agent)
            world.compose.build_seconds = 60
            await begin(world, "one", WEB)
            await world.clock.advance(30)
            world.store.fault = StoreUnavailable("The disk is full.")
            await world.clock.advance(40)
            world.store.fault = None
            await world.clock.advance(35)

            record = await world.store.environments.get(EnvironmentName("one"))
            assert record is not None
            assert record.state == "failed"
            assert await left_of(world, "one") == []
            group.cancel_scope.cancel()

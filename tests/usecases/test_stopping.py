"""Environments that are to stop: what is told of those that do not."""

from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import msgspec
import pytest

from domain.containers import ContainerState
from domain.environments import EnvironmentState
from domain.errors import StepFailed, StepTimedOut
from domain.names import EnvironmentName
from domain.operations import Step
from domain.ports.compose import OutputLine
from tests.support.agents import World, agent_on_twins
from tests.support.api import OPERATIONS, begin, call, change, deploy, operation, remove, shown
from tests.support.bundles import zip_bundle

pytestmark = pytest.mark.anyio

TWO = zip_bundle({"compose.yaml": "services: {a: {image: busybox}, b: {image: busybox}}"})
OTHER = zip_bundle({"compose.yaml": "services: {c: {image: busybox}}"})
NAME = EnvironmentName("one")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await deploy(world, "one", TWO)
        yield world


async def state(world: World) -> EnvironmentState:
    record = await world.store.environments.get(NAME)
    assert record is not None
    return record.state


async def changed(
    world: World, what: str, then: Callable[[], None] | None = None
) -> httpx.Response:
    """Asks for a change and lets time pass until it has ended."""
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await change(world, "one", what))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await world.clock.advance(0.2)
        if then is not None:
            then()
        await world.clock.advance(10)
    return answers[0]


def running(world: World) -> set[str]:
    return {name for name, container in world.engine.containers.items() if container.running}


class TestStop:
    async def test_one_that_runs_on_fails_the_stop_and_is_named(self, world: World) -> None:
        world.engine.stuck.add("one-b-1")

        answer = await changed(world, "stop")

        assert answer.status_code == 502
        assert answer.json()["type"].endswith("stop-failed")
        assert "Still running: one-b-1." in answer.json()["detail"]

    async def test_why_the_command_failed_is_told_where_it_printed_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(_name: EnvironmentName, _on_line: OutputLine) -> None:
            raise StepFailed(Step.STOP, "the docker command could not be run: no such folder.")

        monkeypatch.setattr(world.compose, "stop", refuse)

        answer = await changed(world, "stop")

        assert answer.json()["type"].endswith("stop-failed")
        assert "could not be run: no such folder." in answer.json()["detail"]

    async def test_one_that_is_listed_as_running_for_a_moment_has_stopped(
        self, world: World
    ) -> None:
        world.engine.stuck.add("one-b-1")

        answer = await changed(world, "stop", then=lambda: world.engine.stop("one-b-1"))

        assert answer.status_code == 200
        assert (await shown(world, "one"))["state"] == "stopped"

    async def test_the_record_says_what_is_true(self, world: World) -> None:
        world.engine.stuck.add("one-b-1")
        await changed(world, "stop")

        view = await shown(world, "one")
        assert view["state"] == "degraded"
        assert "one-b-1" in view["last_error"]

        world.engine.stuck.clear()
        assert (await changed(world, "stop")).status_code == 200
        assert (await shown(world, "one"))["state"] == "stopped"

    @pytest.mark.parametrize("what", [ContainerState.RESTARTING, ContainerState.PAUSED])
    async def test_one_that_restarts_or_is_paused_has_not_stopped(
        self, world: World, what: ContainerState
    ) -> None:
        world.engine.stuck.add("one-b-1")
        container = world.engine.containers["one-b-1"]
        world.engine.containers["one-b-1"] = msgspec.structs.replace(container, state=what)

        assert (await changed(world, "stop")).status_code == 502

    async def test_a_restart_does_not_start_what_has_not_stopped(self, world: World) -> None:
        world.engine.stuck.add("one-b-1")

        answer = await changed(world, "restart")

        assert answer.status_code == 502
        assert running(world) == {"one-b-1"}

    async def test_others_are_not_concerned(self, world: World) -> None:
        await deploy(world, "two", OTHER)
        world.engine.stuck.add("one-b-1")
        await changed(world, "stop")

        assert (await change(world, "two", "stop")).status_code == 200

    async def test_an_engine_that_does_not_say_what_runs_fails_it(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def stop(_name: EnvironmentName, _on_line: OutputLine) -> None:
            world.engine.fault = "is away"

        monkeypatch.setattr(world.compose, "stop", stop)

        assert (await changed(world, "stop")).status_code == 503
        assert await state(world) is EnvironmentState.RUNNING

    @pytest.mark.parametrize(
        ("fault", "status", "detail"),
        [
            (StepFailed(Step.STOP, "status 1.", output=("no exit event",)), 502, "one-b-1"),
            (StepTimedOut(Step.STOP, "it took longer than 120 s."), 504, "one-a-1, one-b-1"),
        ],
        ids=["it fails", "it takes too long"],
    )
    async def test_what_runs_when_compose_gives_up_is_told(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        fault: StepFailed,
        status: int,
        detail: str,
    ) -> None:
        async def stop(_name: EnvironmentName, _on_line: OutputLine) -> None:
            raise fault

        monkeypatch.setattr(world.compose, "stop", stop)

        answer = await changed(world, "stop")

        assert answer.status_code == status
        assert detail in answer.json()["detail"]
        assert "\n".join(fault.output) in answer.json()["detail"]
        assert await state(world) is EnvironmentState.RUNNING


class TestReplacing:
    """An environment that is to make room for another of its name."""

    async def test_one_that_does_not_stop_is_kept_and_runs_again(self, world: World) -> None:
        before = {name: c.id for name, c in world.engine.containers.items()}
        world.engine.stuck.add("one-b-1")

        identifier = await begin(world, "one", OTHER)
        await world.clock.advance(10)

        failed = await operation(world, identifier)
        assert (failed["state"], failed["step"]) == ("failed", "stop")
        assert "one-b-1" in failed["reason"]
        assert "earlier environment of this name was kept" in failed["reason"]
        assert {name: c.id for name, c in world.engine.containers.items()} == before
        assert running(world) == set(before)
        assert (await shown(world, "one"))["state"] == "running"

    async def test_one_that_was_stopped_before_stays_so(self, world: World) -> None:
        await changed(world, "stop")
        world.engine.stuck.add("one-b-1")
        world.engine.start(world.engine.containers["one-b-1"].id)

        await begin(world, "one", OTHER)
        await world.clock.advance(10)

        assert running(world) == {"one-b-1"}

    async def test_one_whose_stop_is_cut_off_runs_again(self, world: World) -> None:
        world.compose.stop_seconds = 60
        identifier = await begin(world, "one", OTHER)

        async with anyio.create_task_group() as group:
            group.start_soon(call, world, "DELETE", f"{OPERATIONS}/{identifier}")
            await world.clock.advance(1)
            # The Engine goes on stopping what it was told to, though nobody waits for it.
            world.engine.stop("one-a-1")
            await world.clock.advance(10)

        assert (await operation(world, identifier))["state"] == "cancelled"
        assert running(world) == {"one-a-1", "one-b-1"}
        assert (await shown(world, "one"))["state"] == "running"


class TestRemoval:
    async def test_one_that_is_stuck_leaves_the_record_and_goes_in_the_end(
        self, world: World
    ) -> None:
        world.engine.stuck.add("one-b-1")

        refused = await remove(world, "one")

        assert refused.status_code == 503
        assert "one-b-1" in refused.json()["detail"]
        assert set(world.engine.containers) == {"one-b-1"}

        world.engine.stuck.clear()
        assert (await remove(world, "one")).status_code in {200, 204}
        assert world.engine.containers == {}

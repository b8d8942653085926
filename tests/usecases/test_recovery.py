"""What a new start makes of what an earlier agent left, killed or retired."""

from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest

from domain.consistency import DifferenceKind
from domain.containers import ERASER_LABEL, HELPER_LABEL, ContainerState
from domain.environments import EnvironmentState
from domain.errors import EngineRefused
from domain.moments import microseconds
from domain.names import EnvironmentName, OperationId
from domain.operations import (
    BY_AGENT,
    BY_MANAGER,
    Asked,
    Operation,
    OperationKind,
    OperationState,
)
from tests.http.test_contract import LAB, NAME, nothing_of
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.bundles import zip_bundle

pytestmark = pytest.mark.anyio

LAB_NAME = EnvironmentName(NAME)
OTHER = zip_bundle({"compose.yaml": "services: {solo: {image: busybox}}"})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def state(world: World) -> EnvironmentState | None:
    record = await world.store.environments.get(LAB_NAME)
    return record.state if record is not None else None


def unended(kind: OperationKind, at: OperationState, world: World) -> Operation:
    return Operation(
        id=OperationId("op-cut-off"),
        kind=kind,
        environment=LAB_NAME,
        state=at,
        # After all that was asked for so far.
        number=microseconds(world.clock.now()) + 1000,
        requested_at=world.clock.now(),
    )


async def test_what_runs_is_left_untouched(world: World) -> None:
    await world.launch(NAME, LAB)
    before = dict(world.engine.containers)

    async with agent_on_twins(outside=world) as after:
        assert before == after.engine.containers
        assert await state(after) is EnvironmentState.RUNNING


async def test_what_changed_meanwhile_is_written_down(world: World) -> None:
    await world.launch(NAME, LAB)
    world.engine.stop(f"{NAME}-db-1")

    async with agent_on_twins(outside=world) as after:
        assert await state(after) is EnvironmentState.DEGRADED


@pytest.mark.parametrize("kind", [OperationKind.DELETE, OperationKind.REBUILD])
async def test_a_removal_or_rebuild_that_was_cut_off_is_finished(
    world: World, kind: OperationKind
) -> None:
    await world.launch(NAME, LAB)
    earlier = {c.id for c in world.engine.containers.values()}
    await world.store.operations.put(unended(kind, OperationState.RUNNING, world))

    async with agent_on_twins(outside=world) as after:
        await after.clock.advance(30)
        operation = await after.store.operations.get(OperationId("op-cut-off"))
        assert operation is not None
        assert operation.state is OperationState.INTERRUPTED
        if kind is OperationKind.DELETE:
            assert nothing_of(after, NAME)
            assert await state(after) is None
        else:
            assert earlier.isdisjoint({c.id for c in after.engine.containers.values()})


@pytest.mark.parametrize(
    ("began", "end"), [(True, OperationState.SUCCEEDED), (False, OperationState.INTERRUPTED)]
)
async def test_a_removal_that_had_removed_all_has_succeeded(
    world: World, began: bool, end: OperationState
) -> None:
    removal = unended(OperationKind.DELETE, OperationState.QUEUED, world)
    if began:
        removal = msgspec.structs.replace(
            removal, state=OperationState.RUNNING, started_at=world.clock.now()
        )
    await world.store.operations.put(removal)

    async with agent_on_twins(outside=world) as after:
        await after.clock.advance(30)
        found = await after.store.operations.get(removal.id)

    assert found is not None
    assert found.state is end


@pytest.mark.parametrize(("asked", "again"), [(BY_AGENT, True), (BY_MANAGER, False)])
async def test_only_what_the_agent_took_up_itself_is_finished_though_it_had_not_begun(
    world: World, asked: Asked, again: bool
) -> None:
    await world.launch(NAME, LAB)
    earlier = {c.id for c in world.engine.containers.values()}
    waiting = unended(OperationKind.RESET, OperationState.QUEUED, world)
    await world.store.operations.put(msgspec.structs.replace(waiting, asked=asked))

    async with agent_on_twins(outside=world) as after:
        await after.clock.advance(30)
        found = {c.id for c in after.engine.containers.values()}
        assert earlier.isdisjoint(found) is again


@pytest.mark.parametrize(
    ("began", "stands"), [(True, True), (False, False)], ids=["began", "waited"]
)
async def test_a_removal_whose_end_was_not_written_down_takes_nothing_that_came_after_it(
    world: World, began: bool, stands: bool
) -> None:
    removal = unended(OperationKind.DELETE, OperationState.RUNNING, world)
    await world.store.operations.put(msgspec.structs.replace(removal, number=1))
    await world.launch(NAME, LAB)
    (deploy,) = (o for o in await world.store.operations.latest(NAME, 9) if o.id != removal.id)
    if not began:
        later = msgspec.structs.replace(deploy, started_at=None, state=OperationState.INTERRUPTED)
        await world.store.operations.put(later)

    async with agent_on_twins(outside=world) as after:
        await after.clock.advance(30)

        assert (await state(after) is EnvironmentState.RUNNING) is stands
        ended = await after.store.operations.get(removal.id)
        assert ended is not None
        assert ended.state is OperationState.INTERRUPTED


async def test_a_first_deploy_that_was_cut_off_is_undone(world: World) -> None:
    operation = unended(OperationKind.DEPLOY, OperationState.RUNNING, world)
    await world.launch(NAME, LAB)
    record = await world.store.environments.get(LAB_NAME)
    assert record is not None
    await world.store.operations.put(operation)
    world.workspaces.previous[operation.id] = None
    await world.store.environments.put(
        record.becoming(EnvironmentState.DEPLOYING, at=record.updated_at, operation=operation.id)
    )

    async with agent_on_twins(outside=world) as after:
        assert nothing_of(after, NAME)
        assert await state(after) is EnvironmentState.FAILED


async def test_recovery_waits_for_the_engine_and_then_does_its_work(world: World) -> None:
    await world.launch(NAME, LAB)
    await world.store.operations.put(unended(OperationKind.DELETE, OperationState.RUNNING, world))
    world.engine.fault = "is away"

    async with agent_on_twins(outside=world, ready=False) as after:
        async with anyio.create_task_group() as group:
            group.start_soon(after.agent.recovery.run)
            await after.clock.advance(20)
            assert (await after.http.get("/ready")).status_code == 503
            assert (await after.launch("other", OTHER)).status_code == 503
            after.engine.fault = ""
            await after.clock.advance(20)
        await after.clock.advance(10)

        assert nothing_of(after, NAME)
        assert (await after.http.get("/ready")).status_code == 200


async def test_files_that_cannot_be_removed_do_not_keep_the_agent_closed(world: World) -> None:
    world.workspaces.stuck.add("gone-lab")

    async with agent_on_twins(outside=world) as after:
        assert (await after.http.get("/ready")).status_code == 200
        assert set(after.engine.erased) == {"/removed/gone-lab"}
        (stuck,) = after.agent.consistency.report.differences
        assert (stuck.kind, "gone-lab" in stuck.detail) == (DifferenceKind.STUCK_FILES, True)
        assert after.log.named("old files not removed")


async def test_what_was_erasing_when_the_agent_was_killed_is_ended(world: World) -> None:
    eraser = world.engine.run("eraser")
    marked = msgspec.structs.replace(eraser, labels={ERASER_LABEL: "agent"})
    world.engine.containers["eraser"] = marked
    world.engine.run("somebody-elses")

    async with agent_on_twins(outside=world) as after:
        assert set(after.engine.containers) == {"somebody-elses"}
        assert after.log.named("erasers of a killed agent ended")


async def test_what_was_restoring_when_the_agent_was_killed_is_ended(world: World) -> None:
    helper = world.engine.run("helper")
    marked = msgspec.structs.replace(helper, labels={HELPER_LABEL: "agent"})
    world.engine.containers["helper"] = marked
    world.engine.run("somebody-elses")

    async with agent_on_twins(outside=world) as after:
        assert set(after.engine.containers) == {"somebody-elses"}
        assert after.log.named("restores that were cut off ended")


async def test_secrets_that_were_being_written_when_the_agent_was_killed_go(world: World) -> None:
    world.credentials.half_written = True

    async with agent_on_twins(outside=world) as after:
        assert not after.credentials.half_written


async def test_restores_that_cannot_be_ended_do_not_keep_the_agent_closed(world: World) -> None:
    async def refuse(request: str, change: object) -> None:
        if request == "list helpers":
            raise EngineRefused("It does not list them.")

    world.engine.watch = refuse

    async with agent_on_twins(outside=world) as after:
        assert (await after.http.get("/ready")).status_code == 200
        assert after.log.named("restores that were cut off not ended")


class TestTakingOver:
    """A host on which another agent worked before."""

    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        async with agent_on_twins(ready=False) as world:
            compose_file = b"services: {web: {image: busybox}}"
            for name in ("taken", "not-running"):
                world.workspaces.standing[EnvironmentName(name)] = {("compose.yaml",): compose_file}
            world.engine.run("taken-web-1", project="taken")
            world.engine.run("foreign-web-1", project="foreign")
            await world.agent.recovery.run()
            yield world

    async def test_folder_and_running_project_together_are_taken_over(self, world: World) -> None:
        (record,) = await world.store.environments.list()

        assert (record.name, record.adopted) == ("taken", True)
        assert record.state is EnvironmentState.RUNNING

    async def test_it_is_listed_and_untouched(self, world: World) -> None:
        rows = (await world.http.get("/agent/containers", headers=KEY)).json()

        assert [row["name"] for row in rows] == ["foreign-web-1", "taken-web-1"]
        assert world.engine.containers["taken-web-1"].state is ContainerState.RUNNING

    async def test_it_can_be_restarted_and_removed(self, world: World) -> None:
        restarted = await world.http.post("/agent/containers/taken/restart", headers=KEY)
        removed = await world.http.delete("/agent/containers/taken", headers=KEY)

        assert [restarted.status_code, removed.status_code] == [200, 200]
        assert set(world.engine.containers) == {"foreign-web-1"}
        assert EnvironmentName("taken") not in world.workspaces.standing

    @pytest.mark.parametrize("name", ["foreign", "not-running"])
    async def test_what_is_only_half_of_one_is_nobody(self, world: World, name: str) -> None:
        removed = await world.http.delete(f"/agent/containers/{name}", headers=KEY)

        assert removed.status_code == 404
        assert "foreign-web-1" in world.engine.containers
        assert EnvironmentName("not-running") in world.workspaces.standing

"""Records, Engine and disk are compared, and what differs is healed or told."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest

from adapters.memory.store import MemoryStore
from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.containers import ERASER_LABEL, PROJECT_LABEL, REPLACES_LABEL
from domain.environments import Environment, EnvironmentState
from domain.errors import StoreUnavailable
from domain.images import BUILD_PROJECT
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import Operation, OperationKind, OperationState
from domain.usecases.consistency import AGAIN_SECONDS, PAUSE_SECONDS
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import (
    ENVIRONMENTS,
    OTHER,
    WAIT,
    WEB,
    begin,
    call,
    change,
    deploy,
    image_tags,
    lab,
    left_of,
    model_of,
    operation,
    remove,
    shown,
    upload,
)

pytestmark = pytest.mark.anyio

ONE = EnvironmentName("one")
TWO_SERVICES = lab(
    "services: {web: {build: .}, db: {image: 'db:1', volumes: ['data:/d']}}\nvolumes: {data: {}}",
    Dockerfile="FROM busybox\nRUN true\n",
)
PATH = "/api/v1/system/consistency"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def look(world: World) -> dict[str, Any]:
    """What a look of this moment finds."""
    answer = await call(world, "GET", f"{PATH}?fresh=true")
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def kinds(world: World) -> dict[str, str]:
    """Kind → subject of the differences that a look finds."""
    return {d["kind"]: d["subject"] for d in (await look(world))["differences"]}


def healed(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and subject of what was healed last, newest first."""
    return [(entry["kind"], entry["subject"]) for entry in report["healed"]]


async def record(world: World, name: EnvironmentName = ONE) -> Environment:
    found = await world.store.environments.get(name)
    assert found is not None
    return found


class TestInOrder:
    """A host on which nothing is the matter."""

    async def test_all_agree_after_any_change(self, world: World) -> None:
        await deploy(world, "one", TWO_SERVICES)
        for what in ("stop", "start", "restart", "rebuild", "reset"):
            await change(world, "one", what)
            assert await look(world) == {
                **(await look(world)),
                "consistent": True,
                "differences": [],
                "healed": [],
            }
        await remove(world, "one")

        assert (await look(world))["consistent"]

    async def test_the_last_report_is_at_hand_without_a_look(self, world: World) -> None:
        earlier = (await call(world, "GET", PATH)).json()
        await world.clock.advance(5)

        assert earlier["checked_at"] is not None
        assert (await call(world, "GET", PATH)).json() == earlier
        assert (await look(world))["checked_at"] > earlier["checked_at"]

    async def test_only_who_has_the_key_is_told(self, world: World) -> None:
        assert (await world.http.get(PATH)).status_code == 401

    async def test_changes_that_go_on_are_left_alone(self, world: World) -> None:
        world.compose.build_seconds = 5
        identifier = await begin(world, "one", WEB)

        assert await kinds(world) == {}

        await world.clock.advance(10)
        assert (await operation(world, identifier))["state"] == "succeeded"

    async def test_a_look_waits_for_nobody_and_changes_wait_for_it(self, world: World) -> None:
        await deploy(world, "one", WEB)
        async with world.agent.operations.alone(ONE) as alone:
            assert alone
            answer = await call(world, "POST", f"{ENVIRONMENTS}/one/stop")
            await world.clock.advance(0)
            identifier = answer.json()["id"]
            assert (await operation(world, identifier))["state"] == "queued"

        await world.clock.advance(1)
        assert (await operation(world, identifier))["state"] == "succeeded"


class TestHealing:
    """What the agent brings in order by itself."""

    async def test_a_deploy_that_could_not_be_undone(self, world: World) -> None:
        world.compose.build_seconds = 5
        identifier = await begin(world, "one", WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        assert (await operation(world, identifier))["state"] == "failed"
        world.engine.fault = ""

        report = await look(world)

        assert healed(report) == [("deploy-not-undone", "one")]
        assert (await shown(world, "one"))["state"] == "failed"
        assert await left_of(world, "one") == []
        assert await image_tags(world) == set()

    async def test_a_replacement_that_could_not_be_undone(self, world: World) -> None:
        await deploy(world, "one", WEB, labels={"a": "b"})
        world.compose.stop_seconds = 5
        await begin(world, "one", OTHER)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        world.engine.fault = ""

        async with anyio.create_task_group() as group:
            group.start_soon(look, world)
            # The Engine may still be stopping what it was asked to stop.
            await world.clock.advance(30)

        view = await shown(world, "one")
        assert (view["state"], view["labels"]) == ("running", {"a": "b"})
        assert (await look(world))["consistent"]

    async def test_a_removal_that_was_cut_off(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.compose.stop_seconds = 5
        await call(world, "DELETE", f"{ENVIRONMENTS}/one")
        await world.clock.advance(1)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        assert (await record(world)).state is EnvironmentState.DELETING
        world.engine.fault = ""

        report = await look(world)
        await world.clock.advance(10)

        assert healed(report) == [("removal-not-finished", "one")]
        assert await world.store.environments.get(ONE) is None
        assert await left_of(world, "one") == []

    async def test_what_comes_late_of_a_deploy_that_failed(self, world: World) -> None:
        await deploy(world, "one", lab("services: {solo: {image: missing/image}}"))
        own = {ENVIRONMENT_LABEL: "one", WORKSPACE_LABEL: "/standing", PROJECT_LABEL: "one"}
        late = world.engine.run("one-solo-1", project="one")
        world.engine.containers["one-solo-1"] = msgspec.structs.replace(late, labels=own)

        report = await look(world)

        assert healed(report) == [("deploy-not-undone", "one")]
        assert await left_of(world, "one") == []

    async def test_somebody_elses_containers_under_a_failed_name_stay(self, world: World) -> None:
        await deploy(world, "one", lab("services: {solo: {image: missing/image}}"))
        world.engine.run("one-theirs-1", project="one")

        assert healed(await look(world)) == []
        assert "one-theirs-1" in world.engine.containers

    async def test_a_record_of_an_operation_that_nobody_is_at(self, world: World) -> None:
        lost = Operation(
            id=OperationId("op-lost"),
            kind=OperationKind.STOP,
            environment=ONE,
            state=OperationState.QUEUED,
            requested_at=world.clock.now(),
        )
        await world.store.operations.put(lost)

        assert healed(await look(world)) == [("operation-open", "op-lost")]
        assert (await operation(world, "op-lost"))["state"] == "interrupted"

    async def test_files_that_an_operation_left_staged(self, world: World) -> None:
        world.workspaces.staged[OperationId("op-old")] = {("compose.yaml",): b"services: {}"}

        assert healed(await look(world)) == [("staged-files", "op-old")]
        assert world.workspaces.staged == {}

    async def test_a_model_whose_environment_is_gone(self, world: World) -> None:
        world.workspaces.models["/models/gone"] = {"services": {}}

        assert (await look(world))["consistent"]
        assert world.workspaces.models == {}

    async def test_a_record_of_a_bundle_whose_archive_is_gone(self, world: World) -> None:
        digest = await upload(world, WEB)
        world.workspaces.bundles.library.clear()
        await world.clock.advance(100)

        assert healed(await look(world)) == [("bundle-gone", digest)]
        assert await world.store.bundles.list() == []

    async def test_an_archive_that_is_damaged_goes(self, world: World) -> None:
        digest = BundleDigest(f"sha256:{'0' * 64}")
        world.workspaces.bundles.library[digest] = b"no archive"

        assert healed(await look(world)) == [("bundle-gone", digest)]
        assert world.workspaces.bundles.library == {}

    async def test_a_record_of_an_image_that_somebody_removed(self, world: World) -> None:
        await deploy(world, "one", WEB)
        (tag,) = await image_tags(world)
        await remove(world, "one")
        del world.engine.tags[tag]

        assert healed(await look(world)) == [("image-gone", tag)]
        assert await image_tags(world) == set()

    async def test_what_was_healed_is_told_newest_first_and_in_the_log(self, world: World) -> None:
        for name in ("op-1", "op-2"):
            world.workspaces.staged[OperationId(name)] = {}
            await look(world)

        assert healed(await look(world)) == [("staged-files", "op-2"), ("staged-files", "op-1")]
        assert len(world.log.named("difference healed")) == 2


class TestTelling:
    """What the agent cannot know how to bring in order."""

    async def test_containers_that_somebody_removed(self, world: World) -> None:
        await deploy(world, "one", TWO_SERVICES)
        world.engine.remove("one-db-1")

        assert await kinds(world) == {"containers-missing": "one"}
        view = await shown(world, "one")
        assert view["state"] == "degraded"
        assert "db: containers are missing." in view["reason"]

        await change(world, "one", "start")
        assert await kinds(world) == {}
        assert (await shown(world, "one"))["state"] == "running"

    async def test_nothing_is_made_of_what_lies_in_the_place_of_the_workspace(
        self, world: World
    ) -> None:
        digest = await upload(world, WEB)
        await deploy(world, "one", WEB)
        before, earlier = await record(world), (await call(world, "GET", PATH)).json()
        world.workspaces.fault = "Its disk is not mounted."
        standing, world.workspaces.standing = world.workspaces.standing, {}

        answer = await call(world, "GET", f"{PATH}?fresh=true")

        assert answer.status_code == 503
        assert "Its disk is not mounted." in answer.json()["detail"]
        assert await record(world) == before
        assert await world.store.bundles.get(BundleDigest(digest)) is not None
        assert (await call(world, "GET", PATH)).json() == earlier
        world.workspaces.fault, world.workspaces.standing = "", standing
        assert await kinds(world) == {}

    async def test_an_engine_that_has_lost_all(self, world: World) -> None:
        await deploy(world, "one", TWO_SERVICES)
        for held in (world.engine.tags, world.engine.networks, world.engine.containers):
            held.clear()

        differences = (await look(world))["differences"]

        assert [d["kind"] for d in differences] == ["containers-missing", "images-missing"]
        assert all("/environments/one/rebuild" in d["hint"] for d in differences)
        await change(world, "one", "rebuild")
        assert await kinds(world) == {}

    @pytest.mark.parametrize(("name", "network"), [("one", "one_default"), ("a_b", "a_b.default")])
    async def test_networks_that_somebody_removed(
        self, world: World, name: str, network: str
    ) -> None:
        await deploy(world, name, TWO_SERVICES)
        assert await kinds(world) == {}
        del world.engine.networks[network]

        (difference,) = (await look(world))["differences"]

        assert (difference["kind"], difference["subject"]) == ("networks-missing", name)
        assert network in difference["detail"]
        await change(world, name, "rebuild")
        assert await kinds(world) == {}

    async def test_images_that_somebody_removed(self, world: World) -> None:
        await deploy(world, "one", WEB)
        (tag,) = await image_tags(world)
        del world.engine.tags[tag]

        assert await kinds(world) == {"images-missing": "one"}

        await change(world, "one", "rebuild")
        assert await kinds(world) == {}
        # The record of the one that is gone went, as nothing names it any more.
        assert await image_tags(world) == set(world.engine.tags)

    async def test_a_folder_that_somebody_removed(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.workspaces.standing.clear()

        assert await kinds(world) == {"folder-missing": "one"}

        await remove(world, "one")
        assert await kinds(world) == {}

    async def test_a_model_that_somebody_removed(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.workspaces.models.clear()

        assert await kinds(world) == {"model-missing": "one"}

    @pytest.mark.parametrize("what", ["start", "restart", "rebuild", "reset"])
    async def test_without_its_model_nothing_of_it_is_made_from_its_compose_file(
        self, world: World, what: str
    ) -> None:
        await deploy(world, "one", TWO_SERVICES)
        world.workspaces.models.clear()

        refused = await change(world, "one", what)

        assert refused.status_code == 422
        assert "The model that environment 'one' runs is gone." in refused.json()["detail"]
        assert {c.name for c in world.engine.containers.values() if c.running} == {
            "one-web-1",
            "one-db-1",
        }
        assert await kinds(world) == {"model-missing": "one"}
        await remove(world, "one")
        assert await kinds(world) == {}

    async def test_what_bears_the_agents_labels_and_has_no_record(self, world: World) -> None:
        await deploy(world, "one", TWO_SERVICES)
        await world.store.environments.remove(ONE)
        world.workspaces.standing.clear()
        world.workspaces.models.clear()

        report = await look(world)

        (difference,) = report["differences"]
        assert (difference["kind"], difference["subject"]) == ("left-over", "one")
        for name in ("container one-db-1", "network one_default", "volume one_data"):
            assert name in difference["detail"]
        assert "docker compose --project-name one down --volumes" in difference["hint"]
        assert set(world.engine.of_project("one")) == {"one-web-1", "one-db-1"}

    async def test_what_another_agent_on_the_engine_made_is_none_of_ours(
        self, world: World
    ) -> None:
        theirs = world.engine.run("x-web-1", project="x")
        labels = {ENVIRONMENT_LABEL: "x", WORKSPACE_LABEL: "/elsewhere"}
        world.engine.containers["x-web-1"] = msgspec.structs.replace(theirs, labels=labels)
        world.engine.networks["x_default"] = "x"
        world.engine.labels["x_default"] = labels

        assert (await look(world))["consistent"]

    async def test_labels_that_an_images_author_wrote_put_nothing_into_a_command(
        self, world: World
    ) -> None:
        theirs = world.engine.run("x")
        labels = {ENVIRONMENT_LABEL: "x; reboot", WORKSPACE_LABEL: "/standing"}
        world.engine.containers["x"] = msgspec.structs.replace(theirs, labels=labels)

        assert await kinds(world) == {}

    async def test_a_folder_that_is_no_environments(self, world: World) -> None:
        world.workspaces.standing[EnvironmentName("old")] = {
            ("compose.yaml",): b"services: {web: {image: x}}"
        }

        assert await kinds(world) == {"unknown-folder": "old"}
        assert EnvironmentName("old") in world.workspaces.standing
        assert (await world.http.get("/health")).json()["status"] == "ok"

    async def test_files_that_cannot_be_removed(self, world: World) -> None:
        world.workspaces.stuck.add("gone-lab")

        assert await kinds(world) == {"stuck-files": "removed files"}

    async def test_a_deploy_that_still_cannot_be_undone(self, world: World) -> None:
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        world.engine.fault = ""
        world.workspaces.fault_on_roll_back = "is read-only"

        assert await kinds(world) == {"deploy-not-undone": "one"}

        world.workspaces.fault_on_roll_back = ""
        assert await kinds(world) == {}

    async def test_it_is_told_in_health_once_in_the_log_and_since_when(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.workspaces.standing.clear()
        first = (await look(world))["differences"][0]["since"]
        await world.clock.advance(60)

        (difference,) = (await look(world))["differences"]
        health = (await world.http.get("/health")).json()

        assert difference["since"] == first
        assert health["status"] == "degraded"
        assert "differ in 1 " in health["reasons"][0]
        assert "one" not in health["reasons"][0].replace("environment", "")
        assert len(world.log.named("difference found")) == 1

    async def test_that_it_is_gone_is_told_too(self, world: World) -> None:
        world.workspaces.stuck.add("gone-lab")
        await look(world)
        world.workspaces.stuck.clear()

        assert (await look(world))["consistent"]
        assert (await world.http.get("/health")).json()["status"] == "ok"
        assert len(world.log.named("difference gone")) == 1


class TestLostRecords:
    """A store that was lost, with environments that stand."""

    async def test_records_are_made_anew_as_they_were(self, world: World) -> None:
        await deploy(world, "one", TWO_SERVICES, labels={"a": "b"}, ttl="2h", limits={"cpus": 0.5})
        await call(
            world, "PATCH", f"{ENVIRONMENTS}/one", {"hold": {"owner": "jana", "reason": "exam"}}
        )
        before = await record(world)

        async with agent_on_twins(outside=_without_records(world)) as after:
            found = await record(after)
            assert found == msgspec.structs.replace(
                before, operation=None, updated_at=found.updated_at
            )
            assert ("environment-not-recorded", "one") in healed(await look(after))
            assert (await look(after))["consistent"]

    async def test_they_can_be_changed_and_removed_without_a_trace(self, world: World) -> None:
        await deploy(world, "one", TWO_SERVICES)

        async with agent_on_twins(outside=_without_records(world)) as after:
            for what in ("stop", "start", "rebuild", "reset"):
                assert (await change(after, "one", what)).status_code == 200
            assert (await remove(after, "one")).status_code == 200
            assert await left_of(after, "one") == []

    async def test_images_and_bundles_are_known_again(self, world: World) -> None:
        await deploy(world, "one", WEB)
        digests, tags = await world.store.bundles.list(), await image_tags(world)

        async with agent_on_twins(outside=_without_records(world)) as after:
            assert await image_tags(after) == tags
            assert [b.digest for b in await after.store.bundles.list()] == [
                b.digest for b in digests
            ]

    async def test_an_own_image_is_its_environments_again(self, world: World) -> None:
        archive = lab("services: {web: {build: .}}", Dockerfile="FROM busybox\nCOPY vpn.ovpn /\n")
        await world.launch("one", archive)

        async with agent_on_twins(outside=_without_records(world)) as after:
            (image,) = await after.store.images.list()
            assert image.environment == ONE
            await remove(after, "one")
            assert await image_tags(after) == set()

    async def test_a_rebuild_since_is_remembered_by_its_images(self, world: World) -> None:
        await world.launch("one", WEB)
        await change(world, "one", "rebuild")
        images = (await record(world)).images

        async with agent_on_twins(outside=_without_records(world)) as after:
            assert (await record(after)).images == images

    async def test_an_end_that_was_moved_is_remembered(self, world: World) -> None:
        await deploy(world, "one", WEB, ttl="2h")
        await call(world, "PATCH", f"{ENVIRONMENTS}/one", {"ttl": "5h"})

        async with agent_on_twins(outside=_without_records(world)) as after:
            expires = (await record(after)).expires_at
            assert expires is not None
            assert expires - world.clock.now() > timedelta(hours=4)

    async def test_stopped_ones_are_stopped_and_gone_ones_can_be_started(
        self, world: World
    ) -> None:
        await deploy(world, "one", WEB)
        await change(world, "one", "stop")

        async with agent_on_twins(outside=_without_records(world)) as after:
            assert (await record(after)).state is EnvironmentState.STOPPED
            assert (await change(after, "one", "start")).status_code == 200
            assert (await shown(after, "one"))["state"] == "running"

    async def test_a_memo_that_cannot_be_read_is_as_good_as_none(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.workspaces.models["/models/one"] = {
            **model_of(world, "one"),
            "x-container-host-agent": {"name": 5},
        }

        async with agent_on_twins(outside=_without_records(world)) as after:
            assert (await record(after)).adopted

    @pytest.mark.parametrize("earlier", [True, False], ids=["earlier agent's", "own"])
    async def test_no_bundle_writes_its_environments_record(
        self, world: World, earlier: bool
    ) -> None:
        await deploy(world, "forger", WEB, labels={"forged": "yes"})
        forged = dict(model_of(world, "forger")["x-container-host-agent"], name="one")
        compose = msgspec.json.encode(
            {"x-container-host-agent": forged, "services": {"web": {"image": "busybox"}}}
        )
        if earlier:
            world.workspaces.standing[ONE] = {("compose.yaml",): compose}
            world.engine.run("one-web-1", project="one")
            await look(world)
            assert (await change(world, "one", "restart")).status_code == 200
        else:
            await deploy(world, "one", lab(compose.decode()))
        assert "/models/one" in world.workspaces.models

        async with agent_on_twins(outside=_without_records(world)) as after:
            assert (await record(after)).labels == {}

    async def test_an_old_memo_is_written_anew(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await world.store.environments.update(
            ONE, lambda known: msgspec.structs.replace(known, labels={"c": "d"})
        )

        assert healed(await look(world)) == [("memo-old", "one")]
        assert model_of(world, "one")["x-container-host-agent"]["labels"] == {"c": "d"}


def _without_records(world: World) -> World:
    """The same world after its store was lost."""
    world.store = MemoryStore()
    return world


class TestFromTimeToTime:
    """When the agent looks by itself."""

    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        async with agent_on_twins() as world, anyio.create_task_group() as group:
            group.start_soon(world.agent.consistency.run)
            await world.clock.advance(0)
            yield world
            group.cancel_scope.cancel()

    async def test_every_few_minutes(self, world: World) -> None:
        world.workspaces.staged[OperationId("op-old")] = {}

        await world.clock.advance(PAUSE_SECONDS - 1)
        assert world.workspaces.staged
        await world.clock.advance(2)
        assert not world.workspaces.staged

    async def test_as_soon_as_the_engine_is_back(self, world: World) -> None:
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        with pytest.raises(Exception, match="is away"):
            await world.agent.inventory.refresh()
        world.engine.fault = ""
        await world.agent.inventory.refresh()

        await world.clock.advance(0)

        assert (await shown(world, "one"))["state"] == "failed"

    async def test_again_soon_after_a_look_that_failed(self, world: World) -> None:
        world.store.fault = StoreUnavailable("The disk is full.")
        await world.clock.advance(PAUSE_SECONDS)
        world.store.fault = None
        world.workspaces.staged[OperationId("op-old")] = {}
        assert len(world.log.named("look at consistency not finished")) == 1

        await world.clock.advance(AGAIN_SECONDS + 1)

        assert not world.workspaces.staged

    async def test_a_look_that_fails_for_long_is_told_once(self, world: World) -> None:
        for _ in range(2):
            world.store.fault = StoreUnavailable("The disk is full.")
            await world.clock.advance(PAUSE_SECONDS + 20 * AGAIN_SECONDS)
            world.store.fault = None
            await world.clock.advance(2 * AGAIN_SECONDS)

        assert len(world.log.named("look at consistency not finished")) == 2

    async def test_soon_after_a_build_that_the_engine_may_finish_late(self, world: World) -> None:
        world.compose.build_seconds = 5
        cut_off = await begin(world, "one", WEB)
        await call(world, "DELETE", f"/api/v1/operations/{cut_off}", headers=WAIT)
        ended = await world.store.operations.get(OperationId(cut_off))
        assert ended is not None
        (tag,) = ended.builds
        assert await image_tags(world) == set()

        own = {WORKSPACE_LABEL: world.workspaces.root}
        world.engine.keep_image("sha256:late", BUILD_PROJECT, "web", own)
        world.engine.tag("sha256:late", tag)
        await world.clock.advance(AGAIN_SECONDS + 1)

        assert await image_tags(world) == {tag}

    async def test_soon_after_records_were_damaged_and_begun_anew(self, world: World) -> None:
        await deploy(world, "one", WEB)
        before = await shown(world, "one")
        world.store.damage()
        assert (await call(world, "GET", f"{ENVIRONMENTS}/one")).status_code == 503

        await world.agent.storage.observe_records()
        await world.clock.advance(AGAIN_SECONDS + 1)

        after = await shown(world, "one")
        assert (after["state"], after["created_at"]) == ("running", before["created_at"])
        assert (await world.http.get("/health")).json()["store"]["state"] == "up"
        assert (await remove(world, "one")).status_code == 200

    async def test_not_while_the_agent_ends(self, world: World) -> None:
        await world.agent.operations.close(0)
        world.workspaces.staged[OperationId("op-old")] = {}

        await world.clock.advance(2 * PAUSE_SECONDS)

        assert world.workspaces.staged

    async def test_a_metric_counts_what_differs(self, world: World) -> None:
        world.workspaces.stuck.add("gone-lab")
        await look(world)

        text = (await world.http.get("/metrics", headers=KEY)).text

        assert "host_agent_consistency_differences 1.0" in text
        assert "host_agent_consistency_checked_timestamp_seconds 1.76" in text
        assert "host_agent_consistency_healed_total 0.0" in text


async def test_containers_that_were_being_made_anew_when_that_was_cut_off_are_brought_in_order(
    world: World,
) -> None:
    await deploy(world, "one", WEB)
    earlier = world.engine.containers["one-web-1"]
    world.engine.containers["0123456789ab_one-web-1"] = msgspec.structs.replace(
        earlier,
        id=world.engine.new_id(),
        name="0123456789ab_one-web-1",
        labels={**earlier.labels, REPLACES_LABEL: earlier.id},
    )

    report = await look(world)

    assert healed(report) == [("half-replaced", "one")]
    assert report["differences"] == []
    assert world.engine.containers == {"one-web-1": earlier}


@pytest.mark.parametrize("what", ["start", "restart", "rebuild"])
async def test_a_change_does_not_stumble_over_an_earlier_one_that_was_cut_off(
    world: World, what: str
) -> None:
    await deploy(world, "one", WEB)
    earlier = world.engine.containers.pop("one-web-1")
    name = f"{earlier.id[:12]}_one-web-1"
    world.engine.containers[name] = msgspec.structs.replace(
        earlier, name=name, labels={**earlier.labels, REPLACES_LABEL: earlier.id}
    )

    assert (await change(world, "one", what)).status_code == 200
    assert set(world.engine.containers) == {"one-web-1"}
    assert (await shown(world, "one"))["state"] == "running"


async def test_what_was_erasing_when_the_engine_went_away_is_ended(world: World) -> None:
    eraser = world.engine.run("eraser")
    marked = msgspec.structs.replace(eraser, labels={ERASER_LABEL: "agent"})
    world.engine.containers["eraser"] = marked

    await look(world)

    assert "eraser" not in world.engine.containers

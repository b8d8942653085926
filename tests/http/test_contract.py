"""The manager's calls, as the deployed manager makes them."""

import json
from collections.abc import AsyncIterator

import anyio
import pytest

from domain.bundles import VPN_PROFILE_NAME
from domain.environments import EnvironmentState
from domain.names import EnvironmentName
from tests.support.agents import KEY, World, agent_on_twins, launch_body
from tests.support.bundles import hostile, zip_bundle

pytestmark = pytest.mark.anyio

NAME = "0b6f7d0e-5c3f-4d0e-9a53-0123456789ab"
TWO_SERVICES = """
services:
  web: {build: ., ports: ["8080:80"], volumes: ["data:/data"]}
  db: {image: "postgres:16"}
volumes: {data: {}}
"""
LAB = zip_bundle({"docker-compose.yml": TWO_SERVICES, "dockerfile": "FROM busybox\nRUN true\n"})
BROKEN = zip_bundle({"docker-compose.yml": TWO_SERVICES, "Dockerfile": "FROM busybox\nRUN exit 1"})
MISSING = zip_bundle({"compose.yaml": "services: {web: {image: missing/image}}"})
EMPTY = zip_bundle({"compose.yaml": "services: {web: {}}"})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


def nothing_of(world: World, name: str) -> bool:
    """Whether nothing of an environment is left anywhere but in the records."""
    engine = world.engine
    left = [
        *engine.of_project(name),
        *(n for n, owner in engine.networks.items() if owner == name),
        *(v for v, owner in engine.volumes.items() if owner == name),
        *(t for t in engine.tags if t.startswith(name)),
        *(i for i, (owner, _) in engine.images.items() if owner == name),
        *world.workspaces.files(EnvironmentName(name)),
        *world.workspaces.staged,
        *world.workspaces.previous,
        *world.workspaces.bundles.archives,
    ]
    return not left


class TestLaunch:
    async def test_it_answers_201_with_name_and_status(self, world: World) -> None:
        answer = await world.launch(NAME, LAB)

        assert (answer.status_code, answer.json()) == (201, {"name": NAME, "status": "started"})
        assert set(world.engine.containers) == {f"{NAME}-db-1", f"{NAME}-web-1"}

    async def test_the_vpn_profile_stands_in_the_project_before_the_build(
        self, world: World
    ) -> None:
        lab = zip_bundle(
            {"compose.yaml": "services: {a: {build: {dockerfile: vpn.ovpn}}}", "vpn.ovpn": "old"}
        )

        answer = await world.launch(NAME, lab, vpn=b"FROM busybox\n")

        assert answer.status_code == 201
        assert world.workspaces.files(EnvironmentName(NAME))[VPN_PROFILE_NAME] == b"FROM busybox\n"

    async def test_an_existing_name_is_replaced(self, world: World) -> None:
        await world.launch(NAME, LAB)
        other = zip_bundle({"compose.yaml": "services: {solo: {image: busybox}}"})

        answer = await world.launch(NAME, other)

        assert answer.status_code == 201
        assert set(world.engine.containers) == {f"{NAME}-solo-1"}
        assert set(world.workspaces.files(EnvironmentName(NAME))) == {"compose.yaml", "vpn.ovpn"}

    @pytest.mark.parametrize(
        ("archive", "step"),
        [
            (BROKEN, "build"),
            (MISSING, "start"),
            (zip_bundle({"compose.yaml": "services: {a: {}}"}), "check"),
        ],
        ids=["build fails", "image cannot be had", "Compose file is broken"],
    )
    async def test_a_failure_names_its_step_and_leaves_nothing(
        self, world: World, archive: bytes, step: str
    ) -> None:
        answer = await world.launch(NAME, archive)

        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert f"Step '{step}' failed" in answer.json()["detail"]
        assert len(answer.json()["detail"].splitlines()) > 1
        assert nothing_of(world, NAME)
        record = await world.store.environments.get(EnvironmentName(NAME))
        assert record is not None
        assert record.state is EnvironmentState.FAILED

    async def test_images_that_a_failed_launch_pulled_go_and_others_stay(
        self, world: World
    ) -> None:
        world.engine.pull("postgres:16")
        both = zip_bundle(
            {
                "compose.yaml": (
                    "services:\n  a: {image: 'new:1'}\n  b: {image: 'postgres:16'}\n"
                    "  c: {image: missing/image}\n"
                )
            }
        )

        await world.launch(NAME, both)

        assert set(world.engine.tags) == {"postgres:16"}

    async def test_a_launch_that_waits_in_line_and_is_cut_off_leaves_nothing(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 500
        async with anyio.create_task_group() as group:
            group.start_soon(world.launch, NAME, LAB)
            group.start_soon(world.launch, NAME, LAB)
            await anyio.wait_all_tasks_blocked()
            answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert answer.status_code == 200
        assert nothing_of(world, NAME)

    async def test_a_removal_that_failed_can_be_launched_over(self, world: World) -> None:
        await world.launch(NAME, LAB)
        world.engine.fault = "is away"
        await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)
        world.engine.fault = ""
        await world.agent.inventory.refresh()

        assert (await world.launch(NAME, LAB)).status_code == 201

    @pytest.mark.parametrize("archive", [BROKEN, MISSING], ids=["build", "start"])
    async def test_a_failed_replacement_keeps_the_earlier_one_running(
        self, world: World, archive: bytes
    ) -> None:
        await world.launch(NAME, LAB)
        tags = dict(world.engine.tags)

        answer = await world.launch(NAME, archive)

        assert answer.status_code == 422
        assert "earlier environment" in answer.json()["detail"]
        assert set(world.engine.containers) == {f"{NAME}-db-1", f"{NAME}-web-1"}
        assert tags == world.engine.tags
        assert "dockerfile" in world.workspaces.files(EnvironmentName(NAME))
        record = await world.store.environments.get(EnvironmentName(NAME))
        assert record is not None
        assert record.state is EnvironmentState.RUNNING

    @pytest.mark.parametrize("archive", hostile().values(), ids=hostile().keys())
    async def test_a_bundle_that_cannot_be_is_refused_with_one_sentence(
        self, world: World, archive: bytes
    ) -> None:
        answer = await world.launch(NAME, archive)

        assert answer.status_code == 422
        assert answer.json()["detail"]
        assert nothing_of(world, NAME)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "../../etc",
            "-v",
            "Upper",
            "a" * 64,
            "a b",
            "a\nb",
            "a\0b",
            "é",
            "a/b",
            "_a",
        ],
    )
    async def test_a_name_that_compose_would_not_take_is_refused(
        self, world: World, name: str
    ) -> None:
        answer = await world.launch(name, LAB)

        assert answer.status_code == 422
        assert world.engine.containers == {}
        assert world.workspaces.bundles.archives == {}

    @pytest.mark.parametrize("name", ["user123-devlab", "a" * 63, "0_-", "a--b"])
    async def test_a_name_that_compose_takes_is_taken(self, world: World, name: str) -> None:
        answer = await world.launch(name, LAB)

        assert answer.status_code == 201

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{}",
            b'{"name": "a"}',
            b'{"name": 1, "docker_zip_base64": "", "vpn_conf_base64": ""}',
            b'{"name": "a", "docker_zip_base64": null, "vpn_conf_base64": ""}',
            b'{"name": "a", "docker_zip_base64": "!!!!", "vpn_conf_base64": ""}',
            b'{"name": "a", "docker_zip_base64": "QQ==QQ==", "vpn_conf_base64": ""}',
            b'{"name": "a", "docker_zip_base64": "QQ=", "vpn_conf_base64": ""}',
            b'{"name": "a", "docker_zip_base64": "QQ==", "vpn_conf_base64": "x"}',
            b'{"name": "a\\ud800", "docker_zip_base64": "QQ==", "vpn_conf_base64": ""}',
            b'{"name": "a", "docker_zip_base64": "QQ==", "vpn_conf_base64": ""} more',
            b'{"name": "a", "docker_zip_base64": "QQ==", "docker_zip_base64": "QQ=="}',
            b'{"name": "a", "docker_zip_base64": "Q\\xQ="}',
            b'{"name": "a", "other": [[[]]], "docker_zip_base64": "QQ=="}',
            b"\xff\xfe{}",
            b'{"name": "' + b"a" * 10_000 + b'"}',
        ],
    )
    async def test_a_body_that_is_no_launch_is_refused(self, world: World, body: bytes) -> None:
        answer = await world.http.post("/agent/containers", content=body, headers=KEY)

        assert answer.status_code == 422
        assert answer.json()["detail"]
        assert world.workspaces.bundles.archives == {}

    async def test_a_name_that_somebody_elses_project_bears_is_refused(self, world: World) -> None:
        world.engine.run("container-host-agent", project="container-host-agent")
        await world.agent.inventory.refresh()

        answer = await world.launch("container-host-agent", LAB)

        assert answer.status_code == 409
        assert set(world.engine.containers) == {"container-host-agent"}

    async def test_fields_in_any_order_and_unknown_ones_are_no_matter(self, world: World) -> None:
        body = launch_body(NAME, LAB)
        turned = {"more": True, "n": 1.5, **dict(reversed(body.items())), "note": 'x"\\y'}

        answer = await world.http.post(
            "/agent/containers", content=json.dumps(turned, indent=2), headers=KEY
        )

        assert answer.status_code == 201

    async def test_escapes_in_the_base64_are_read_as_json_says(self, world: World) -> None:
        text = json.dumps(launch_body(NAME, LAB)).replace("/", "\\/").replace("+", "\\u002b")

        answer = await world.http.post("/agent/containers", content=text, headers=KEY)

        assert answer.status_code == 201

    async def test_a_body_in_small_pieces_is_read_the_same(self, world: World) -> None:
        text = json.dumps(launch_body(NAME, LAB)).encode()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(text), 7):
                yield text[start : start + 7]

        answer = await world.http.post("/agent/containers", content=pieces(), headers=KEY)

        assert answer.status_code == 201

    async def test_a_body_beyond_the_limit_is_refused_unread(self) -> None:
        async with agent_on_twins({"MAX_BODY_BYTES": "2048"}) as world:
            announced = await world.launch(NAME, b"x" * 5000)

            async def endless() -> AsyncIterator[bytes]:
                yield b'{"docker_zip_base64": "'
                while True:
                    yield b"QUFB" * 64

            unannounced = await world.http.post("/agent/containers", content=endless(), headers=KEY)

            assert (announced.status_code, unannounced.status_code) == (413, 413)
            assert world.workspaces.bundles.archives == {}

    async def test_two_launches_of_one_name_at_once_both_succeed_in_turn(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 5
        answers: list[int] = []

        async def launch() -> None:
            answers.append((await world.launch(NAME, LAB)).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(launch)
            group.start_soon(launch)
            await world.clock.advance(20)

        assert answers == [201, 201]
        assert world.compose.most_building == 1
        assert set(world.engine.containers) == {f"{NAME}-db-1", f"{NAME}-web-1"}

    async def test_builds_of_many_launches_run_a_few_at_a_time(self) -> None:
        async with agent_on_twins({"MAX_BUILDS": "2", "MAX_CONTAINERS": "100"}) as world:
            world.compose.build_seconds = 5
            answers: list[int] = []

            async def launch(number: int) -> None:
                files = {"compose.yaml": "services: {a: {build: .}}"}
                solo = zip_bundle({**files, "Dockerfile": f"FROM busybox\nRUN echo {number}\n"})
                answers.append((await world.launch(f"lab-{number}", solo)).status_code)

            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(launch, number)
                await world.clock.advance(30)

            assert answers == [201] * 8
            assert world.compose.most_building == 2

    async def test_a_manager_that_hangs_up_does_not_cut_the_launch_in_half(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 5
        async with anyio.create_task_group() as group:
            group.start_soon(world.launch, NAME, LAB)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

        await world.clock.advance(10)

        assert f"{NAME}-web-1" in world.engine.containers
        record = await world.store.environments.get(EnvironmentName(NAME))
        assert record is not None
        assert record.state is EnvironmentState.RUNNING


class TestAdmission:
    async def test_beyond_the_most_containers_a_launch_is_refused(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "3"}) as world:
            assert (await world.launch("one", LAB)).status_code == 201

            answer = await world.launch("two", LAB)

            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert "MAX_CONTAINERS" in answer.json()["detail"]
            assert nothing_of(world, "two")

    async def test_a_replacement_is_not_counted_twice(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "2"}) as world:
            await world.launch("one", LAB)

            assert (await world.launch("one", LAB)).status_code == 201

    async def test_containers_of_others_count(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "2"}) as world:
            world.engine.run("somebody-elses")
            await world.agent.inventory.refresh()

            assert (await world.launch("one", LAB)).status_code == 503

    async def test_launches_under_way_count(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "2"}) as world:
            world.compose.build_seconds = 5
            async with anyio.create_task_group() as group:
                group.start_soon(world.launch, "one", LAB)
                await anyio.wait_all_tasks_blocked()

                refused = await world.launch("two", LAB)

                await world.clock.advance(10)
            assert refused.status_code == 503

    async def test_room_is_there_again_after_a_launch_that_failed(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "2"}) as world:
            await world.launch("one", BROKEN)

            assert (await world.launch("two", LAB)).status_code == 201

    @pytest.mark.parametrize("resource", ["cpu_percent", "memory_percent"])
    async def test_a_busy_host_refuses_launches(self, world: World, resource: str) -> None:
        setattr(world.metrics, resource, 95.0)
        await world.clock.advance(100)
        await world.agent.host.observe()

        answer = await world.launch(NAME, LAB)

        assert answer.status_code == 503
        assert "95 %" in answer.json()["detail"]

    async def test_a_spike_of_a_moment_refuses_nobody(self, world: World) -> None:
        for _ in range(30):
            await world.clock.advance(2)
            await world.agent.host.observe()
        world.metrics.cpu_percent = 100.0
        await world.clock.advance(2)
        await world.agent.host.observe()

        assert (await world.launch(NAME, LAB)).status_code == 201


class TestRestart:
    async def test_it_builds_anew_and_recreates(self, world: World) -> None:
        await world.launch(NAME, LAB)
        before = {c.id for c in world.engine.containers.values()}

        answer = await world.http.post(f"/agent/containers/{NAME}/restart", headers=KEY)

        assert (answer.status_code, answer.json()) == (200, {"name": NAME, "status": "restarted"})
        assert before.isdisjoint({c.id for c in world.engine.containers.values()})

    async def test_what_is_not_there_is_404(self, world: World) -> None:
        answer = await world.http.post("/agent/containers/nobody/restart", headers=KEY)

        assert answer.status_code == 404
        assert "nobody" in answer.json()["detail"]

    async def test_it_does_not_wait_behind_builds_of_launches(self) -> None:
        async with agent_on_twins({"MAX_BUILDS": "1"}) as world:
            await world.launch("one", LAB)
            world.compose.build_seconds = 500
            answers: list[int] = []

            async def restart() -> None:
                world.compose.build_seconds = 5
                answer = await world.http.post("/agent/containers/one/restart", headers=KEY)
                answers.append(answer.status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(world.launch, "two", zip_bundle_without_ports())
                await anyio.wait_all_tasks_blocked()
                group.start_soon(restart)
                await world.clock.advance(10)
                assert answers == [200]
                await world.clock.advance(600)


class TestDelete:
    async def test_it_takes_everything_away(self, world: World) -> None:
        await world.launch(NAME, LAB)

        answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert (answer.status_code, answer.json()) == (200, {"name": NAME, "status": "removed"})
        assert nothing_of(world, NAME)
        assert await world.store.environments.list() == []

    async def test_what_is_not_there_is_404(self, world: World) -> None:
        await world.launch(NAME, LAB)
        await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert answer.status_code == 404

    @pytest.mark.parametrize(
        "name", ["..%2f..%2fetc", "%2e%2e", "a%2Fb", "-v", "A", "a" * 300, "a%00b", "a%0ab"]
    )
    async def test_a_name_that_is_none_never_reaches_the_engine(
        self, world: World, name: str
    ) -> None:
        world.engine.fault = "was asked"

        answer = await world.http.delete(f"/agent/containers/{name}", headers=KEY)

        assert answer.status_code in {404, 422}

    async def test_what_a_failed_launch_left_in_the_records_is_404_and_forgotten(
        self, world: World
    ) -> None:
        await world.launch(NAME, BROKEN)

        answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert answer.status_code == 404
        assert await world.store.environments.list() == []

    async def test_it_cuts_a_launch_off_and_leaves_nothing(self, world: World) -> None:
        world.compose.build_seconds = 500
        launched: list[int] = []

        async def launch() -> None:
            launched.append((await world.launch(NAME, LAB)).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(launch)
            await anyio.wait_all_tasks_blocked()
            answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert answer.status_code == 200
        assert launched == [409]
        assert nothing_of(world, NAME)
        assert await world.store.environments.list() == []

    async def test_two_at_once_both_learn_that_it_is_gone(self, world: World) -> None:
        await world.launch(NAME, LAB)
        world.compose.stop_seconds = 3
        answers: list[int] = []

        async def remove() -> None:
            answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)
            answers.append(answer.status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(remove)
            group.start_soon(remove)
            await world.clock.advance(5)

        assert answers == [200, 200]

    async def test_files_that_containers_own_are_removed_with_the_engines_help(
        self, world: World
    ) -> None:
        await world.launch(NAME, LAB)
        world.workspaces.stuck.add(NAME)

        failed = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)
        world.workspaces.stuck.clear()
        again = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert world.engine.erased == [f"/removed/{NAME}"]
        assert (failed.status_code, again.status_code) == (503, 200)


class TestList:
    async def test_it_names_the_running_containers_of_the_host(self, world: World) -> None:
        await world.launch(NAME, LAB)
        world.engine.run("somebody-elses", image="nginx")
        world.engine.run("ended")
        world.engine.stop("ended")
        await world.look()

        answer = await world.http.get("/agent/containers", headers=KEY)

        assert answer.status_code == 200
        assert [(row["name"], row["status"]) for row in answer.json()] == [
            (f"{NAME}-db-1", "running"),
            (f"{NAME}-web-1", "running"),
            ("somebody-elses", "running"),
        ]
        assert [row["image"] for row in answer.json()][::2] == ["postgres:16", "nginx"]
        assert {frozenset(row) for row in answer.json()} == {
            frozenset({"id", "name", "image", "status"})
        }

    async def test_it_answers_from_what_is_known_while_the_engine_hangs(self, world: World) -> None:
        await world.launch(NAME, LAB)
        world.engine.hang = True

        with anyio.fail_after(1):
            answer = await world.http.get("/agent/containers", headers=KEY)

        assert len(answer.json()) == 2

    async def test_without_an_engine_it_says_so(self, world: World) -> None:
        world.engine.fault = "is away"
        await world.look()

        answer = await world.http.get("/agent/containers", headers=KEY)

        assert answer.status_code == 503
        assert answer.headers["retry-after"]

    async def test_while_the_engine_is_known_to_be_away_nobody_waits_for_it(
        self, world: World
    ) -> None:
        world.engine.fault = "is away"
        await world.look()
        world.engine.hang = True

        with anyio.fail_after(1):
            answer = await world.http.get("/agent/containers", headers=KEY)

        assert answer.status_code == 503


class TestHealth:
    async def test_it_has_exactly_the_four_fields(self, world: World) -> None:
        await world.launch(NAME, LAB)
        await world.clock.advance(10)
        await world.agent.host.observe()

        answer = await world.http.get("/agent/health", headers=KEY)

        assert answer.json() == {
            "uptime_seconds": 3610,
            "running_containers": 2,
            "mem_percent": 20.0,
            "cpu_percent": 10.0,
        }


class TestEngineAway:
    async def test_changes_are_refused_with_503_and_leave_nothing(self, world: World) -> None:
        await world.launch(NAME, LAB)
        world.engine.fault = "is away"
        with pytest.raises(Exception, match="is away"):
            await world.agent.inventory.refresh()

        launch = await world.launch("other", LAB)
        restart = await world.http.post(f"/agent/containers/{NAME}/restart", headers=KEY)
        delete = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert [launch.status_code, restart.status_code, delete.status_code] == [503] * 3
        assert await world.store.environments.get(EnvironmentName("other")) is None
        assert world.workspaces.bundles.archives == {}

    async def test_a_removal_that_failed_can_be_tried_again(self, world: World) -> None:
        await world.launch(NAME, LAB)
        world.engine.fault = "is away"
        await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)
        world.engine.fault = ""

        answer = await world.http.delete(f"/agent/containers/{NAME}", headers=KEY)

        assert answer.status_code == 200
        assert nothing_of(world, NAME)


def zip_bundle_without_ports() -> bytes:
    """A lab that can run beside another."""
    return zip_bundle({"compose.yaml": "services: {a: {build: .}}", "Dockerfile": "FROM busybox"})

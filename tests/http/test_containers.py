"""Single containers over HTTP, on twins."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from domain.container_details import ChangeKind, FileChange
from domain.containers import ContainerState
from domain.registry_credentials import RegistryCredentials
from domain.usecases import container_creation
from tests.support.agents import KEY, OWN_CONTAINER, World, agent_on_twins
from tests.support.api import ENVIRONMENTS, call, deploy
from tests.support.api import lab as lab_bundle
from tests.support.containers import (
    CONTAINERS,
    act,
    create,
    lab,
    look,
    names,
    remove,
    run,
    the_agents_own,
)

pytestmark = pytest.mark.anyio

NAMED = {"rename": {"name": "other"}}
"""What a change must be told besides."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


def code(answer: Any) -> tuple[int, str]:
    """The status of a failure, and which one it is."""
    return answer.status_code, answer.json()["type"].removeprefix("urn:container-host-agent:")


class TestListing:
    """Which containers there are."""

    async def test_those_that_run_are_listed_by_name_or_all(self, world: World) -> None:
        for name in ("web", "db", "app"):
            await run(world, name)
        await act(world, "db", "stop")

        assert await names(world) == ["app", "web"]
        assert await names(world, all="true") == ["app", "db", "web"]

    async def test_a_word_that_is_not_known_is_told_with_those_that_are(self, world: World) -> None:
        answer = await call(world, "GET", f"{CONTAINERS}?state=foo")

        assert answer.status_code == 422
        assert "state: Invalid enum value 'foo'; it may be created, " in answer.json()["detail"]

    async def test_filters_leave_others_out(self, world: World) -> None:
        await run(world, "web-1", labels={"course": "web-101", "kind": "x"})
        await run(world, "web-2", labels={"course": "web-102"})
        await create(world, "other")
        solo = await lab(world)

        assert await names(world, label="course") == ["web-1", "web-2"]
        assert await names(world, label="course=web-101") == ["web-1"]
        assert await names(world, name="eb-2") == ["web-2"]
        assert await names(world, state="created") == ["other"]
        assert await names(world, environment="lab") == [solo]
        assert await names(world, environment="lab", name="web") == []

    async def test_several_labels_must_all_be_there_and_any_of_several_states(
        self, world: World
    ) -> None:
        await run(world, "one", labels={"a": "1", "b": "2"})
        await create(world, "two", labels={"a": "1"})

        both = await call(world, "GET", f"{CONTAINERS}?label=a&label=b=2&all=true&fresh=true")
        either = await call(world, "GET", f"{CONTAINERS}?state=running&state=created&fresh=true")

        assert [row["name"] for row in both.json()["containers"]] == ["one"]
        assert [row["name"] for row in either.json()["containers"]] == ["one", "two"]

    async def test_a_limit_cuts_the_list_and_the_total_is_told(self, world: World) -> None:
        for number in range(5):
            await run(world, f"web-{number}")

        answer = (await call(world, "GET", f"{CONTAINERS}?limit=2")).json()

        assert [row["name"] for row in answer["containers"]] == ["web-0", "web-1"]
        assert answer["total"] == 5

    async def test_a_container_is_told_with_its_environment_ports_and_health(
        self, world: World
    ) -> None:
        solo = await lab(world)

        (row,) = (await call(world, "GET", f"{CONTAINERS}?name=solo")).json()["containers"]

        assert (row["name"], row["environment"], row["service"]) == (solo, "lab", "solo")
        assert row["state"] == "running"
        assert row["image"] == "nginx:1"

    async def test_it_comes_from_the_agents_picture_unless_it_shall_be_fresh(
        self, world: World
    ) -> None:
        await run(world, "web")
        world.engine.run("behind-its-back")

        stale = await call(world, "GET", CONTAINERS)

        assert [row["name"] for row in stale.json()["containers"]] == ["web"]
        assert await names(world) == ["behind-its-back", "web"]

    async def test_a_change_is_in_the_list_at_once(self, world: World) -> None:
        await run(world, "web")
        await act(world, "web", "rename", name="app")

        answer = await call(world, "GET", CONTAINERS)

        assert [row["name"] for row in answer.json()["containers"]] == ["app"]

    async def test_an_engine_that_is_away_is_503(self, world: World) -> None:
        await run(world, "web")
        world.engine.fault = "gone"

        fresh = await call(world, "GET", f"{CONTAINERS}?fresh=true")
        known_to_be_away = await call(world, "GET", CONTAINERS)

        for answer in (fresh, known_to_be_away):
            assert answer.status_code == 503
            assert "retry-after" in answer.headers

    @pytest.mark.parametrize("query", ["limit=0", "limit=5001", "state=asleep", "all=perhaps"])
    async def test_what_is_no_filter_is_refused(self, world: World, query: str) -> None:
        assert (await call(world, "GET", f"{CONTAINERS}?{query}")).status_code == 422


class TestCreating:
    """Containers that are made."""

    async def test_it_is_made_and_does_not_run(self, world: World) -> None:
        answer = await create(world, labels={"course": "web-101"})

        view = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{CONTAINERS}/{view['id']}"
        assert (view["name"], view["state"]["status"]) == ("web", "created")
        assert view["labels"]["course"] == "web-101"
        assert (await look(world, "web")).json()["id"] == view["id"]

    async def test_it_can_run_at_once(self, world: World) -> None:
        assert (await run(world))["state"]["status"] == "running"

    async def test_a_name_is_made_up_where_there_is_none(self, world: World) -> None:
        one, two = await create(world, ""), await create(world, "")

        assert one.json()["name"].startswith("container-")
        assert one.json()["name"] != two.json()["name"]

    async def test_volumes_that_were_made_in_vain_go_again(self, world: World) -> None:
        await run(world, "one", ports=["8080:80"], volumes=["old:/old"])

        answer = await create(
            world, "two", query="?start=true", ports=["8080:80"], volumes=["new:/new", "old:/old"]
        )

        assert answer.status_code == 409
        assert "new" not in world.engine.volumes
        assert "old" in world.engine.volumes

    async def test_ranges_of_ports_are_taken_as_docker_takes_them(self, world: World) -> None:
        view = (await create(world, ports=["8000-8001:90-91"])).json()

        pairs = [(one["host_port"], one["container_port"]) for one in view["port_bindings"]]
        assert pairs == [("8000", 90), ("8001", 91)]

    async def test_variables_and_labels_may_be_texts(self, world: World) -> None:
        view = await run(world, env=["A=b=c", "E="], labels=["course=web-101", "flag"])

        assert view["env"] == {"A": "b=c", "E": ""}
        assert (view["labels"]["course"], view["labels"]["flag"]) == ("web-101", "")
        assert code(await create(world, "b", env=["A"])) == (422, "request-unreadable")
        assert code(await create(world, "b", env=["=x"])) == (422, "request-unreadable")

    async def test_names_limits_and_parameters_are_taken_in_short_forms(self, world: World) -> None:
        view = await run(
            world,
            extra_hosts=["db=10.9.0.2", "api:10.9.0.3"],
            dns=["10.9.0.4"],
            ulimits={"nofile": 1024, "core": {"soft": 0, "hard": -1}},
            sysctls={"net.core.somaxconn": 1024},
            shm_size="1m",
            group_add=["29"],
            healthcheck={"test": "true", "interval": "5s"},
        )

        assert view["extra_hosts"] == ["db:10.9.0.2", "api:10.9.0.3"]
        assert view["ulimits"]["nofile"] == {"soft": 1024, "hard": 1024}
        assert view["ulimits"]["core"] == {"soft": 0, "hard": -1}
        assert view["sysctls"] == {"net.core.somaxconn": "1024"}
        assert (view["shm_size_bytes"], view["group_add"]) == (1024 * 1024, ["29"])
        assert view["healthcheck"]["test"] == ["CMD-SHELL", "true"]

    async def test_only_what_lies_in_memory_has_a_size(self, world: World) -> None:
        answer = await create(world, volumes=[{"target": "/data", "size": "1m"}])

        assert code(answer) == (422, "request-unreadable")
        assert "tmpfs" in answer.json()["detail"]

    async def test_it_is_hardened_and_limited_as_containers_of_bundles_are(
        self, world: World
    ) -> None:
        view = await run(world, cap_add=["NET_ADMIN"], limits={"cpus": 0.25, "memory": "64m"})

        assert view["cap_drop"] == ["ALL"]
        assert "NET_ADMIN" in view["cap_add"]
        assert "SYS_ADMIN" not in view["cap_add"]
        assert view["security_opt"] == ["no-new-privileges:true"]
        assert view["init"] is True
        assert view["limits"]["cpus"] == 0.25
        assert view["limits"]["memory_bytes"] == 64 * 1024 * 1024
        assert view["limits"]["pids"] == 512

    async def test_it_joins_a_network_apart_with_addresses_of_the_pool(self, world: World) -> None:
        first, second = await run(world, "one"), await run(world, "two")

        (network,) = first["networks"]
        assert second["networks"][0]["name"] == network["name"]
        assert world.engine.subnets[network["name"]] == "10.213.0.0/24"
        assert not network["name"].islower()

    async def test_no_environment_is_given_addresses_of_the_network_apart(
        self, world: World
    ) -> None:
        await run(world)
        await lab(world)

        environment = (await call(world, "GET", f"{ENVIRONMENTS}/lab")).json()

        assert list(environment["networks"].values()) == ["10.213.1.0/28"]

    async def test_the_network_apart_gets_none_of_an_environments_addresses(
        self, world: World
    ) -> None:
        await lab(world)
        (network,) = (await run(world))["networks"]

        assert world.engine.subnets[network["name"]] == "10.213.1.0/24"

    async def test_the_network_apart_is_smaller_where_the_pool_is(self) -> None:
        async with agent_on_twins({"NETWORK_POOL": "10.213.0.0/24"}) as world:
            (network,) = (await run(world))["networks"]

            assert world.engine.subnets[network["name"]] == "10.213.0.0/28"

    async def test_a_pool_without_room_refuses_and_nothing_is_made(self, world: World) -> None:
        world.engine.subnets["somebody-elses"] = "10.213.0.0/16"

        answer = await create(world)

        assert code(answer) == (503, "network-pool-exhausted")
        assert await names(world, all="true") == []

    async def test_one_that_wants_no_network_has_none(self, world: World) -> None:
        view = await run(world, networks=["none"])

        assert view["network_mode"] == "none"
        assert world.engine.networks == {}

    async def test_a_lost_network_apart_is_made_anew_at_the_next_start(self, world: World) -> None:
        (network,) = (await run(world))["networks"]
        await act(world, "web", "stop")
        del world.engine.networks[network["name"]]
        del world.engine.subnets[network["name"]]

        assert (await act(world, "web", "start")).status_code == 200
        assert network["name"] in world.engine.networks

    async def test_everything_that_the_host_does_not_allow_is_told_at_once(
        self, world: World
    ) -> None:
        answer = await create(
            world,
            cap_add=["SYS_ADMIN"],
            devices=["/dev/sda"],
            volumes=["/etc:/x", "/var/run/docker.sock:/var/run/docker.sock", "data:/proc/x"],
            networks=["host"],
            ports=["8003:80"],
            labels={"com.docker.compose.project": "lab", "container-host-agent.cpus": "0"},
            restart_policy={"name": "always", "maximum_retry_count": 3},
            working_dir="/proc/self/fd/8",
        )

        assert code(answer) == (422, "policy-refused")
        assert {finding["where"] for finding in answer.json()["errors"]} == {
            "cap_add[0]",
            "devices[0]",
            "volumes[0]",
            "volumes[1]",
            "volumes[2].target",
            "networks",
            "ports[0].published",
            "labels.com.docker.compose.project",
            "labels.container-host-agent.cpus",
            "restart_policy",
            "working_dir",
        }
        assert "bundle" not in answer.json()["detail"]

    @pytest.mark.parametrize(
        "image", ["sha256:" + "0a" * 32, "container-host-agent/own:x", "localhost:5000/x", "../x"]
    )
    async def test_images_are_held_to_the_same_rules(self, world: World, image: str) -> None:
        assert code(await create(world, image=image)) == (422, "policy-refused")

    async def test_the_words_of_dockers_command_line_name_a_restart_policy(
        self, world: World
    ) -> None:
        view = (await create(world, restart_policy="on-failure:5")).json()

        assert view["restart_policy"] == {"name": "on-failure", "maximum_retry_count": 5}
        assert code(await create(world, "b", restart_policy="always:3"))[0] == 422
        assert code(await create(world, "c", restart_policy="sometimes"))[0] == 422

    @pytest.mark.parametrize(
        "fields",
        [
            {"labels": {"": "x"}},
            {"labels": {"a b": "x"}},
            {"healthcheck": {"test": ["BOGUS", "x"]}},
            {"user": "1000\n0"},
        ],
    )
    async def test_what_the_engine_would_take_and_nobody_could_use_is_refused(
        self, world: World, fields: dict[str, Any]
    ) -> None:
        assert code(await create(world, **fields)) == (422, "policy-refused")

    async def test_the_detail_says_which_part_of_the_query_is_wrong(self, world: World) -> None:
        answer = await call(world, "GET", f"{CONTAINERS}?limit=0&state=bogus")

        assert answer.status_code == 422
        assert "limit: Expected" in answer.json()["detail"]
        assert "state: Invalid" in answer.json()["detail"]

    @pytest.mark.parametrize("name", ["a/b", "..", "-v", "a\nb", "ä", "a" * 64])
    async def test_what_can_name_none_is_refused(self, world: World, name: str) -> None:
        assert (await create(world, name)).status_code == 422
        assert await names(world, all="true") == []

    async def test_no_name_may_be_taken_for_an_environments(self, world: World) -> None:
        await lab(world)

        uuid = await create(world, "x-6f1b0a52-0000-4000-8000-000000000001")

        assert code(uuid) == (422, "policy-refused")
        for name in ("lab", "lab-solo-2", "lab_data"):
            assert code(await create(world, name)) == (409, "resource-conflict")
        assert (await create(world, "labs")).status_code == 201

    async def test_a_name_that_is_taken_is_a_conflict_and_its_bearer_stays(
        self, world: World
    ) -> None:
        first = await run(world)

        second = await create(world, query="?start=true")

        assert code(second) == (409, "resource-conflict")
        assert (await look(world, "web")).json()["id"] == first["id"]

    async def test_an_image_that_is_not_at_hand_is_pulled(self, world: World) -> None:
        await run(world, image="nginx:1")

        assert world.transfers.pulls == ["nginx:1"]
        await run(world, "again", image="nginx:1")
        assert world.transfers.pulls == ["nginx:1"]

    async def test_an_image_that_nobody_has_is_404(self, world: World) -> None:
        assert code(await create(world, image="missing")) == (404, "image-not-in-registry")
        assert await names(world, all="true") == []

    async def test_an_image_that_takes_too_long_is_504_and_is_pulled_for_nobody(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container_creation, "PULL_SECONDS", 0.05)
        world.transfers.held = anyio.Event()

        answer = await create(world, image="nginx:1")

        assert code(answer) == (504, "step-timed-out")
        assert "pull it first" in answer.json()["detail"]
        world.transfers.held.set()
        assert not world.engine.at_hand("nginx:1")

    async def test_an_image_that_a_registry_keeps_to_others_is_403(self, world: World) -> None:
        world.transfers.private["registry.example.com"] = RegistryCredentials(
            username="jana", password="secret"
        )

        answer = await create(world, image="registry.example.com/labs/web:1")

        assert code(answer) == (403, "registry-refused")

    async def test_one_that_cannot_start_leaves_nothing(self, world: World) -> None:
        await run(world, "one", ports=["8080:80"])

        answer = await create(world, "two", query="?start=true", ports=["8080:80"])

        assert code(answer) == (409, "resource-conflict")
        assert "port is already allocated" in answer.json()["detail"]
        assert await names(world, all="true") == ["one"]

    async def test_ports_that_docker_may_choose_come_out_of_those_for_labs(self) -> None:
        async with agent_on_twins({"HOST_PORTS": "20000-20010"}) as world:
            view = (await create(world, ports=["80", "20005:81"])).json()

        assert [port["host_port"] for port in view["port_bindings"]] == ["20000-20010", "20005"]

    async def test_a_network_by_name_must_have_addresses_of_the_pool(self, world: World) -> None:
        world.engine.networks |= {"inside": "", "outside": "", "bare": ""}
        world.engine.subnets |= {"inside": "10.213.9.0/24", "outside": "192.168.7.0/24"}

        assert (await create(world, "a", networks=["inside"])).status_code == 201
        for name in ("outside", "bare"):
            answer = await create(world, "b", networks=["inside", name])
            assert [f["where"] for f in answer.json()["errors"]] == ["networks[1]"]
        assert code(await create(world, "c", networks=["no"])) == (404, "resource-not-found")

    async def test_networks_and_volumes_of_an_environment_are_joined_by_force_only(
        self, world: World
    ) -> None:
        bundle = lab_bundle(
            "services: {solo: {image: 'nginx:1', volumes: ['data:/d']}}\nvolumes: {data: {}}"
        )
        await deploy(world, "lab", bundle)

        for field, value in (("networks", "lab_default"), ("volumes", "lab_data:/x")):
            answer = await create(world, **{field: [value]})  # type: ignore[arg-type]
            assert code(answer) == (409, "resource-of-environment")
        forced = await create(
            world, query="?force=true", networks=["lab_default"], volumes=["lab_data:/x"]
        )
        assert forced.status_code == 201

    async def test_a_volume_that_leads_elsewhere_is_refused(self, world: World) -> None:
        world.engine.volumes["sneaky"] = ""
        world.engine.volume_options.add("sneaky")

        answer = await create(world, volumes=["sneaky:/x"])

        assert [f["where"] for f in answer.json()["errors"]] == ["volumes[0]"]

    async def test_the_operators_own_containers_may_have_more(self) -> None:
        async with agent_on_twins({"COMPOSE_POLICY": "trusted"}) as world:
            world.engine.networks["outside"] = ""
            answer = await create(
                world, cap_add=["SYS_ADMIN"], volumes=["/srv:/x"], networks=["outside"]
            )

            assert answer.status_code == 201
            assert answer.json()["cap_drop"] == []

    async def test_limits_beyond_the_hosts_are_refused(self, world: World) -> None:
        answer = await create(world, limits={"memory": "100t"})

        assert code(answer) == (422, "request-unreadable")

    @pytest.mark.parametrize(
        "fields",
        [
            {"command": "sh -c 'unclosed"},
            {"ports": ["eighty"]},
            {"volumes": ["a:/b:zz"]},
            {"devices": [""]},
            {"env": {"A=B": "x"}},
            {"env": {"A": "\0"}},
            {"command": ["a\0"]},
            {"surprise": 1},
            {"image": 5},
            {"healthcheck": {"test": "true", "interval": "soon"}},
        ],
    )
    async def test_what_cannot_be_read_is_refused(self, world: World, fields: Any) -> None:
        assert code(await create(world, **fields)) == (422, "request-unreadable")

    async def test_a_text_is_split_into_words_as_a_shell_does(self, world: World) -> None:
        view = await run(world, command="sh -c 'echo one two'", entrypoint="/init --fast")

        assert view["command"] == ["sh", "-c", "echo one two"]
        assert view["entrypoint"] == ["/init", "--fast"]

    async def test_the_agent_takes_none_while_it_starts(self) -> None:
        async with agent_on_twins(ready=False) as world:
            assert code(await create(world)) == (503, "not-accepting")


class TestRoom:
    """Single containers count like all others."""

    async def test_a_full_host_refuses_to_start_another(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "2"}) as world:
            for name in ("one", "two"):
                await run(world, name)

            assert code(await create(world, "three", query="?start=true")) == (
                503,
                "capacity-exceeded",
            )
            assert (await create(world, "three")).status_code == 201
            assert code(await act(world, "three", "start")) == (503, "capacity-exceeded")
            assert (await act(world, "one", "start")).status_code == 200
            await act(world, "one", "stop")
            assert (await act(world, "three", "start")).status_code == 200

    async def test_a_paused_one_keeps_its_place(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "1"}) as world:
            await run(world, "one")
            await act(world, "one", "pause")

            assert (await create(world, "two", query="?start=true")).status_code == 503
            assert (await act(world, "one", "unpause")).status_code == 200

    async def test_what_they_may_use_is_promised_to_nobody_else(self) -> None:
        async with agent_on_twins({"MAX_COMMITTED_CPU_PERCENT": "100"}) as world:
            cpus = (await world.agent.host.identity()).cpus
            await create(world, "one", limits={"cpus": cpus * 0.8})

            again = await create(world, "two", limits={"cpus": cpus * 0.8})
            environment = await deploy(
                world,
                "lab",
                lab_bundle("services: {solo: {image: 'nginx:1'}}"),
                limits={"cpus": cpus * 0.8},
            )
            await remove(world, "one")

            assert code(again) == (503, "capacity-exceeded")
            assert code(environment) == (503, "capacity-exceeded")
            assert (await create(world, "two", limits={"cpus": cpus * 0.8})).status_code == 201

    async def test_many_at_once_take_no_more_places_than_there_are(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "5"}) as world:
            statuses: list[int] = []

            async def one(number: int) -> None:
                answer = await create(world, f"web-{number}", query="?start=true")
                statuses.append(answer.status_code)

            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(one, number)

            assert sorted(statuses) == [201] * 5 + [503] * 15
            assert len(await names(world, all="true")) == 5


class TestChanging:
    """What is done to containers."""

    async def test_each_change_answers_with_the_container_as_it_is_then(self, world: World) -> None:
        await create(world)
        states = []
        for what in ("start", "pause", "unpause", "restart", "stop", "start", "kill"):
            answer = await act(world, "web", what)
            assert answer.status_code == 200, answer.text
            states.append(answer.json()["state"]["status"])

        assert states == [
            "running", "paused", "running", "running", "exited", "running", "exited",
        ]  # fmt: skip

    async def test_it_is_named_by_how_its_identifier_begins(self, world: World) -> None:
        identifier = (await run(world))["id"]

        assert (await look(world, identifier[:63])).json()["name"] == "web"
        assert (await act(world, identifier, "stop")).json()["name"] == "web"

    async def test_a_beginning_of_several_is_a_conflict(self, world: World) -> None:
        await run(world, "one")
        await run(world, "two")

        assert code(await look(world, "000")) == (409, "resource-ambiguous")

    async def test_a_removed_one_is_gone(self, world: World) -> None:
        await run(world)

        assert code(await remove(world, "web")) == (409, "resource-conflict")
        assert (await remove(world, "web", force="true")).status_code == 204
        assert code(await look(world, "web")) == (404, "resource-not-found")
        assert code(await remove(world, "web")) == (404, "resource-not-found")

    async def test_a_new_name_is_held_to_the_rules_of_names(self, world: World) -> None:
        await run(world)
        await lab(world)

        assert (await act(world, "web", "rename", name="a/b")).status_code == 422
        assert (await act(world, "web", "rename", name="lab-solo-2")).status_code == 409
        assert (await act(world, "web", "rename")).status_code == 422
        assert (await act(world, "web", "rename", name="app")).json()["name"] == "app"

    @pytest.mark.parametrize("what", ["stop", "restart", "kill", "pause", "rename", "remove"])
    async def test_what_belongs_to_an_environment_is_interrupted_by_force_only(
        self, world: World, what: str
    ) -> None:
        solo = await lab(world)

        async def attempt(**query: str) -> Any:
            if what == "remove":
                return await remove(world, solo, **query)
            return await act(world, solo, what, **query, **NAMED.get(what, {}))

        assert code(await attempt()) == (409, "resource-of-environment")
        assert (await attempt(force="true")).status_code in {200, 204}

    async def test_what_belongs_to_an_environment_may_be_started(self, world: World) -> None:
        solo = await lab(world)
        await act(world, solo, "stop", force="true")

        assert (await act(world, solo, "start")).json()["environment"] == "lab"

    @pytest.mark.parametrize("what", ["stop", "restart", "kill", "pause", "rename", "remove"])
    async def test_the_agent_is_not_ended_by_accident(self, world: World, what: str) -> None:
        the_agents_own(world)

        if what == "remove":
            answer = await remove(world, "the-agent")
        else:
            answer = await act(world, OWN_CONTAINER[:20], what, **NAMED.get(what, {}))

        assert code(answer) == (409, "resource-conflict")
        assert "the agent's own" in answer.json()["detail"]
        assert world.engine.containers["the-agent"].state is ContainerState.RUNNING

    async def test_the_agent_is_ended_by_force(self, world: World) -> None:
        the_agents_own(world)

        assert (await act(world, "the-agent", "stop", force="true")).status_code == 200

    async def test_a_stop_that_takes_too_long_says_that_it_goes_on(self, world: World) -> None:
        await run(world)
        world.engine.stuck.add("web")

        answer = await act(world, "web", "stop", grace=1)

        assert code(answer) == (504, "change-unfinished")
        assert "has not finished stopping container 'web'" in answer.json()["detail"]
        assert await names(world) == ["web"]

    async def test_an_engine_that_says_nothing_at_all_is_503(self, world: World) -> None:
        await run(world)
        world.engine.fault = "gone"

        for what in ("start", "stop", "restart", "kill", "pause", "unpause"):
            assert code(await act(world, "web", what)) == (503, "engine-unavailable")

    @pytest.mark.parametrize(
        ("what", "query"),
        [
            ("stop", {"grace": -1}),
            ("stop", {"grace": 301}),
            ("kill", {"signal": "../x"}),
            ("kill", {"signal": ""}),
            ("kill", {"signal": "NONSENSE"}),
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, world: World, what: str, query: dict[str, Any]
    ) -> None:
        await run(world)

        assert (await act(world, "web", what, **query)).status_code == 422

    async def test_changes_are_in_the_audit_with_their_container(self, world: World) -> None:
        await run(world)
        await act(world, "web", "stop")
        await world.agent.audit.flush()

        entries = (await call(world, "GET", "/api/v1/audit")).json()["entries"]

        assert [(e["entry"]["target"], e["entry"]["status"]) for e in entries] == [
            ("web", 200),
            ("web", 201),
        ]


class TestLooking:
    """What is told of one container."""

    async def test_processes_are_told_of_one_that_runs(self, world: World) -> None:
        await run(world)

        assert "PID" in (await act(world, "web", "top", "GET")).json()["titles"]
        await act(world, "web", "stop")
        assert code(await act(world, "web", "top", "GET")) == (409, "resource-conflict")

    async def test_processes_are_told_with_other_columns(self, world: World) -> None:
        await run(world)

        answer = await call(world, "GET", f"{CONTAINERS}/web/top?column=args&column=user")
        other = await call(world, "GET", f"{CONTAINERS}/web/top?column=e")

        assert answer.json()["titles"] == ["PID", "USER", "COMMAND"]
        assert other.status_code == 422
        assert "it may be pid, ppid, user, " in other.json()["detail"]

    async def test_changed_files_are_told_up_to_a_limit(self, world: World) -> None:
        view = await run(world)
        world.engine.file_changes[view["id"]] = tuple(
            FileChange(path=f"/{n}", kind=ChangeKind.ADDED) for n in (2, 1, 3)
        )

        answer = (await act(world, "web", "diff", "GET", limit=2)).json()

        assert [change["path"] for change in answer["changes"]] == ["/1", "/2"]
        assert answer["total"] == 3

    async def test_the_agents_own_variables_are_nobodys_affair(self, world: World) -> None:
        await run(world, "web", env={"A": "b"})
        own = the_agents_own(world)
        world.engine.orders[own.id] = world.engine.orders[world.engine.containers["web"].id]

        assert (await look(world, "web")).json()["env"] == {"A": "b"}
        assert (await look(world, "the-agent")).json()["env"] == {"A": "…"}


async def is_waited_for(world: World) -> None:
    """Returns when a call waits for a container, which it has looked at first."""
    while not world.agent.events._followers:
        await anyio.lowlevel.checkpoint()
    for _ in range(100):
        await anyio.lowlevel.checkpoint()


class TestWaiting:
    """Waiting for a state."""

    async def test_one_that_is_so_already_is_answered_at_once(self, world: World) -> None:
        await run(world)

        answer = await act(world, "web", "wait", "GET", condition="running")

        assert answer.json()["state"] == "running"
        assert answer.json()["exit_code"] is None

    async def test_the_exit_code_is_told(self, world: World) -> None:
        await run(world)

        async with anyio.create_task_group() as group:

            async def end_soon() -> None:
                await is_waited_for(world)
                world.engine.stop("web", exit_code=3)

            group.start_soon(end_soon)
            answer = await act(world, "web", "wait", "GET")

        assert (answer.json()["condition"], answer.json()["exit_code"]) == ("exited", 3)

    @pytest.fixture
    async def told(self, world: World) -> AsyncIterator[World]:
        """Where the Engine's events are followed, as the agent does."""
        async with anyio.create_task_group() as group:
            group.start_soon(world.agent.events.run)
            with anyio.fail_after(5):
                while not world.agent.events.listening:
                    await anyio.sleep(0.01)
            yield world
            group.cancel_scope.cancel()

    async def test_one_that_was_started_again_has_exited_all_the_same(self, told: World) -> None:
        await run(told)

        async with anyio.create_task_group() as group:

            async def restart_soon() -> None:
                await is_waited_for(told)
                told.engine.stop("web", exit_code=3)
                told.engine.start(told.engine.containers["web"].id)

            group.start_soon(restart_soon)
            answer = await act(told, "web", "wait", "GET")

        assert (answer.json()["state"], answer.json()["exit_code"]) == ("running", 3)

    @pytest.mark.parametrize("condition", ["exited", "removed"])
    async def test_one_that_goes_as_it_ends_tells_its_exit_code(
        self, told: World, condition: str
    ) -> None:
        await run(told)

        async with anyio.create_task_group() as group:

            async def end_soon() -> None:
                await is_waited_for(told)
                told.engine.stop("web", exit_code=3)
                told.engine.remove("web")

            group.start_soon(end_soon)
            answer = await act(told, "web", "wait", "GET", condition=condition)

        assert (answer.json()["state"], answer.json()["exit_code"]) == (None, 3)

    async def test_a_removal_is_waited_for(self, world: World) -> None:
        await run(world)

        async with anyio.create_task_group() as group:

            async def remove_soon() -> None:
                await is_waited_for(world)
                world.engine.remove("web")

            group.start_soon(remove_soon)
            answer = await act(world, "web", "wait", "GET", condition="removed")

        assert answer.json()["state"] is None

    async def test_one_that_is_gone_meanwhile_is_404(self, world: World) -> None:
        await create(world)

        async with anyio.create_task_group() as group:

            async def remove_soon() -> None:
                await is_waited_for(world)
                world.engine.remove("web")

            group.start_soon(remove_soon)
            answer = await act(world, "web", "wait", "GET", condition="running")

        assert code(answer) == (404, "resource-not-found")

    async def test_a_time_limit_that_passes_is_504(self, world: World) -> None:
        await run(world)

        answer = await act(world, "web", "wait", "GET", timeout=0.05)

        assert code(answer) == (504, "condition-not-reached")
        assert "'web' is running, not exited" in answer.json()["detail"]

    async def test_health_is_waited_for_where_there_is_any(self, world: World) -> None:
        await run(world)
        healthy = {"condition": "healthy", "timeout": 5}

        assert code(await act(world, "web", "wait", "GET", **healthy)) == (
            409,
            "resource-conflict",
        )
        world.engine.containers["web"] = msgspec.structs.replace(
            world.engine.containers["web"], status="Up 1 second (healthy)"
        )
        assert (await act(world, "web", "wait", "GET", **healthy)).json()["health"] == "healthy"

    @pytest.mark.parametrize(
        "query", [{"condition": "tired"}, {"timeout": 601}, {"timeout": "nan"}]
    )
    async def test_what_makes_no_sense_is_refused(
        self, world: World, query: dict[str, Any]
    ) -> None:
        await run(world)

        assert (await act(world, "web", "wait", "GET", **query)).status_code == 422


class TestPruning:
    """What nobody needs any more."""

    async def prune(self, world: World, query: str = "") -> Any:
        return (await call(world, "POST", f"{CONTAINERS}/prune{query}")).json()

    async def test_stopped_ones_that_belong_to_nobody_go(self, world: World) -> None:
        solo = await lab(world)
        for name in ("one", "two"):
            await run(world, name)
        await act(world, "one", "stop")
        await act(world, solo, "stop", force="true")

        dry = await self.prune(world, "?dry_run=true")
        before = await names(world, all="true")
        wet = await self.prune(world)

        assert [c["name"] for c in dry["containers"]] == ["one"]
        assert before == [solo, "one", "two"]
        assert [c["name"] for c in wet["containers"]] == ["one"]
        assert (dry["dry_run"], wet["dry_run"]) == (True, False)
        assert await names(world, all="true") == [solo, "two"]

    async def test_labels_and_age_leave_others_out(self, world: World) -> None:
        for name, labels in (("one", {"a": "1"}), ("two", {})):
            await run(world, name, labels=labels)
            await act(world, name, "stop")

        labelled = await self.prune(world, "?label=a=1&dry_run=true")
        assert [c["name"] for c in labelled["containers"]] == ["one"]
        assert (await self.prune(world, "?older_than=1h&dry_run=true"))["containers"] == []
        await world.clock.advance(7200)
        assert len((await self.prune(world, "?older_than=1h"))["containers"]) == 2

    async def test_one_that_was_made_just_now_stays(self, world: World) -> None:
        await create(world)

        assert (await self.prune(world))["containers"] == []
        await world.clock.advance(600)
        assert len((await self.prune(world))["containers"]) == 1

    async def test_a_deploy_under_way_loses_nothing(self, world: World) -> None:
        world.engine.run("lab-web-1", project="lab", state=ContainerState.EXITED)
        await lab(world)

        assert (await self.prune(world))["containers"] == []

    async def test_an_agent_that_starts_prunes_nothing(self) -> None:
        async with agent_on_twins(ready=False) as world:
            answer = await call(world, "POST", f"{CONTAINERS}/prune")

            assert code(answer) == (503, "not-accepting")


async def test_every_call_wants_the_key(world: World) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/x/logs"), ("DELETE", "/x")):
        answer = await world.http.request(method, f"{CONTAINERS}{path}")

        assert answer.status_code == 401, path
    assert (await world.http.get(CONTAINERS, headers=KEY)).status_code == 200

"""The gate that every bundle passes before anything of it is built or started."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.environments import Environment, EnvironmentState
from domain.names import EnvironmentName
from tests.support.agents import World, agent_on_twins
from tests.support.api import (
    BUNDLES,
    WAIT,
    call,
    change,
    deploy,
    image_tags,
    lab,
    left_of,
    model_of,
    operation,
    shown,
    upload,
)

pytestmark = pytest.mark.anyio

HOSTILE = lab(
    "services:\n  web: {image: 'nginx:1', privileged: true, pid: host}\n"
    "  db: {build: .}\nvolumes: {v: {external: true}}\n",
    Dockerfile="FROM busybox\n",
)
PLACES = ["services.web.privileged", "services.web.pid", "volumes.v.external"]
NAME = EnvironmentName("one")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


def places(problem: dict[str, Any]) -> list[str]:
    """Where a problem found something."""
    return [finding["where"] for finding in problem["errors"]]


async def check(world: World, archive: bytes, **body: Any) -> Any:
    """The verdict on an archive."""
    return await call(world, "POST", f"{BUNDLES}/{await upload(world, archive)}/check", body)


class TestAnswers:
    async def test_a_refusal_names_everything_at_once(self, world: World) -> None:
        answer = await check(world, HOSTILE)

        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (
            422,
            "urn:container-host-agent:policy-refused",
        )
        assert sorted(places(problem)) == sorted(PLACES)
        assert all(place in problem["detail"] for place in PLACES)
        assert set(problem["errors"][0]) == {"where", "what", "why", "instead"}

    async def test_a_check_builds_and_leaves_nothing(self, world: World) -> None:
        allowed = await check(world, lab("services: {web: {build: .}}", Dockerfile="FROM busybox"))

        assert allowed.status_code == 200
        assert allowed.json() == {
            "allowed": True,
            "policy": "lab",
            "services": [{"name": "web", "image": None, "replicas": 1}],
        }
        assert world.compose.built == []
        assert not world.workspaces.staged

    async def test_a_check_takes_the_variables_of_a_deploy(self, world: World) -> None:
        archive = lab("services: {web: {image: 'nginx:1', network_mode: '${MODE}'}}")

        assert (await check(world, archive, variables={"MODE": "none"})).status_code == 200
        assert (await check(world, archive, variables={"MODE": "host"})).status_code == 422
        assert (await check(world, archive, variables={"PATH": "x"})).status_code == 422

    async def test_a_deploy_answers_the_same_and_leaves_nothing(self, world: World) -> None:
        answer = await deploy(world, "one", HOSTILE, headers={**WAIT, "Idempotency-Key": "k"})
        again = await deploy(world, "one", HOSTILE, headers={**WAIT, "Idempotency-Key": "k"})

        assert (answer.status_code, again.status_code) == (422, 422)
        assert sorted(places(answer.json())) == sorted(places(again.json())) == sorted(PLACES)
        record = (await world.store.operations.latest(None, 1))[0]
        view = await operation(world, record.id)
        assert [finding["where"] for finding in view["findings"]] == places(answer.json())
        assert await left_of(world, "one") == []
        assert world.compose.built == []
        assert await image_tags(world) == set()

    async def test_the_manager_is_told_in_words(self, world: World) -> None:
        answer = await world.launch("one", HOSTILE)

        assert answer.status_code == 422
        assert all(place in answer.json()["detail"] for place in PLACES)
        assert await left_of(world, "one") == []

    async def test_a_bundle_is_not_built_ahead_that_would_be_refused(self, world: World) -> None:
        digest = await upload(world, HOSTILE)

        answer = await call(world, "POST", f"{BUNDLES}/{digest}/build", headers=WAIT)

        assert answer.status_code == 422
        assert world.compose.built == []

    async def test_the_host_says_what_it_allows(self) -> None:
        settings = {
            "COMPOSE_POLICY": "trusted",
            "ALLOWED_CAPABILITIES": "cap_chown, NET_ADMIN",
            "ALLOWED_DEVICES": "/dev/net/tun,/dev/kvm",
            "ALLOWED_BIND_ROOTS": "/srv/labs",
            "ALLOWED_REGISTRIES": "registry.local:5000",
            "HOST_PORTS": "20000-29999",
            "NEW_PRIVILEGES": "true",
        }
        async with agent_on_twins(settings) as world:
            assert (await world.http.get("/system/info")).json()["policy"] == {
                "profile": "trusted",
                "capabilities": ["CHOWN", "NET_ADMIN"],
                "devices": ["/dev/kvm", "/dev/net/tun"],
                "bind_roots": ["/srv/labs"],
                "registries": ["registry.local:5000"],
                "host_ports": "20000-29999",
                "new_privileges": True,
            }


class TestLooks:
    @pytest.mark.parametrize(
        ("compose", "files", "where"),
        [
            ("include: [/etc/x.yaml]\nservices: {a: {image: x}}", {}, "compose.yaml: include[0]"),
            (
                "services: {a: {image: x, env_file: ../x}}",
                {},
                "compose.yaml: services.a.env_file",
            ),
            (
                "include: [sub/b.yaml]\nservices: {a: {image: x}}",
                {"sub/b.yaml": "services: {b: {image: x, label_file: '${X}'}}"},
                "sub/b.yaml: services.b.label_file",
            ),
            (
                "services: {a: {extends: {file: b.yaml, service: b}, image: x}}",
                {"b.yaml": "include: [{path: c.yaml}]", "c.yaml": "include: ['~/x']"},
                "c.yaml: include[0]",
            ),
            ("services: {a: {image: x}}", {".env": "export COMPOSE_FILE = /x"}, ".env:1"),
            (
                "include: [sub/b.yaml]\nservices: {a: {image: x}}",
                {"sub/b.yaml": "services: {}", "sub/.env": "DOCKER_HOST: x"},
                "sub/.env:1",
            ),
        ],
    )
    async def test_what_compose_would_open_is_looked_at_before_it_runs(
        self, world: World, compose: str, files: dict[str, str], where: str
    ) -> None:
        answer = await check(world, lab(compose, **files))

        assert answer.status_code == 422
        assert where in places(answer.json())

    async def test_services_of_profiles_that_do_not_run_are_judged_too(self, world: World) -> None:
        hidden = "services: {a: {image: x}, b: {image: x, profiles: [p], privileged: true}}"
        harmless = hidden.replace("true", "false")

        assert (await check(world, lab(hidden))).status_code == 422
        assert (await deploy(world, "one", lab(harmless))).status_code == 200
        assert set(model_of(world, "one")["services"]) == {"a"}

    @pytest.mark.parametrize(
        "dockerfile", ["# syntax=evil/x\nFROM busybox", "FROM container-host-agent/own:1"]
    )
    async def test_dockerfiles_are_judged(self, world: World, dockerfile: str) -> None:
        answer = await check(world, lab("services: {a: {build: .}}", Dockerfile=dockerfile))

        assert answer.status_code == 422
        assert places(answer.json())[0].startswith("services.a.build")

    async def test_a_build_without_a_dockerfile_is_refused(self, world: World) -> None:
        answer = await check(world, lab("services: {a: {build: .}}"))

        assert places(answer.json()) == ["services.a.build"]

    @pytest.mark.parametrize(("subnet", "by"), [("10.0.0.0/24", "host"), ("10.213.0.0/24", "pool")])
    async def test_addresses_that_the_host_needs_are_not_given_away(
        self, world: World, subnet: str, by: str
    ) -> None:
        compose = (
            "services: {a: {image: x, networks: {n: {ipv4_address: 10.0.0.9}}}}\n"
            f"networks: {{n: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}}}\n"
        )

        answer = await deploy(world, "one", lab(compose))

        assert "networks.n.ipam.config[0].subnet" in places(answer.json())
        assert await left_of(world, "one") == []

    async def test_names_that_begin_an_identifier_are_written_out(self, world: World) -> None:
        await deploy(world, "one", lab("services: {a: {image: cafe}, b: {image: nginx}}"))

        services = model_of(world, "one")["services"]
        assert (services["a"]["image"], services["b"]["image"]) == ("cafe:latest", "nginx")


class TestStanding:
    """Environments that stand, and whose containers may write to their folders."""

    async def test_a_rebuild_judges_the_dockerfile_that_lies_there_now(self, world: World) -> None:
        compose = "services: {web: {build: ., volumes: ['.:/w']}}"
        await deploy(world, "one", lab(compose, Dockerfile="FROM busybox\n"))
        before = model_of(world, "one")
        world.workspaces.standing[NAME]["Dockerfile",] = b"# syntax=evil/x\nFROM busybox\n"

        answer = await change(world, "one", "rebuild")

        assert answer.status_code == 422
        assert world.compose.built == ["web"]
        assert model_of(world, "one") == before
        assert (await shown(world, "one"))["state"] == "running"

    async def test_the_compose_file_is_not_read_again(self, world: World) -> None:
        await deploy(world, "one", lab("services: {web: {image: 'nginx:1', volumes: ['.:/w']}}"))
        hostile = b"services: {web: {image: evil, privileged: true}}"
        world.workspaces.standing[NAME]["compose.yaml",] = hostile

        for what in ("restart", "rebuild", "reset"):
            assert (await change(world, "one", what)).status_code == 200

        assert model_of(world, "one")["services"]["web"]["image"] == "nginx:1"

    async def _taken_over(self, world: World, compose: bytes) -> None:
        now = world.clock.now()
        world.workspaces.standing[NAME] = {("compose.yaml",): compose}
        world.engine.run("one-web-1", project="one")
        await world.store.environments.put(
            Environment(
                name=NAME,
                state=EnvironmentState.RUNNING,
                created_at=now,
                updated_at=now,
                adopted=True,
            )
        )

    async def test_what_an_earlier_agent_left_is_judged_once_and_kept(self, world: World) -> None:
        await self._taken_over(world, b"services: {web: {image: 'nginx:1', volumes: ['.:/w']}}")

        assert (await change(world, "one", "restart")).status_code == 200
        world.workspaces.standing[NAME]["compose.yaml",] = b"services: {web: {image: evil}}"
        assert (await change(world, "one", "rebuild")).status_code == 200

        service = model_of(world, "one")["services"]["web"]
        assert service["image"] == "nginx:1"
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"][0]["source"] == "/standing/one"
        assert not world.workspaces.staged

    async def test_what_an_earlier_agent_allowed_is_not_started_again(self, world: World) -> None:
        await self._taken_over(world, b"services: {web: {image: 'nginx:1', privileged: true}}")

        answer = await change(world, "one", "start")

        assert places(answer.json()) == ["services.web.privileged"]
        assert "/models/one" not in world.workspaces.models
        assert (await change(world, "one", "stop")).status_code == 200

    async def test_what_lies_inside_of_a_written_mount_comes_from_a_copy(
        self, world: World
    ) -> None:
        compose = "services: {web: {image: 'nginx:1', volumes: ['.:/w', './data:/data']}}"
        for _ in range(2):
            answer = await deploy(world, "one", lab(compose, **{"data/f": "x"}))
            assert answer.status_code == 200

        (folder,) = world.workspaces.copies
        assert world.workspaces.copies[folder] == {"0": {"f": b"x"}}
        sources = [m["source"] for m in model_of(world, "one")["services"]["web"]["volumes"]]
        assert sources == ["/standing/one", f"{folder}/0", f"{folder}/0"]
        await call(world, "DELETE", "/api/v1/environments/one", headers=WAIT)
        assert world.workspaces.copies == {}

    async def test_a_redeploy_that_fails_keeps_the_copies_of_what_comes_back(
        self, world: World
    ) -> None:
        good = "services: {web: {image: 'nginx:1', volumes: ['.:/w', './data:/data']}}"
        await deploy(world, "one", lab(good, **{"data/f": "x"}))
        before = dict(world.workspaces.copies)

        bad = good.replace("nginx:1", "missing/x")
        assert (await deploy(world, "one", lab(bad, **{"data/f": "y"}))).status_code == 422

        assert world.workspaces.copies == before

"""Environments: made, shown, changed, kept apart from each other, and taken away."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any

import anyio
import httpx
import pytest

from domain.containers import ContainerAction, ContainerEvent
from domain.names import EnvironmentName
from domain.resources import FileSystem
from tests.http.test_contract import nothing_of
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import (
    BROKEN,
    ENVIRONMENTS,
    MISSING,
    OPERATIONS,
    OTHER,
    PLAIN,
    WAIT,
    WEB,
    begin,
    call,
    change,
    deploy,
    exists,
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

ROOMY = {"MAX_CONTAINERS": "500"}
TWO = lab(
    "services:\n  web: {build: ., networks: [front, back]}\n"
    "  db: {image: 'postgres:16', networks: [back], volumes: ['data:/data']}\n"
    "networks: {front: {}, back: {}}\nvolumes: {data: {}}\n",
    Dockerfile="FROM busybox\n",
)
EVERYTHING: dict[str, Any] = {
    "vpn_profile": "client\n",
    "variables": {"FLAG": "flag{1}"},
    "labels": {"course": "web-101", "team": "blue"},
    "limits": {"cpus": 0.5, "memory": "256m", "pids": 64, "log": "2m"},
    "isolation": "internal",
    "ttl": "2h",
    "hold": {"owner": "jana", "reason": "exam", "until": "2026-01-02T00:00:00Z"},
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


class TestCreate:
    async def test_what_was_asked_for_is_shown(self, world: World) -> None:
        answer = await deploy(world, None, TWO, **{**EVERYTHING, "name": "one"})

        assert answer.status_code == 200
        view = await shown(world, "one")
        assert (view["name"], view["state"]) == ("one", "running")
        assert view["bundle"] == await upload(world, TWO)
        assert view["labels"] == EVERYTHING["labels"]
        assert view["isolation"] == "internal"
        assert view["operation"] == answer.json()["id"]
        assert view["expires_at"].startswith("2026-01-01T02:00:00")
        assert (view["hold"]["owner"], view["hold"]["reason"]) == ("jana", "exam")
        assert view["limits"] == {
            "cpus": 0.5,
            "memory_bytes": 256 * 1024**2,
            "pids": 64,
            "log_bytes": 2 * 1024**2,
        }
        assert set(view["networks"]) == {"default", "front", "back"}
        assert (view["last_error"], view["reason"], view["adopted"]) == ("", "", False)
        db, web = view["services"]
        assert (db["name"], db["image"], web["name"]) == ("db", "postgres:16", "web")
        assert web["limits"]["pids"] == 64
        assert [c["name"] for c in web["containers"]] == ["one-web-1"]
        assert web["containers"][0]["state"] == "running"

    async def test_variables_and_profile_are_not_shown(self, world: World) -> None:
        await deploy(world, "one", WEB, **EVERYTHING)

        text = (await call(world, "GET", f"{ENVIRONMENTS}/one")).text

        assert "flag{1}" not in text
        assert "client" not in text

    async def test_the_vpn_profile_stands_in_the_project(self, world: World) -> None:
        await deploy(world, "one", WEB, vpn_profile="client\nremote ü\n")

        files = world.workspaces.files(EnvironmentName("one"))

        assert files["vpn.ovpn"] == "client\nremote ü\n".encode()

    async def test_a_name_is_made_up_where_there_is_none(self, world: World) -> None:
        first = await deploy(world, None, WEB)
        second = await deploy(world, None, WEB)

        names = [answer.json()["environment"] for answer in (first, second)]
        assert len(set(names)) == 2
        assert [(await shown(world, name))["state"] for name in names] == ["running"] * 2

    async def test_a_name_that_stands_is_refused(self, world: World) -> None:
        await deploy(world, "one", WEB)

        answer = await deploy(world, None, OTHER, name="one")

        assert answer.status_code == 409
        assert f"PUT {ENVIRONMENTS}/one" in answer.json()["detail"]
        assert world.compose.built == ["web"]

    async def test_of_two_that_make_one_name_at_once_one_is_refused(self, world: World) -> None:
        world.compose.build_seconds = 5
        answers: list[int] = []

        async def ask() -> None:
            answer = await deploy(world, None, WEB, name="one")
            answers.append(answer.status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
            await world.clock.advance(10)

        assert sorted(answers) == [200, 409]

    async def test_one_whose_deploy_failed_is_removed_like_any_other(self, world: World) -> None:
        await deploy(world, "one", BROKEN)
        assert (await shown(world, "one"))["state"] == "failed"

        assert (await remove(world, "one")).status_code == 200

        assert not await exists(world, "one")

    async def test_a_name_whose_deploy_failed_is_free(self, world: World) -> None:
        await deploy(world, None, BROKEN, name="one")

        answer = await deploy(world, None, WEB, name="one")

        assert answer.status_code == 200

    async def test_a_name_of_somebody_elses_project_is_refused(self, world: World) -> None:
        world.engine.run("gitlab-web-1", project="gitlab")
        await world.agent.inventory.refresh()

        answer = await deploy(world, "gitlab", WEB)

        assert answer.status_code == 409
        assert set(world.engine.containers) == {"gitlab-web-1"}

    @pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "nonsense", ""])
    async def test_a_bundle_that_is_not_there_is_404(self, world: World, digest: str) -> None:
        answer = await call(world, "POST", ENVIRONMENTS, {"bundle": digest}, WAIT)

        assert answer.status_code == 404
        assert (await call(world, "GET", ENVIRONMENTS)).json() == {"environments": []}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"unknown": 1},
            {"name": "Upper"},
            {"name": "../../etc"},
            {"name": 1},
            {"labels": {"a": 1}},
            {"labels": {"a b": "c"}},
            {"labels": {"a": "b\nc"}},
            {"labels": []},
            {"variables": {"1A": "b"}},
            {"variables": {"A B": "b"}},
            {"variables": {"A": "b\0c"}},
            {"limits": {"cpu": 1}},
            {"limits": {"memory": "much"}},
            {"limits": {"cpus": "1"}},
            {"isolation": "closed"},
            {"ttl": "soon"},
            {"ttl": -1},
            {"ttl": True},
            {"ttl": 1e300},
            {"expires_at": "tomorrow"},
            {"expires_at": "2020-01-01T00:00:00Z"},
            {"ttl": 60, "expires_at": "2030-01-01T00:00:00Z"},
            {"hold": {"owner": "jana"}},
            {"hold": {"owner": " ", "reason": "exam"}},
            {"hold": {"owner": "jana", "reason": "exam", "more": 1}},
        ],
        ids=str,
    )
    async def test_what_cannot_be_is_refused_and_leaves_nothing(
        self, world: World, wrong: dict[str, Any]
    ) -> None:
        answer = await deploy(world, None, WEB, **{"name": "one", **wrong})

        assert answer.status_code == 422
        assert answer.json()["detail"]
        assert world.engine.containers == {}
        assert (await call(world, "GET", ENVIRONMENTS)).json() == {"environments": []}
        assert (await call(world, "GET", OPERATIONS)).json() == {"operations": []}

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 5000])
    async def test_a_body_that_is_no_request_is_refused(self, world: World, body: bytes) -> None:
        answer = await world.http.post(ENVIRONMENTS, content=body, headers=KEY)

        assert answer.status_code == 422
        assert answer.json()["detail"]

    async def test_without_the_key_nothing_is_done(self, world: World) -> None:
        answers = [
            await world.http.post(ENVIRONMENTS, json={}),
            await world.http.get(ENVIRONMENTS),
            await world.http.put(f"{ENVIRONMENTS}/one", json={}),
            await world.http.delete(f"{ENVIRONMENTS}/one"),
            await world.http.post(f"{ENVIRONMENTS}/one/reset"),
            await world.http.get(f"{ENVIRONMENTS}/one/logs"),
            await world.http.get(f"{ENVIRONMENTS}/one/timeline"),
        ]

        assert [answer.status_code for answer in answers] == [401] * 7


class TestForm:
    async def post(
        self, world: World, files: Any = None, path: str = ENVIRONMENTS, **fields: str
    ) -> httpx.Response:
        parts = files if files is not None else {"bundle": ("lab.zip", WEB)}
        headers = {**KEY, **WAIT}
        if path == ENVIRONMENTS:
            return await world.http.post(path, files=parts, data=fields, headers=headers)
        return await world.http.put(path, files=parts, data=fields, headers=headers)

    async def test_bundle_profile_and_fields_come_in_one_request(self, world: World) -> None:
        answer = await self.post(
            world,
            {"bundle": ("lab.zip", WEB), "vpn_profile": ("vpn.ovpn", b"\xffclient")},
            name="one",
            labels='{"course": "web-101"}',
            limits='{"pids": 64}',
            ttl="2h",
            isolation="internal",
        )

        assert answer.status_code == 200
        view = await shown(world, "one")
        assert (view["labels"], view["limits"]["pids"]) == ({"course": "web-101"}, 64)
        assert (view["isolation"], view["state"]) == ("internal", "running")
        assert view["expires_at"].startswith("2026-01-01T02:00:00")
        assert world.workspaces.files(EnvironmentName("one"))["vpn.ovpn"] == b"\xffclient"
        assert world.workspaces.bundles.archives == {}

    async def test_its_bundle_is_kept_for_others(self, world: World) -> None:
        await self.post(world, name="one")
        digest = (await shown(world, "one"))["bundle"]

        answer = await call(world, "POST", ENVIRONMENTS, {"bundle": digest}, WAIT)

        assert answer.status_code == 200
        assert len(world.workspaces.bundles.library) == 1

    async def test_the_whole_request_may_be_one_field(self, world: World) -> None:
        answer = await self.post(
            world, request='{"name": "one", "labels": {"a": "b"}, "limits": {"cpus": 0.5}}'
        )

        assert answer.status_code == 200
        assert (await shown(world, "one"))["labels"] == {"a": "b"}

    async def test_it_replaces_as_well(self, world: World) -> None:
        await deploy(world, "one", PLAIN)

        answer = await self.post(world, path=f"{ENVIRONMENTS}/one")

        assert answer.status_code == 200
        assert set(world.engine.containers) == {"one-web-1"}

    async def test_a_digest_may_come_in_place_of_the_archive(self, world: World) -> None:
        digest = await upload(world, WEB)

        answer = await self.post(
            world, {"request": (None, json.dumps({"bundle": digest, "name": "one"}))}
        )

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "fields",
        [
            {"unknown": "1"},
            {"name": "Upper"},
            {"labels": "no json"},
            {"labels": '{"a": 1}'},
            {"variables": '{"PATH": "/evil"}'},
            {"limits": "[]"},
            {"limits": '{"pids": 100000}'},
            {"ttl": "soon"},
            {"isolation": "closed"},
            {"request": "["},
            {"request": '{"unknown": 1}'},
        ],
        ids=str,
    )
    async def test_one_that_is_wrong_leaves_no_archive(
        self, world: World, fields: dict[str, str]
    ) -> None:
        answer = await self.post(world, **fields)

        assert answer.status_code == 422
        assert world.workspaces.bundles.archives == {}
        assert world.workspaces.staged == {}
        assert (await call(world, "GET", ENVIRONMENTS)).json() == {"environments": []}

    async def test_one_without_a_bundle_is_refused(self, world: World) -> None:
        answer = await self.post(world, {"name": (None, "one")})

        assert answer.status_code == 422
        assert "bundle" in answer.json()["detail"]

    async def test_one_with_a_broken_archive_is_refused_and_leaves_nothing(
        self, world: World
    ) -> None:
        answer = await self.post(world, {"bundle": ("lab.zip", WEB[:40])}, name="one")

        assert answer.status_code == 422
        assert world.workspaces.bundles.archives == {}
        assert world.workspaces.bundles.library == {}
        assert not await exists(world, "one")

    @pytest.mark.parametrize("cut", [0, 30, -30])
    async def test_one_that_ends_in_the_middle_leaves_no_archive(
        self, world: World, cut: int
    ) -> None:
        whole = httpx.Request("POST", "http://agent", files={"bundle": ("lab.zip", WEB)})
        kind = whole.headers["content-type"]

        answer = await world.http.post(
            ENVIRONMENTS, content=whole.read()[:cut], headers={**KEY, "Content-Type": kind}
        )

        assert answer.status_code == 422
        assert world.workspaces.bundles.archives == {}

    async def test_one_that_is_refused_for_its_name_leaves_no_archive(self, world: World) -> None:
        await deploy(world, "one", PLAIN)

        answer = await self.post(world, name="one")

        assert answer.status_code == 409
        assert world.workspaces.bundles.archives == {}

    async def test_one_beyond_the_limit_is_refused(self) -> None:
        async with agent_on_twins({"MAX_BUNDLE_BYTES": "4096"}) as world:
            answer = await self.post(world, {"bundle": ("lab.zip", b"x" * 5000)})

            assert answer.status_code in {413, 422}
            assert world.workspaces.bundles.archives == {}


class TestReplace:
    async def test_it_takes_the_place_of_what_stood(self, world: World) -> None:
        await deploy(world, "one", TWO, labels={"a": "b"})
        created = (await shown(world, "one"))["created_at"]
        await world.clock.advance(60)

        answer = await deploy(world, "one", PLAIN, labels={"c": "d"})

        assert answer.status_code == 200
        view = await shown(world, "one")
        assert set(world.engine.containers) == {"one-solo-1"}
        assert (view["labels"], view["created_at"]) == ({"c": "d"}, created)
        assert view["bundle"] == await upload(world, PLAIN)
        assert world.workspaces.previous == {}
        assert world.workspaces.staged == {}

    async def test_a_name_that_is_not_that_of_the_path_is_refused(self, world: World) -> None:
        answer = await deploy(world, "one", WEB, name="two")

        assert answer.status_code == 422
        assert not await exists(world, "one")
        assert not await exists(world, "two")

    async def test_what_stood_runs_until_the_new_one_is_built(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)

        during = set(world.engine.containers)
        await world.clock.advance(10)

        assert during == {"one-solo-1"}
        assert set(world.engine.containers) == {"one-web-1"}

    @pytest.mark.parametrize(
        ("archive", "step"),
        [
            (BROKEN, "build"),
            (MISSING, "start"),
            (lab("services: {a: {}}"), "check"),
            (
                lab("services: {a: {image: missing/b, networks: [x, y]}}\nnetworks: {x: , y: }"),
                "start",
            ),
        ],
        ids=["build", "start", "check", "start with other networks"],
    )
    async def test_one_that_fails_leaves_what_stood_with_all_that_was_known_of_it(
        self, world: World, archive: bytes, step: str
    ) -> None:
        await deploy(world, "one", TWO, **EVERYTHING)
        before, images = await shown(world, "one"), await image_tags(world)
        engine = (dict(world.engine.subnets), dict(world.engine.tags))

        answer = await deploy(world, "one", archive, labels={"other": "x"}, limits={"pids": 9})

        assert answer.status_code == 422
        assert "The earlier environment of this name was kept." in answer.json()["detail"]
        after = await shown(world, "one")
        assert f"Step '{step}' failed" in after["last_error"]
        kept = ("state", "labels", "limits", "networks", "expires_at", "hold", "bundle")
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
        assert set(world.engine.containers) == {"one-db-1", "one-web-1"}
        assert await image_tags(world) == images
        assert (world.engine.subnets, world.engine.tags) == engine
        assert world.workspaces.previous == {}

    async def test_its_last_error_goes_with_a_change_that_succeeds(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await deploy(world, "one", BROKEN)
        failed = (await shown(world, "one"))["last_error"]

        await change(world, "one", "restart")

        assert failed
        assert (await shown(world, "one"))["last_error"] == ""

    async def test_a_first_deploy_that_fails_leaves_its_record_and_nothing_else(
        self, world: World
    ) -> None:
        answer = await deploy(world, "one", BROKEN)

        assert answer.status_code == 422
        assert "earlier environment" not in answer.json()["detail"]
        view = await shown(world, "one")
        assert view["state"] == "failed"
        assert "Step 'build' failed" in view["reason"]
        assert await left_of(world, "one") == []
        assert await image_tags(world) == set()

    async def test_a_volume_that_stood_stays(self, world: World) -> None:
        await deploy(world, "one", TWO)

        await deploy(world, "one", TWO)

        assert world.engine.volumes == {"one_data": "one"}

    async def test_a_hold_stays_unless_another_comes(self, world: World) -> None:
        await deploy(world, "one", WEB, hold={"owner": "jana", "reason": "exam"})
        await deploy(world, "one", OTHER)
        first = (await shown(world, "one"))["hold"]["owner"]

        await deploy(world, "one", OTHER, hold={"owner": "ben", "reason": "exam"})

        assert first == "jana"
        assert (await shown(world, "one"))["hold"]["owner"] == "ben"


class TestVariables:
    @pytest.mark.parametrize("name", ["GOLD", "LDAP_HOST", "FLAG", "_x", "PATHS", "BUILDER"])
    async def test_they_fill_in_the_compose_file(self, world: World, name: str) -> None:
        archive = lab("services: {web: {image: 'nginx:${" + name + "}'}}")

        answer = await deploy(world, "one", archive, variables={name: "1.27"})

        assert answer.status_code == 200
        assert world.engine.containers["one-web-1"].image == "nginx:1.27"

    @pytest.mark.parametrize(
        "name", ["PATH", "COMPOSE_FILE", "LD_PRELOAD", "DOCKER_HOST", "Path", "https_proxy"]
    )
    async def test_those_that_steer_programs_are_refused(self, world: World, name: str) -> None:
        answer = await deploy(world, "one", WEB, variables={name: "x"})

        assert answer.status_code == 422
        assert name in answer.json()["detail"]

    async def test_too_many_are_refused(self, world: World) -> None:
        answer = await deploy(world, "one", WEB, variables={f"V{n}": "x" for n in range(257)})

        assert answer.status_code == 422


class TestList:
    async def test_labels_choose(self, world: World) -> None:
        await deploy(world, "one", PLAIN, labels={"course": "web-101", "team": "blue"})
        await deploy(world, "two", PLAIN, labels={"course": "web-101", "team": "red"})
        await deploy(world, "three", PLAIN)

        async def names(query: str) -> list[str]:
            found = (await call(world, "GET", f"{ENVIRONMENTS}{query}")).json()["environments"]
            return [view["name"] for view in found]

        assert await names("") == ["one", "three", "two"]
        assert await names("?label=course=web-101") == ["one", "two"]
        assert await names("?label=course=web-101&label=team=red") == ["two"]
        assert await names("?label=team") == ["one", "two"]
        assert await names("?label=course=other") == []
        assert await names("?limit=2") == ["one", "three"]

    async def test_the_state_chooses(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        await deploy(world, "two", PLAIN)
        await deploy(world, "three", BROKEN)
        await change(world, "two", "stop")

        async def names(state: str) -> list[str]:
            path = f"{ENVIRONMENTS}?state={state}"
            return [v["name"] for v in (await call(world, "GET", path)).json()["environments"]]

        assert await names("running") == ["one"]
        assert await names("stopped") == ["two"]
        assert await names("failed") == ["three"]
        assert (await call(world, "GET", f"{ENVIRONMENTS}?state=nonsense")).status_code == 422

    async def test_while_the_engine_is_away_it_shows_what_was_last_seen(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        world.engine.fault = "is away"

        one = await call(world, "GET", f"{ENVIRONMENTS}/one")
        assert one.json()["state"] == "running"
        listed = await call(world, "GET", ENVIRONMENTS)
        assert [view["name"] for view in listed.json()["environments"]] == ["one"]

    async def test_whoever_wants_the_engines_word_gets_it_or_is_told_that_there_is_none(
        self, world: World
    ) -> None:
        await deploy(world, "one", PLAIN)
        world.engine.stop("one-solo-1")
        (listed,) = (await call(world, "GET", f"{ENVIRONMENTS}?fresh=true")).json()["environments"]
        world.engine.fault = "is away"
        paths = (f"{ENVIRONMENTS}?fresh=true", f"{ENVIRONMENTS}/one?fresh=true")

        assert listed["state"] == "stopped"
        assert [(await call(world, "GET", path)).status_code for path in paths] == [503, 503]

    async def test_what_nobody_knows_is_404(self, world: World) -> None:
        answers = [
            await call(world, "GET", f"{ENVIRONMENTS}/one"),
            await remove(world, "one"),
            await call(world, "PATCH", f"{ENVIRONMENTS}/one", {"labels": {}}),
            await call(world, "GET", f"{ENVIRONMENTS}/one/timeline"),
            await call(world, "GET", f"{ENVIRONMENTS}/one/logs"),
            *[
                await change(world, "one", what)
                for what in ("start", "stop", "restart", "rebuild", "reset")
            ],
        ]

        assert [answer.status_code for answer in answers] == [404] * 10
        assert all("'one'" in answer.json()["detail"] for answer in answers)


class TestLimits:
    @pytest.mark.parametrize(
        "limits",
        [
            {"cpus": 4.1},
            {"memory": "9g"},
            {"pids": 4097},
            {"log": "101m"},
            {"cpus": 0},
            {"cpus": -1},
            {"memory": "1m"},
            {"pids": 0},
            {"log": 0},
        ],
        ids=str,
    )
    async def test_what_the_host_does_not_give_is_refused(
        self, world: World, limits: dict[str, Any]
    ) -> None:
        answer = await deploy(world, "one", WEB, limits=limits)

        assert answer.status_code == 422
        assert "limits." in answer.json()["detail"]
        assert not await exists(world, "one")

    async def test_every_container_runs_with_limits(self, world: World) -> None:
        await deploy(world, "one", TWO)

        for service in model_of(world, "one")["services"].values():
            assert service["cpus"] == 1.0
            assert service["mem_limit"] == service["memswap_limit"] == str(1024**3)
            assert service["pids_limit"] == 512
            assert service["logging"] == {
                "driver": "json-file",
                "options": {"max-size": str(10 * 1024**2), "max-file": "2"},
            }

    async def test_those_of_the_request_come_before_those_of_the_operator(
        self, world: World
    ) -> None:
        await deploy(world, "one", WEB, limits=EVERYTHING["limits"])

        service = model_of(world, "one")["services"]["web"]

        assert (service["cpus"], service["pids_limit"]) == (0.5, 64)
        assert service["mem_limit"] == service["memswap_limit"] == str(256 * 1024**2)
        assert service["logging"]["options"]["max-size"] == str(1024**2)

    async def test_a_bundle_may_ask_for_less_and_never_for_more(self, world: World) -> None:
        archive = lab(
            "services:\n"
            "  less: {image: a, mem_limit: 64m, cpus: 0.1, pids_limit: 5}\n"
            "  more: {image: b, mem_limit: 7g, cpus: 3, pids_limit: 4000}\n"
            "  none: {image: c, pids_limit: -1, mem_limit: 0,"
            " deploy: {resources: {limits: {memory: 900g}}}}\n"
        )

        await deploy(world, "one", archive, limits=EVERYTHING["limits"])

        services = model_of(world, "one")["services"]
        assert services["less"]["mem_limit"] == str(64 * 1024**2)
        assert (services["less"]["cpus"], services["less"]["pids_limit"]) == (0.1, 5)
        for name in ("more", "none"):
            assert services[name]["mem_limit"] == str(256 * 1024**2)
            assert (services[name]["cpus"], services[name]["pids_limit"]) == (0.5, 64)
        assert "resources" not in services["none"].get("deploy", {})

    @pytest.mark.parametrize(
        ("settings", "kind"),
        [
            ({"MAX_COMMITTED_CPU_PERCENT": "100"}, "MAX_COMMITTED_CPU_PERCENT"),
            ({"MAX_COMMITTED_MEMORY_PERCENT": "25"}, "MAX_COMMITTED_MEMORY_PERCENT"),
        ],
    )
    async def test_all_limits_together_stay_within_what_the_host_may_promise(
        self, settings: dict[str, str], kind: str
    ) -> None:
        async with agent_on_twins({**ROOMY, **settings}) as world:
            for name in ("one", "two"):
                assert (await deploy(world, name, PLAIN)).status_code == 200
            await change(world, "two", "stop")

            refused = await deploy(world, "three", PLAIN)
            replaced = await deploy(world, "one", PLAIN)
            await remove(world, "two")
            taken = await deploy(world, "three", PLAIN)

            assert refused.status_code == 503
            assert kind in refused.json()["detail"]
            assert int(refused.headers["retry-after"]) > 0
            assert await left_of(world, "two") == []
            assert (replaced.status_code, taken.status_code) == (200, 200)

    async def test_beyond_the_most_containers_nothing_is_built(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "2"}) as world:
            three = lab("services: {a: {build: ., scale: 3}}", Dockerfile="FROM busybox\n")

            answer = await deploy(world, "one", three)

            assert answer.status_code == 503
            assert "MAX_CONTAINERS" in answer.json()["detail"]
            assert world.compose.built == []
            assert await left_of(world, "one") == []


class TestDisk:
    async def test_a_disk_that_is_full_takes_no_deploys(self, world: World) -> None:
        await upload(world, WEB)
        world.metrics.free_percent = 4.0

        body = {"bundle": next(iter(world.workspaces.bundles.library)), "name": "one"}
        answer = await call(world, "POST", ENVIRONMENTS, body, WAIT)

        assert answer.status_code == 507
        assert "MIN_FREE_PERCENT" in answer.json()["detail"]
        assert not await exists(world, "one")

    async def test_a_workspace_that_is_gone_takes_no_deploys(self, world: World) -> None:
        await upload(world, WEB)
        world.workspaces.fault = "The folder is gone."

        body = {"bundle": next(iter(world.workspaces.bundles.library)), "name": "one"}
        answer = await call(world, "POST", ENVIRONMENTS, body, WAIT)

        assert (answer.status_code, answer.json()["detail"]) == (503, "The folder is gone.")
        assert not await exists(world, "one")

    async def test_room_is_made_of_unused_images_oldest_first(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, archive in (("one", WEB), ("two", OTHER), ("three", PLAIN)):
            await deploy(world, name, archive)
            await world.clock.advance(60)
        used = {"nginx:1"}
        (oldest,) = (await world.store.environments.get(EnvironmentName("one"))).images.values()  # type: ignore[union-attr]
        await remove(world, "one")
        await remove(world, "two")
        digest = await upload(world, PLAIN)
        everything = await image_tags(world)

        async def file_system(role: str, path: str) -> FileSystem:
            # Room for two images.
            free = 10.0 if len(world.engine.tags) <= 2 else 1.0
            return FileSystem(
                role=role,
                path=path,
                total_bytes=1000,
                used_bytes=0,
                free_bytes=int(free * 10),
                percent=100 - free,
            )

        monkeypatch.setattr(world.metrics, "file_system", file_system)
        answer = await call(world, "POST", ENVIRONMENTS, {"bundle": digest}, WAIT)

        assert answer.status_code == 200
        assert everything - await image_tags(world) == {oldest}
        assert used <= await image_tags(world)


class TestModel:
    """The one file that Compose is given to start."""

    async def test_built_images_are_never_asked_of_a_registry(self, world: World) -> None:
        await deploy(world, "one", TWO)

        services = model_of(world, "one")["services"]

        assert services["web"]["pull_policy"] == "never"
        assert services["web"]["image"].startswith("container-host-agent/shared:")
        assert services["db"]["image"] == "postgres:16"

    async def test_two_environments_of_one_bundle_bear_different_names(self, world: World) -> None:
        named = lab(
            "services: {web: {image: a, container_name: gate, networks: {default: {aliases: [x]}}}}"
        )

        answers = [await deploy(world, name, named) for name in ("one", "two")]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert set(world.engine.containers) == {"one-web-1", "two-web-1"}
        service = model_of(world, "one")["services"]["web"]
        assert "container_name" not in service
        assert service["networks"]["default"]["aliases"] == ["x", "gate"]

    async def test_networks_and_volumes_bear_the_environments_name(self, world: World) -> None:
        named = lab(
            "services: {web: {image: a, networks: [n], volumes: ['v:/v']}}\n"
            "networks: {n: {name: shared, enable_ipv6: true}}\nvolumes: {v: {name: shared}}\n"
        )

        await deploy(world, "one", named)

        model = model_of(world, "one")
        assert model["name"] == "one"
        assert (model["networks"]["n"]["name"], model["volumes"]["v"]["name"]) == ("one_n", "one_v")
        assert model["networks"]["n"]["enable_ipv6"] is False
        assert set(world.engine.volumes) == {"one_v"}

    async def test_containers_are_marked_with_their_environment(self, world: World) -> None:
        await deploy(world, "one", WEB)

        labels = model_of(world, "one")["services"]["web"]["labels"]

        assert labels["container-host-agent.environment"] == "one"

    async def test_paths_lead_to_where_the_environment_stands(self, world: World) -> None:
        await deploy(world, "one", WEB)

        context = model_of(world, "one")["services"]["web"]["build"]["context"]

        assert context == "/standing/one"

    @pytest.mark.parametrize(
        "shared", ["networks: {x: {external: true}}", "volumes: {x: {external: true, name: y}}"]
    )
    async def test_what_would_be_shared_with_others_is_refused(
        self, world: World, shared: str
    ) -> None:
        answer = await deploy(world, "one", lab(f"services: {{web: {{image: a}}}}\n{shared}\n"))

        assert answer.status_code == 422
        assert "external" in answer.json()["detail"]
        assert await left_of(world, "one") == []

    async def test_one_that_is_internal_reaches_nothing_outside(self, world: World) -> None:
        await deploy(world, "one", TWO, isolation="internal")
        await deploy(world, "two", TWO)

        inside = model_of(world, "one")["networks"].values()
        outside = model_of(world, "two")["networks"].values()

        assert all(network["internal"] is True for network in inside)
        assert not any("internal" in network for network in outside)


class TestAddresses:
    def taken(self, world: World) -> list[IPv4Network]:
        return [IPv4Network(subnet) for subnet in world.engine.subnets.values()]

    async def test_two_environments_never_share_a_subnet(self) -> None:
        async with agent_on_twins(ROOMY) as world:
            world.engine.subnets["somebody-elses"] = "10.213.0.16/28"
            world.compose.up_seconds = 1
            for number in range(6):
                await begin(world, f"lab-{number}", TWO)
            await world.clock.advance(10)

            taken = self.taken(world)
            pool = IPv4Network("10.213.0.0/16")
            assert len(taken) == 1 + 6 * 3
            assert all(subnet.subnet_of(pool) for subnet in taken)
            assert not any(a.overlaps(b) for a in taken for b in taken if a is not b)
            view = await shown(world, "lab-0")
            model = model_of(world, "lab-0")["networks"]
            assert view["networks"] == {
                name: body["ipam"]["config"][0]["subnet"] for name, body in model.items()
            }

    async def test_a_redeploy_keeps_its_subnets(self, world: World) -> None:
        await deploy(world, "zero", TWO)
        await deploy(world, "one", TWO)
        before = (await shown(world, "one"))["networks"]
        await remove(world, "zero")

        await deploy(world, "one", TWO)

        assert (await shown(world, "one"))["networks"] == before

    async def test_a_network_with_fixed_addresses_keeps_its_authors_range(
        self, world: World
    ) -> None:
        fixed = lab(
            "services: {web: {image: a, networks: {n: {ipv4_address: 10.9.0.5}}}}\n"
            "networks: {n: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n"
        )

        await deploy(world, "one", fixed)

        assert world.engine.subnets["one_n"] == "10.9.0.0/24"

    async def test_a_pool_that_is_used_up_refuses_before_anything_starts(self) -> None:
        async with agent_on_twins({**ROOMY, "NETWORK_POOL": "10.99.0.0/24"}) as world:
            for number in range(16):
                assert (await deploy(world, f"lab-{number}", PLAIN)).status_code == 200

            refused = await deploy(world, "late", WEB)
            left = await left_of(world, "late")
            built = list(world.compose.built)
            await remove(world, "lab-7")
            taken = await deploy(world, "late", WEB)

            assert refused.status_code == 503
            assert "NETWORK_POOL" in refused.json()["detail"]
            assert int(refused.headers["retry-after"]) > 0
            assert (left, built) == ([], [])
            assert taken.status_code == 200
            assert len(set(self.taken(world))) == 16

    async def test_a_failed_deploy_gives_its_subnets_back(self) -> None:
        async with agent_on_twins({**ROOMY, "NETWORK_POOL": "10.99.0.0/24"}) as world:
            for number in range(20):
                assert (await deploy(world, f"lab-{number}", MISSING)).status_code == 422

            assert (await deploy(world, "one", PLAIN)).status_code == 200


class TestChanges:
    async def test_stop_and_start_change_the_state(self, world: World) -> None:
        await deploy(world, "one", TWO)

        stopped = await change(world, "one", "stop")
        after_stop = await shown(world, "one")
        started = await change(world, "one", "start")
        after_start = await shown(world, "one")

        assert (stopped.status_code, stopped.json()["kind"]) == (200, "stop")
        assert after_stop["state"] == "stopped"
        assert {c["state"] for s in after_stop["services"] for c in s["containers"]} == {"exited"}
        assert (started.status_code, started.json()["kind"]) == (200, "start")
        assert after_start["state"] == "running"
        assert world.compose.built == ["web"]

    async def test_what_runs_or_is_stopped_already_may_be_asked_for_again(
        self, world: World
    ) -> None:
        await deploy(world, "one", PLAIN)

        assert (await change(world, "one", "start")).status_code == 200
        assert (await change(world, "one", "stop")).status_code == 200
        assert (await change(world, "one", "stop")).status_code == 200
        assert (await shown(world, "one"))["state"] == "stopped"

    async def test_a_restart_ends_and_starts(self, world: World) -> None:
        await deploy(world, "one", TWO)

        answer = await change(world, "one", "restart")

        assert (answer.status_code, answer.json()["kind"]) == (200, "restart")
        assert "Container one-web-1  Stopped" in answer.json()["output"]
        assert (await shown(world, "one"))["state"] == "running"
        assert world.compose.built == ["web"]

    @pytest.mark.parametrize("parameters", [{}, {"no_cache": "true"}])
    async def test_a_rebuild_builds_again_and_keeps_volumes(
        self, world: World, parameters: dict[str, str]
    ) -> None:
        await deploy(world, "one", TWO)
        before = {c.id for c in world.engine.containers.values()}

        answer = await change(world, "one", "rebuild", **parameters)

        assert (answer.status_code, answer.json()["kind"]) == (200, "rebuild")
        assert world.compose.built == ["web", "web"]
        assert before.isdisjoint({c.id for c in world.engine.containers.values()})
        assert world.engine.volumes == {"one_data": "one"}
        assert (await shown(world, "one"))["state"] == "running"

    async def test_a_reset_makes_all_anew_from_the_images_at_hand(self, world: World) -> None:
        await deploy(world, "one", TWO)
        before = {c.id for c in world.engine.containers.values()}
        networks = (await shown(world, "one"))["networks"]

        answer = await change(world, "one", "reset")

        assert (answer.status_code, answer.json()["kind"]) == (200, "reset")
        assert world.compose.built == ["web"]
        assert before.isdisjoint({c.id for c in world.engine.containers.values()})
        assert world.engine.volumes == {"one_data": "one"}
        assert (await shown(world, "one"))["networks"] == networks
        assert (await shown(world, "one"))["state"] == "running"

    async def test_a_rebuild_that_fails_leaves_what_runs(self, world: World) -> None:
        await deploy(world, "one", WEB)
        images = await image_tags(world)
        files = world.workspaces.standing[EnvironmentName("one")]
        files["Dockerfile",] = b"FROM busybox\nRUN exit 1\n"

        answer = await change(world, "one", "rebuild")

        assert answer.status_code == 422
        view = await shown(world, "one")
        assert view["state"] == "running"
        assert "Step 'build' failed" in view["last_error"]
        used = set((await world.store.environments.get(EnvironmentName("one"))).images.values())  # type: ignore[union-attr]
        assert used == images
        assert used <= set(world.engine.tags)

    async def test_services_that_ended_well_leave_it_running(self, world: World) -> None:
        await deploy(world, "one", TWO)
        world.engine.stop("one-db-1", exit_code=0)

        view = await shown(world, "one")

        assert (view["state"], view["reason"]) == ("running", "")
        assert view["services"][0]["containers"][0]["exit_code"] == 0

    async def test_a_service_that_ended_badly_leaves_it_degraded(self, world: World) -> None:
        await deploy(world, "one", TWO)
        world.engine.stop("one-db-1", exit_code=1)

        view = await shown(world, "one")

        assert view["state"] == "degraded"
        assert "one-db-1" in view["reason"]

    @pytest.mark.parametrize("what", ["start", "stop", "restart", "rebuild", "reset"])
    async def test_what_only_failed_to_come_up_cannot_be_changed(
        self, world: World, what: str
    ) -> None:
        await deploy(world, "one", BROKEN)

        assert (await change(world, "one", what)).status_code == 404

    @pytest.mark.parametrize("what", ["start", "stop", "restart", "rebuild", "reset"])
    async def test_while_the_engine_is_away_nothing_is_changed(
        self, world: World, what: str
    ) -> None:
        await deploy(world, "one", PLAIN)
        world.engine.fault = "is away"
        await world.look()

        answer = await change(world, "one", what)

        assert answer.status_code == 503
        assert answer.headers["retry-after"]

    async def test_a_change_that_comes_while_it_is_deployed_waits_for_that(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)
        stop = await call(world, "POST", f"{ENVIRONMENTS}/one/stop")
        await world.clock.advance(10)

        assert stop.status_code == 202
        assert (await operation(world, stop.json()["id"]))["state"] == "succeeded"
        assert (await shown(world, "one"))["state"] == "stopped"


class TestDelete:
    async def test_it_takes_everything_away(self, world: World) -> None:
        await deploy(world, "one", TWO, **{**EVERYTHING, "hold": None})

        answer = await remove(world, "one")

        assert (answer.status_code, answer.json()["kind"]) == (200, "delete")
        assert not await exists(world, "one")
        assert nothing_of(world, "one")
        assert await left_of(world, "one") == []
        assert (await remove(world, "one")).status_code == 404

    @pytest.mark.parametrize("damage", ["gone", "empty", "compose file", "model"])
    async def test_files_that_are_damaged_or_gone_are_no_matter(
        self, world: World, damage: str
    ) -> None:
        await deploy(world, "one", TWO)
        files = world.workspaces.standing[EnvironmentName("one")]
        if damage == "gone":
            world.workspaces.standing.clear()
            world.workspaces.models.clear()
        elif damage == "empty":
            files.clear()
        elif damage == "compose file":
            files["compose.yaml",] = b"a: ["
        else:
            world.workspaces.models["/models/one"] = {"services": 1}

        answer = await remove(world, "one")

        assert answer.status_code == 200
        assert nothing_of(world, "one")
        assert not await exists(world, "one")

    async def test_it_cuts_off_what_is_under_way(self, world: World) -> None:
        world.compose.build_seconds = 500
        identifier = await begin(world, "one", WEB)

        answer = await remove(world, "one")

        assert answer.status_code == 200
        assert (await operation(world, identifier))["state"] == "cancelled"
        assert await left_of(world, "one") == []
        assert await image_tags(world) == set()
        assert not await exists(world, "one")

    async def test_what_is_held_stays_unless_forced(self, world: World) -> None:
        await deploy(world, "one", PLAIN, hold={"owner": "jana", "reason": "exam review"})

        refused = await remove(world, "one")
        forced = await remove(world, "one", force=True)

        assert refused.status_code == 409
        assert "jana: exam review" in refused.json()["detail"]
        assert forced.status_code == 200
        assert not await exists(world, "one")

    async def test_a_hold_that_has_ended_keeps_nothing(self, world: World) -> None:
        hold = {"owner": "jana", "reason": "exam", "until": "2026-01-01T01:00:00Z"}
        await deploy(world, "one", PLAIN, hold=hold)
        refused = await remove(world, "one")
        await world.clock.advance(3601)

        taken = await remove(world, "one")

        assert (refused.status_code, taken.status_code) == (409, 200)

    async def test_one_that_is_deployed_again_meanwhile_stands_in_the_end(
        self, world: World
    ) -> None:
        await deploy(world, "one", WEB)
        world.compose.stop_seconds = 5
        await call(world, "DELETE", f"{ENVIRONMENTS}/one")
        again = await begin(world, "one", OTHER)

        await world.clock.advance(10)

        assert (await operation(world, again))["state"] == "succeeded"
        assert (await shown(world, "one"))["state"] == "running"
        assert set(world.engine.containers) == {"one-web-1"}

    async def test_one_that_failed_can_be_tried_again(self, world: World) -> None:
        await deploy(world, "one", PLAIN)
        world.workspaces.stuck.add("one")

        failed = await remove(world, "one")
        state = (await shown(world, "one"))["state"]
        world.workspaces.stuck.clear()
        again = await remove(world, "one")

        assert (failed.status_code, state, again.status_code) == (503, "deleting", 200)
        assert not await exists(world, "one")


class TestLogs:
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        async with agent_on_twins() as world:
            await deploy(world, "one", TWO)
            await deploy(world, "two", PLAIN)
            world.logs.print("one-web-1", "first")
            world.logs.print("one-db-1", "second", stream="stderr")
            world.logs.print("one-web-1", "third")
            world.logs.print("two-solo-1", "of another")
            yield world

    async def read(self, world: World, query: str = "", accept: str = "") -> httpx.Response:
        headers = {"Accept": accept} if accept else {}
        return await call(world, "GET", f"{ENVIRONMENTS}/one/logs{query}", headers=headers)

    async def test_all_services_come_in_one_text(self, world: World) -> None:
        answer = await self.read(world)

        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.splitlines() == [
            "one-web-1 | first",
            "one-db-1 | second",
            "one-web-1 | third",
        ]

    async def test_they_come_as_json_a_line(self, world: World) -> None:
        answer = await self.read(world, accept="application/x-ndjson")

        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [(line["service"], line["stream"], line["text"]) for line in lines] == [
            ("web", "stdout", "first"),
            ("db", "stderr", "second"),
            ("web", "stdout", "third"),
        ]

    async def test_they_come_as_events_with_an_end(self, world: World) -> None:
        answer = await self.read(world, accept="text/event-stream")

        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = answer.text.strip().split("\n\n")
        assert [block.splitlines()[0] for block in blocks] == ["event: log"] * 3 + ["event: end"]
        assert json.loads(blocks[0].splitlines()[1].removeprefix("data: "))["text"] == "first"

    async def test_a_service_chooses(self, world: World) -> None:
        assert (await self.read(world, "?service=db")).text == "one-db-1 | second\n"

    async def test_a_tail_is_of_each_container(self, world: World) -> None:
        answer = await self.read(world, "?tail=1")

        assert answer.text.splitlines() == ["one-db-1 | second", "one-web-1 | third"]
        assert (await self.read(world, "?tail=0")).text == ""

    async def test_times_come_where_they_are_asked_for(self, world: World) -> None:
        answer = await self.read(world, "?timestamps=true&service=db")

        assert answer.text.startswith("one-db-1 | 20")

    async def test_they_can_be_followed_until_the_containers_end(self, world: World) -> None:
        answers: list[httpx.Response] = []

        async def read() -> None:
            answers.append(await self.read(world, "?service=web&follow=true&tail=0"))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await world.clock.advance(0)
            world.logs.print("one-web-1", "later")
            await world.clock.advance(0)
            world.engine.stop("one-web-1", exit_code=0)
            world.logs.print("one-web-1", "last")

        assert answers[0].text.startswith("one-web-1 | later\n")

    @pytest.mark.parametrize(
        "query", ["?service=nobody", "?tail=-1", "?tail=x", "?since=soon", "?follow=perhaps"]
    )
    async def test_what_makes_no_sense_is_refused(self, world: World, query: str) -> None:
        answer = await self.read(world, query)

        assert answer.status_code == 422

    async def test_a_service_that_is_not_there_is_told_which_are(self, world: World) -> None:
        answer = await self.read(world, "?service=nobody")

        assert "db, web" in answer.json()["detail"]


class TestTimeline:
    async def entries(self, world: World, query: str = "") -> list[dict[str, Any]]:
        answer = await call(world, "GET", f"{ENVIRONMENTS}/one/timeline{query}")
        assert answer.status_code == 200
        entries: list[dict[str, Any]] = answer.json()["entries"]
        return entries

    async def test_it_tells_who_asked_what_was_done_and_how_it_ended(self, world: World) -> None:
        done = await deploy(world, "one", WEB)
        await world.clock.advance(1)
        await deploy(world, "one", BROKEN)

        entries = await self.entries(world)

        assert [(entry["kind"], entry["text"]) for entry in entries[:6]] == [
            ("requested", "Deploy was asked for."),
            ("step", "Deploy: unpack."),
            ("step", "Deploy: check."),
            ("step", "Deploy: build."),
            ("step", "Deploy: start."),
            ("ended", "Deploy succeeded."),
        ]
        assert entries[0]["by"] == "the server key"
        assert {entry["operation"] for entry in entries[:6]} == {done.json()["id"]}
        assert entries[-1]["text"].startswith("Deploy failed: Step 'build' failed")
        assert entries == sorted(entries, key=lambda entry: str(entry["at"]))

    async def test_it_tells_of_what_is_under_way(self, world: World) -> None:
        world.compose.build_seconds = 500
        await begin(world, "one", WEB)

        entries = await self.entries(world)

        assert entries[-1]["text"] == "Deploy: build."

    async def happened(self, world: World, action: ContainerAction, **more: Any) -> None:
        await world.clock.advance(1)
        event = ContainerEvent(
            at=world.clock.now(),
            action=action,
            container="one-web-1",
            container_id="c1",
            **{"project": "one", **more},
        )
        await world.agent.chronicle.happened(event)

    async def test_it_tells_what_happened_to_containers(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await self.happened(world, ContainerAction.OUT_OF_MEMORY)
        await self.happened(world, ContainerAction.DIED, exit_code=137)
        await self.happened(world, ContainerAction.HEALTH, health="unhealthy")
        await self.happened(world, ContainerAction.KILLED, signal="9")

        entries = [e for e in await self.entries(world) if e["kind"] == "container"]

        assert [entry["text"] for entry in entries] == [
            "one-web-1 used up its memory, and the kernel ended a process of it.",
            "one-web-1 ended with exit code 137.",
            "one-web-1 is unhealthy.",
            "one-web-1 was sent signal 9.",
        ]
        assert entries[1]["exit_code"] == 137
        assert "not the agent" in entries[3]["by"]

    async def test_what_is_a_part_of_a_change_is_not_told_again(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.compose.stop_seconds = 10
        await call(world, "POST", f"{ENVIRONMENTS}/one/stop")
        await self.happened(world, ContainerAction.KILLED, signal="15")
        await self.happened(world, ContainerAction.DIED, exit_code=0)
        await world.clock.advance(20)

        entries = [e for e in await self.entries(world) if e["kind"] == "container"]

        assert [entry["text"] for entry in entries] == ["one-web-1 ended with exit code 0."]
        assert entries[0]["operation"]

    async def test_what_happens_to_others_is_not_told(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await self.happened(world, ContainerAction.DIED, exit_code=1, project="gitlab")
        await self.happened(world, ContainerAction.DIED, exit_code=1, project=None)

        assert not [e for e in await self.entries(world) if e["kind"] == "container"]
        gitlab = await call(world, "GET", f"{ENVIRONMENTS}/gitlab/timeline")
        assert gitlab.status_code == 404

    async def test_it_outlives_the_environment_for_a_while(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await world.clock.advance(1)
        await remove(world, "one")
        told = await self.entries(world)
        await world.clock.advance(timedelta(days=8).total_seconds())
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        later = await call(world, "GET", f"{ENVIRONMENTS}/one/timeline")

        assert told[-1]["text"] == "Delete succeeded."
        assert later.status_code == 404

    async def test_its_newest_entries_come_where_few_are_asked_for(self, world: World) -> None:
        await deploy(world, "one", WEB)

        assert [e["text"] for e in await self.entries(world, "?limit=1")] == ["Deploy succeeded."]

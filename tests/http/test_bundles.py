"""Bundles: uploaded once, deployed often, built ahead, gone when nobody needs them."""

import base64
import hashlib
from collections.abc import AsyncIterator

import pytest

from domain.resources import FileSystem
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import (
    BROKEN,
    BUNDLES,
    PLAIN,
    WAIT,
    WEB,
    begin,
    call,
    deploy,
    image_tags,
    lab,
    operation,
    remove,
    shown,
    upload,
)
from tests.support.bundles import hostile, tar_bundle, zip_bundle

pytestmark = pytest.mark.anyio

NOWHERE = "sha256:" + "0" * 64
WEEK = 7 * 86400.0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


def digest_header(content: bytes) -> dict[str, str]:
    encoded = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"Content-Digest": f"sha-256=:{encoded}:"}


async def nothing_is_kept(world: World) -> bool:
    """Whether no archive, no staged folder and no record is left of any bundle."""
    files = world.workspaces
    left = [
        *files.bundles.archives,
        *files.bundles.library,
        *files.staged,
        *files.models,
        *await world.store.bundles.list(),
    ]
    return not left


class TestUpload:
    @pytest.mark.parametrize(
        "archive",
        [
            zip_bundle({"compose.yaml": "services: {web: {image: busybox}}"}),
            tar_bundle({"compose.yaml": "services: {web: {image: busybox}}"}),
            tar_bundle({"compose.yaml": "services: {web: {image: busybox}}"}, compressed=False),
        ],
        ids=["zip", "tar.gz", "tar"],
    )
    async def test_a_raw_archive_is_kept_under_its_digest(
        self, world: World, archive: bytes
    ) -> None:
        answer = await world.http.post(BUNDLES, content=archive, headers=KEY)

        digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{BUNDLES}/{digest}"
        assert answer.json()["digest"] == digest
        assert answer.json()["size_bytes"] == len(archive)
        assert answer.json()["services"] == ["web"]
        assert world.workspaces.bundles.library == {digest: archive}

    async def test_the_location_leads_to_it(self, world: World) -> None:
        uploaded = await world.http.post(BUNDLES, content=WEB, headers=KEY)

        answer = await call(world, "GET", uploaded.headers["location"])

        assert answer.json()["bundle"]["digest"] == uploaded.json()["digest"]

    async def test_the_same_content_is_kept_once(self, world: World) -> None:
        first = await world.http.post(BUNDLES, content=WEB, headers=KEY)
        again = await world.http.post(BUNDLES, content=WEB, headers=KEY)

        assert (first.status_code, again.status_code) == (201, 200)
        assert first.headers["location"] == again.headers["location"]
        assert len(world.workspaces.bundles.library) == 1
        assert world.workspaces.bundles.archives == {}
        assert len((await call(world, "GET", BUNDLES)).json()["bundles"]) == 1

    async def test_a_right_digest_is_borne_out(self, world: World) -> None:
        answer = await world.http.post(BUNDLES, content=WEB, headers={**KEY, **digest_header(WEB)})

        assert answer.status_code == 201

    async def test_a_wrong_digest_is_refused_and_nothing_kept(self, world: World) -> None:
        answer = await world.http.post(
            BUNDLES, content=WEB, headers={**KEY, **digest_header(PLAIN)}
        )

        assert answer.status_code == 400
        assert "Content-Digest" in answer.json()["detail"]
        assert await nothing_is_kept(world)

    async def test_a_wrong_digest_does_not_harm_what_is_kept_already(self, world: World) -> None:
        digest = await upload(world, WEB)

        answer = await world.http.post(
            BUNDLES, content=WEB, headers={**KEY, **digest_header(PLAIN)}
        )

        assert answer.status_code == 400
        assert set(world.workspaces.bundles.library) == {digest}
        assert world.workspaces.bundles.archives == {}

    @pytest.mark.parametrize(
        "header", ["sha-256", "sha-256=abc", "sha-256=:!!:", "sha-256=:QUJD:", "sha-256=::"]
    )
    async def test_a_digest_that_is_none_is_refused(self, world: World, header: str) -> None:
        answer = await world.http.post(
            BUNDLES, content=WEB, headers={**KEY, "Content-Digest": header}
        )

        assert answer.status_code == 422
        assert await nothing_is_kept(world)

    async def test_digests_that_cannot_be_checked_are_passed_over(self, world: World) -> None:
        answer = await world.http.post(
            BUNDLES, content=WEB, headers={**KEY, "Content-Digest": "sha-512=:QUJD:"}
        )

        assert answer.status_code == 201

    async def test_one_that_is_too_large_is_refused_and_nothing_kept(self) -> None:
        async with agent_on_twins({"MAX_BUNDLE_BYTES": "4096"}) as world:

            async def unannounced() -> AsyncIterator[bytes]:
                for _ in range(20):
                    yield b"x" * 1000

            announced = await world.http.post(BUNDLES, content=b"x" * 5000, headers=KEY)
            streamed = await world.http.post(BUNDLES, content=unannounced(), headers=KEY)

            assert {announced.status_code, streamed.status_code} <= {413, 422}
            assert announced.json()["detail"]
            assert await nothing_is_kept(world)

    async def test_one_that_unpacks_to_too_much_is_refused(self) -> None:
        async with agent_on_twins({"MAX_UNPACKED_BYTES": "1048576"}) as world:
            large = lab("services: {a: {image: b}}", zeros="0" * 2_000_000)

            answer = await world.http.post(BUNDLES, content=large, headers=KEY)

            assert answer.status_code == 422
            assert await nothing_is_kept(world)

    @pytest.mark.parametrize("archive", hostile().values(), ids=hostile().keys())
    async def test_what_no_bundle_may_be_is_refused_and_nothing_kept(
        self, world: World, archive: bytes
    ) -> None:
        answer = await world.http.post(BUNDLES, content=archive, headers=KEY)

        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert await nothing_is_kept(world)

    @pytest.mark.parametrize(
        "compose", ["a: [", "services: [web]", "services: web", "- a", "", "services: {1: {}}"]
    )
    async def test_a_compose_file_that_cannot_be_read_breaks_nothing(
        self, world: World, compose: str
    ) -> None:
        answer = await world.http.post(BUNDLES, content=lab(compose), headers=KEY)

        assert answer.status_code in {201, 422}
        assert world.workspaces.bundles.archives == {}
        assert world.workspaces.staged == {}

    async def test_an_upload_in_a_form_is_told_how_it_goes(self, world: World) -> None:
        answer = await world.http.post(BUNDLES, files={"bundle": ("lab.zip", WEB)}, headers=KEY)

        assert answer.status_code == 422
        assert "--data-binary" in answer.json()["detail"]
        assert await nothing_is_kept(world)

    async def test_without_the_key_nothing_is_read(self, world: World) -> None:
        answer = await world.http.post(BUNDLES, content=WEB)

        assert answer.status_code == 401
        assert await nothing_is_kept(world)

    async def test_an_upload_that_breaks_off_leaves_nothing(self, world: World) -> None:
        async def torn() -> AsyncIterator[bytes]:
            yield WEB[:20]
            raise ConnectionError

        answer = await world.http.post(BUNDLES, content=torn(), headers=KEY)

        assert answer.status_code >= 400
        assert await nothing_is_kept(world)

    async def test_a_disk_that_is_full_takes_no_more(self, world: World) -> None:
        world.metrics.free_percent = 1.0

        answer = await world.http.post(BUNDLES, content=WEB, headers=KEY)

        assert answer.status_code == 507
        assert await nothing_is_kept(world)


class TestLook:
    async def test_they_are_listed_by_digest(self, world: World) -> None:
        digests = [await upload(world, archive) for archive in (WEB, PLAIN)]

        answer = await call(world, "GET", BUNDLES)

        assert [b["digest"] for b in answer.json()["bundles"]] == sorted(digests)

    async def test_one_shows_its_files_and_services(self, world: World) -> None:
        archive = lab("services: {web: {image: a}, db: {image: b}}", **{"site/index.html": "hi"})
        digest = await upload(world, archive)

        details = (await call(world, "GET", f"{BUNDLES}/{digest}")).json()

        assert details["bundle"]["services"] == ["db", "web"]
        assert details["bundle"]["entries"] == 2
        assert [f["path"] for f in details["files"]] == ["compose.yaml", "site/index.html"]
        assert details["files"][1]["size_bytes"] == 2
        assert world.workspaces.staged == {}

    async def test_its_files_are_shown_as_far_as_is_asked_for(self, world: World) -> None:
        digest = await upload(world, WEB)

        details = (await call(world, "GET", f"{BUNDLES}/{digest}?limit=1")).json()

        assert len(details["files"]) == 1
        assert details["bundle"]["entries"] == 2

    async def test_the_digest_may_come_without_its_kind(self, world: World) -> None:
        digest = await upload(world, WEB)

        answer = await call(world, "GET", f"{BUNDLES}/{digest.removeprefix('sha256:')}")

        assert answer.status_code == 200

    @pytest.mark.parametrize("digest", [NOWHERE, "nonsense", "sha256:short", "..%2f..%2fetc"])
    @pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/build")])
    async def test_one_that_is_not_there_is_404(
        self, world: World, digest: str, method: str, rest: str
    ) -> None:
        answer = await call(world, method, f"{BUNDLES}/{digest}{rest}")

        assert answer.status_code == 404
        assert answer.json()["detail"]

    async def test_one_whose_archive_has_gone_is_404_and_forgotten(self, world: World) -> None:
        digest = await upload(world, WEB)
        world.workspaces.bundles.library.clear()

        answer = await call(world, "GET", f"{BUNDLES}/{digest}")

        assert answer.status_code == 404
        assert (await call(world, "GET", BUNDLES)).json() == {"bundles": []}


class TestRemoval:
    async def test_one_is_removed_and_then_not_there(self, world: World) -> None:
        digest = await upload(world, WEB)

        first = await call(world, "DELETE", f"{BUNDLES}/{digest}")
        again = await call(world, "DELETE", f"{BUNDLES}/{digest}")

        assert (first.status_code, again.status_code) == (204, 404)
        assert await nothing_is_kept(world)

    async def test_one_that_is_being_deployed_stays(self, world: World) -> None:
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)
        digest = await upload(world, WEB)

        refused = await call(world, "DELETE", f"{BUNDLES}/{digest}")
        await world.clock.advance(10)
        taken = await call(world, "DELETE", f"{BUNDLES}/{digest}")

        assert (refused.status_code, taken.status_code) == (409, 204)

    async def test_one_that_is_being_built_stays(self, world: World) -> None:
        world.compose.build_seconds = 5
        digest = await upload(world, WEB)
        await call(world, "POST", f"{BUNDLES}/{digest}/build")
        await world.clock.advance(0)

        answer = await call(world, "DELETE", f"{BUNDLES}/{digest}")

        assert answer.status_code == 409
        await world.clock.advance(10)

    async def test_one_whose_deploy_is_just_being_taken_is_not_missed(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        digest = await upload(world, WEB)
        look, removed = world.metrics.file_system, list[int]()

        async def look_while_it_is_removed(role: str, path: str) -> FileSystem | None:
            if not removed:
                removed.append((await call(world, "DELETE", f"{BUNDLES}/{digest}")).status_code)
            return await look(role, path)

        monkeypatch.setattr(world.metrics, "file_system", look_while_it_is_removed)
        answer = await call(world, "PUT", "/api/v1/environments/one", {"bundle": digest}, WAIT)

        assert (removed[0], answer.status_code) in {(409, 200), (204, 404)}

    async def test_environments_that_came_of_it_stay(self, world: World) -> None:
        await deploy(world, "one", WEB)
        digest = await upload(world, WEB)

        answer = await call(world, "DELETE", f"{BUNDLES}/{digest}")

        assert answer.status_code == 204
        assert (await shown(world, "one"))["state"] == "running"

    async def test_one_that_nobody_uses_goes_in_the_end(self, world: World) -> None:
        await upload(world, WEB)
        await world.clock.advance(WEEK - 60)
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)
        before = len(world.workspaces.bundles.library)

        await world.clock.advance(120)
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        assert before == 1
        assert await nothing_is_kept(world)

    async def test_its_time_is_counted_from_its_last_use(self, world: World) -> None:
        digest = await upload(world, WEB)
        await world.clock.advance(WEEK - 60)
        await upload(world, WEB)
        await world.clock.advance(120)

        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        assert set(world.workspaces.bundles.library) == {digest}

    async def test_one_that_an_environment_runs_stays_as_long_as_that(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await world.clock.advance(2 * WEEK)
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)
        kept = len(world.workspaces.bundles.library)

        await remove(world, "one")
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        assert kept == 1
        assert await nothing_is_kept(world)

    async def test_one_that_only_a_failed_deploy_used_goes(self, world: World) -> None:
        await deploy(world, "one", BROKEN)
        await world.clock.advance(WEEK + 60)

        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        assert await nothing_is_kept(world)


class TestBuildingAhead:
    async def test_a_later_deploy_finds_the_images_at_hand(self, world: World) -> None:
        digest = await upload(world, WEB)

        built = await call(world, "POST", f"{BUNDLES}/{digest}/build", headers=WAIT)
        await deploy(world, "one", WEB)
        await deploy(world, "two", WEB)

        assert built.status_code == 200
        assert (built.json()["kind"], built.json()["state"]) == ("build", "succeeded")
        assert (built.json()["bundle"], built.json()["environment"]) == (digest, None)
        assert world.compose.built == ["web"]

    async def test_it_leaves_images_and_nothing_else(self, world: World) -> None:
        digest = await upload(world, WEB)

        await call(world, "POST", f"{BUNDLES}/{digest}/build", headers=WAIT)

        assert len(await image_tags(world)) == 1
        assert (await call(world, "GET", "/api/v1/environments")).json() == {"environments": []}
        assert world.workspaces.staged == {}
        assert world.workspaces.models == {}
        assert world.engine.containers == {}

    async def test_a_build_that_needs_the_vpn_profile_is_left_to_each_deploy(
        self, world: World
    ) -> None:
        both = lab(
            "services: {web: {build: .}, gate: {build: gate}}",
            **{
                "Dockerfile": "FROM busybox\nCOPY site /site\n",
                "site": "hi",
                "gate/Dockerfile": "FROM busybox\nCOPY vpn.ovpn /\n",
            },
        )
        digest = await upload(world, both)

        built = await call(world, "POST", f"{BUNDLES}/{digest}/build", headers=WAIT)

        assert built.status_code == 200
        assert world.compose.built == ["web"]
        assert any("gate is left to each deploy" in line for line in built.json()["output"])

    async def test_one_that_fails_says_why_and_leaves_no_image(self, world: World) -> None:
        digest = await upload(world, BROKEN)

        answer = await call(world, "POST", f"{BUNDLES}/{digest}/build", headers=WAIT)

        assert answer.status_code == 422
        assert "Step 'build' failed" in answer.json()["detail"]
        assert await image_tags(world) == set()
        assert world.engine.tags == {}
        assert world.workspaces.staged == {}

    async def test_a_deploy_waits_for_it_instead_of_building_too(self, world: World) -> None:
        world.compose.build_seconds = 5
        digest = await upload(world, WEB)
        await call(world, "POST", f"{BUNDLES}/{digest}/build")
        await world.clock.advance(0)
        identifier = await begin(world, "one", WEB)

        await world.clock.advance(20)

        assert (await operation(world, identifier))["state"] == "succeeded"
        assert world.compose.built == ["web"]

    async def test_while_the_engine_is_away_it_is_refused(self, world: World) -> None:
        digest = await upload(world, WEB)
        world.engine.fault = "is away"
        await world.look()

        answer = await call(world, "POST", f"{BUNDLES}/{digest}/build")

        assert answer.status_code == 503
        assert answer.headers["retry-after"]

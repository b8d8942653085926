"""Images over HTTP."""

import io
import json
import tarfile
from collections.abc import AsyncIterator

import anyio
import httpx
import msgspec
import pytest

from domain.containers import ContainerState
from domain.registry_credentials import RegistryCredentials
from domain.usecases import registries
from tests.http.test_slow_clients import served
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import PLAIN, WEB, begin, call, deploy, remove

pytestmark = pytest.mark.anyio

IMAGES = "/api/v1/images"
APP = "registry.example.com:443/a/b/history:1"
JANA = {"username": "jana", "password": "not to be shown"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins({"ALLOWED_REGISTRIES": "registry.example.com:443"}) as world:
        yield world


async def pull(world: World, image: str, **more: object) -> httpx.Response:
    return await call(world, "POST", f"{IMAGES}/pull", {"image": image, **more})


async def names(world: World, query: str = "") -> list[str]:
    """First names of the images that a list holds."""
    answer = await call(world, "GET", f"{IMAGES}{query}")
    assert answer.status_code == 200, answer.text
    return [next(iter(image["repo_tags"]), "") for image in answer.json()["images"]]


def events(text: str) -> list[tuple[str, dict[str, object]]]:
    """Kind and data of Server-Sent Events."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


class TestList:
    """All images, and who uses them."""

    async def test_each_tells_size_names_labels_and_users(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        world.engine.run("mine", image="nginx:1", state=ContainerState.EXITED)

        answer = await call(world, "GET", f"{IMAGES}?fresh=true")

        (image,) = answer.json()["images"]
        assert image["repo_tags"] == ["nginx:1"]
        assert image["size_bytes"] == 1_000_000
        assert image["used_by"] == {
            "containers": ["lab-solo-1", "mine"],
            "environments": ["lab"],
        }

    async def test_environments_that_are_stopped_use_their_images_still(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        world.engine.remove("lab-solo-1")

        answer = await call(world, "GET", IMAGES)

        assert answer.json()["images"][0]["used_by"]["environments"] == ["lab"]

    async def test_it_is_in_order_and_has_a_limit(self, world: World) -> None:
        for image in ("c", "a", "b"):
            await pull(world, image)

        assert await names(world) == ["a:latest", "b:latest", "c:latest"]
        assert await names(world, "?limit=2") == ["a:latest", "b:latest"]
        everything = len(await names(world))
        assert (await call(world, "GET", f"{IMAGES}?limit=2")).json()["total"] == everything

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("?name=ngin", ["nginx:1"]),
            ("?name=nginx:1", ["nginx:1"]),
            ("?name=nothing", []),
            ("?unused=true", ["redis:7", ""]),
            ("?unused=false", ["nginx:1"]),
            ("?dangling=true", [""]),
            ("?dangling=false", ["nginx:1", "redis:7"]),
            ("?label=team", ["redis:7"]),
            ("?label=team=red", ["redis:7"]),
            ("?label=team=blue", []),
            ("?label=team&label=other", []),
        ],
    )
    async def test_filters(self, world: World, query: str, expected: list[str]) -> None:
        await deploy(world, "lab", PLAIN)
        await pull(world, "redis:7")
        world.engine.labels[world.engine.tags["redis:7"]] = {"team": "red"}
        world.engine.layers["sha256:" + "d" * 64] = (("layer", 5),)

        assert await names(world, query) == expected

    @pytest.mark.parametrize("query", ["?limit=0", "?limit=5001", "?dangling=perhaps"])
    async def test_what_no_list_takes_is_refused(self, world: World, query: str) -> None:
        assert (await call(world, "GET", f"{IMAGES}{query}")).status_code == 422


class TestOneImage:
    """Found by a name, with its slashes as they are."""

    @pytest.mark.parametrize(
        "path",
        [
            APP,
            APP.replace("/", "%2F"),
            APP.replace(":", "%3A"),
            f"{APP}/",
        ],
    )
    async def test_it_is_found_by_its_name(self, world: World, path: str) -> None:
        await pull(world, APP)

        answer = await call(world, "GET", f"{IMAGES}/{path}")

        assert answer.status_code == 200, answer.text
        assert answer.json()["repo_tags"] == [APP]
        assert [step["size_bytes"] for step in answer.json()["history"]] == [6_000_000, 2_000_000]

    async def test_it_is_found_by_digest_and_identifier(self, world: World) -> None:
        told = (await pull(world, APP)).json()
        for reference in (
            told["id"],
            told["id"].removeprefix("sha256:")[:12],
            f"{APP.removesuffix(':1')}@{told['digest']}",
        ):
            answer = await call(world, "GET", f"{IMAGES}/{reference}")
            assert answer.json()["id"] == told["id"], reference

    @pytest.mark.parametrize("word", ["pull", "load", "save", "prune", "tag"])
    async def test_images_that_are_named_as_calls_are_need_their_tag(
        self, world: World, word: str
    ) -> None:
        await pull(world, word)

        answer = await call(world, "GET", f"{IMAGES}/{word}:latest")
        assert answer.json()["repo_tags"] == [f"{word}:latest"]
        assert (await call(world, "DELETE", f"{IMAGES}/{word}")).status_code == 405
        assert (await call(world, "DELETE", f"{IMAGES}/{word}:latest")).status_code == 200

    @pytest.mark.parametrize("name", ["a/b/history", "pull/more", "prune/a/b:2", "a/save"])
    async def test_words_of_calls_inside_of_names_are_names(self, world: World, name: str) -> None:
        await pull(world, name)

        assert (await call(world, "GET", f"{IMAGES}/{name}")).status_code == 200

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("nothing", 404),
            ("a/b/c:9", 404),
            ("sha256:" + "0" * 64, 404),
            ("UPPER", 422),
            ("a%3Fb", 422),
            ("a%23b", 422),
            ("%2e%2e/containers/json", 422),
            ("a/%2e%2e/b", 422),
            ("-v", 422),
            ("a%00", 422),
            ("a%0A", 422),
            ("x" * 300, 422),
        ],
    )
    async def test_what_is_none_is_told_apart(self, world: World, path: str, status: int) -> None:
        for method in ("GET", "DELETE"):
            assert (await call(world, method, f"{IMAGES}/{path}")).status_code == status

    async def test_an_engine_that_is_away_is_told_of(self, world: World) -> None:
        world.engine.fault = "gone"
        for method, path in (
            ("GET", ""),
            ("GET", "/nginx"),
            ("DELETE", "/nginx"),
            ("GET", "/save?image=nginx"),
            ("POST", "/prune"),
        ):
            answer = await call(world, method, f"{IMAGES}{path}")
            assert answer.status_code == 503, path
            assert answer.headers["retry-after"]
        assert (await pull(world, "nginx")).status_code == 503


class TestTag:
    """One name more."""

    async def tag(self, world: World, source: str, target: str, query: str = "") -> httpx.Response:
        body = {"source": source, "target": target}
        return await call(world, "POST", f"{IMAGES}/tag{query}", body)

    async def test_an_image_gets_one_name_more(self, world: World) -> None:
        await pull(world, APP)

        answer = await self.tag(world, APP, "labs/app")

        assert answer.status_code == 200
        assert answer.json()["repo_tags"] == ["labs/app:latest", APP]

    @pytest.mark.parametrize(
        "target",
        [
            "container-host-agent/own:1",
            "container-host-agent/shared:1",
            "docker.io/container-host-agent/own",
            "index.docker.io/container-host-agent/own:1",
            "siberbox/agent",
            "docker.io/siberbox/agent:latest",
            "sha256:" + "a" * 64,
            "a@sha256:" + "a" * 64,
        ],
    )
    @pytest.mark.parametrize("query", ["", "?force=true"])
    async def test_the_agents_own_names_cannot_be_given(self, target: str, query: str) -> None:
        async with agent_on_twins({"AGENT_IMAGE": "siberbox/agent:latest"}) as world:
            await pull(world, "nginx")
            before = dict(world.engine.tags)

            answer = await self.tag(world, "nginx", target, query)

            assert answer.status_code == 422
            assert world.engine.tags == before

    async def test_a_name_that_an_environment_counts_on_is_moved_only_by_force(
        self, world: World
    ) -> None:
        await deploy(world, "lab", PLAIN)
        await pull(world, "other")

        refused = await self.tag(world, "other", "docker.io/library/nginx:1")
        same = await self.tag(world, "nginx:1", "nginx:1")
        forced = await self.tag(world, "other", "nginx:1", "?force=true")

        assert (refused.status_code, same.status_code, forced.status_code) == (409, 200, 200)
        assert "'lab'" in refused.json()["detail"]
        assert world.engine.tags["nginx:1"] == world.engine.tags["other:latest"]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"source": "nothing", "target": "a"}, 404),
            ({"source": "nginx", "target": "A"}, 422),
            ({"source": "a?b", "target": "a"}, 422),
            ({"source": "nginx"}, 422),
            ({"source": "nginx", "target": "a", "more": 1}, 422),
        ],
    )
    async def test_what_cannot_be_done_is_told(
        self, world: World, body: dict[str, object], status: int
    ) -> None:
        await pull(world, "nginx")

        assert (await call(world, "POST", f"{IMAGES}/tag", body)).status_code == status


class TestRemove:
    """Names and images go."""

    async def test_what_went_is_told(self, world: World) -> None:
        told = (await pull(world, APP)).json()

        answer = await call(world, "DELETE", f"{IMAGES}/{APP}")

        assert answer.json()["deleted"] == [told["id"]]
        assert APP in answer.json()["untagged"]
        assert await names(world) == []

    async def test_a_container_keeps_its_image(self, world: World) -> None:
        await pull(world, "redis:7")
        world.engine.run("mine", image="redis:7")

        answer = await call(world, "DELETE", f"{IMAGES}/redis:7")

        assert answer.status_code == 409
        assert "container" in answer.json()["detail"]

    @pytest.mark.parametrize("path", ["nginx:1", "docker.io/library/nginx:1", "ID"])
    async def test_an_environment_keeps_its_image_however_it_is_named(
        self, world: World, path: str
    ) -> None:
        await deploy(world, "lab", PLAIN)
        world.engine.remove("lab-solo-1")
        path = path.replace("ID", world.engine.tags["nginx:1"])

        refused = await call(world, "DELETE", f"{IMAGES}/{path}")
        forced = await call(world, "DELETE", f"{IMAGES}/{path}?force=true")

        assert (refused.status_code, forced.status_code) == (409, 200)
        assert "'lab'" in refused.json()["detail"]

    async def test_what_was_built_for_an_environment_stays_with_it_and_goes_with_its_record(
        self, world: World
    ) -> None:
        await deploy(world, "lab", WEB)
        (tag,) = [tag for tag in world.engine.tags if "container-host-agent" in tag]
        assert (await call(world, "DELETE", f"{IMAGES}/{tag}")).status_code == 409

        await remove(world, "lab")
        assert (await call(world, "DELETE", f"{IMAGES}/{tag}")).status_code == 200

        assert tag not in {record.tag for record in await world.store.images.list()}
        assert (await deploy(world, "lab", WEB)).status_code == 200

    async def test_what_a_change_under_way_needs_stays(self, world: World) -> None:
        await deploy(world, "lab", WEB)
        (tag,) = [tag for tag in world.engine.tags if "container-host-agent" in tag]
        await remove(world, "lab")
        world.compose.up_seconds = 60
        await begin(world, "other", WEB)

        answer = await call(world, "DELETE", f"{IMAGES}/{tag}")

        assert answer.status_code == 409
        await world.clock.advance(61)

    async def test_the_agents_own_image_goes_only_by_force(self) -> None:
        async with agent_on_twins({"AGENT_IMAGE": "siberbox/agent"}) as world:
            await pull(world, "siberbox/agent")
            assert (await call(world, "DELETE", f"{IMAGES}/siberbox/agent")).status_code == 409
            forced = await call(world, "DELETE", f"{IMAGES}/siberbox/agent?force=true")
            assert forced.status_code == 200

    async def test_the_audit_tells_what_was_removed(self, world: World) -> None:
        await pull(world, APP)
        await call(world, "DELETE", f"{IMAGES}/{APP}")
        await world.agent.audit.flush()

        entries = (await call(world, "GET", "/api/v1/audit")).json()["entries"]
        assert [entry["entry"]["target"] for entry in entries] == [APP, APP]


class TestPrune:
    """What nobody needs goes."""

    async def prune(self, world: World, query: str) -> dict[str, object]:
        answer = await call(world, "POST", f"{IMAGES}/prune?{query}")
        assert answer.status_code == 200, answer.text
        body: dict[str, object] = answer.json()
        return body

    async def fill(self, world: World) -> None:
        """An environment, a container, an unused image, and one without a name."""
        await deploy(world, "lab", PLAIN)
        world.engine.remove("lab-solo-1")
        await pull(world, "redis:7")
        world.engine.run("mine", image="redis:7", state=ContainerState.EXITED)
        await pull(world, "old/app")
        world.engine.layers["sha256:" + "d" * 64] = (("layer", 5),)

    @pytest.mark.parametrize(
        ("query", "expected", "reclaimed"),
        [("", [[]], 5), ("all=true", [["old/app:latest"], []], 8_000_005)],
    )
    async def test_a_dry_run_tells_just_what_would_go(
        self, world: World, query: str, expected: list[list[str]], reclaimed: int
    ) -> None:
        await self.fill(world)
        before = await names(world)

        planned = await self.prune(world, f"{query}&dry_run=true")
        assert await names(world) == before
        done = await self.prune(world, query)

        assert {**done, "dry_run": True} == planned
        assert [image["repo_tags"] for image in done["images"]] == expected  # type: ignore[attr-defined]
        assert done["reclaimed_bytes"] == reclaimed
        assert (await self.prune(world, query))["images"] == []

    async def test_what_environments_containers_and_changes_need_stays(self, world: World) -> None:
        await self.fill(world)
        await deploy(world, "web", WEB)
        built = [tag for tag in world.engine.tags if "container-host-agent" in tag]

        await self.prune(world, "all=true")

        assert await names(world) == [*built, "nginx:1", "redis:7"]

    async def test_labels_bound_it(self, world: World) -> None:
        await self.fill(world)
        world.engine.labels[world.engine.tags["old/app:latest"]] = {"team": "red"}

        assert (await self.prune(world, "all=true&label=team=blue"))["images"] == []
        assert len((await self.prune(world, "all=true&label=team=red"))["images"]) == 1  # type: ignore[arg-type]

    async def test_images_with_several_names_go_with_all_of_them(self, world: World) -> None:
        await pull(world, "old/app")
        await call(world, "POST", f"{IMAGES}/tag", {"source": "old/app", "target": "older"})

        await self.prune(world, "all=true")

        assert world.engine.tags == {}

    async def test_built_images_that_nobody_uses_go_with_their_records(self, world: World) -> None:
        await deploy(world, "web", WEB)
        await remove(world, "web")

        await self.prune(world, "all=true")

        assert not [tag for tag in world.engine.tags if "container-host-agent" in tag]
        assert not [r for r in await world.store.images.list() if "container-host" in r.tag]

    async def test_layers_that_stay_with_others_free_nothing(self, world: World) -> None:
        shared = (("base", 7_000_000),)
        for name, own in (("kept", 1), ("gone", 2)):
            identifier = f"sha256:{name.encode().hex():0>64}"
            world.engine.layers[identifier] = (*shared, (name, own))
            world.engine.tags[f"{name}:latest"] = identifier
        world.engine.run("mine", image="kept")

        assert (await self.prune(world, "all=true&dry_run=true"))["reclaimed_bytes"] == 2
        assert (await self.prune(world, "all=true"))["reclaimed_bytes"] == 2


class TestPull:
    """From registries."""

    async def test_a_plain_call_waits_for_it(self, world: World) -> None:
        answer = await pull(world, APP)

        assert answer.status_code == 200
        told = answer.json()
        assert told["reference"] == APP
        assert told["digest"].startswith("sha256:")
        assert told["updated"]

    async def test_events_tell_how_far_it_is(self, world: World) -> None:
        answer = await call(
            world, "POST", f"{IMAGES}/pull", {"image": APP}, {"Accept": "text/event-stream"}
        )

        assert answer.headers["content-type"].startswith("text/event-stream")
        *told, (kind, end) = events(answer.text)
        assert {kind for kind, _ in told} == {"progress"}
        assert [progress["percent"] for _, progress in told][-1] == 99
        assert told[-1][1]["downloaded_bytes"] == told[-1][1]["total_bytes"] == 8_000_000
        assert (kind, end["reference"]) == ("end", APP)

    @pytest.mark.parametrize(
        ("image", "credentials", "status"),
        [
            ("labs/missing", None, 404),
            ("private.example.com/app", None, 403),
            ("private.example.com/app", {"username": "jana", "password": "wrong"}, 403),
            ("away.example.com/app", None, 502),
        ],
    )
    async def test_failures_are_the_same_in_both_forms(
        self, world: World, image: str, credentials: dict[str, str] | None, status: int
    ) -> None:
        world.transfers.private["private.example.com"] = RegistryCredentials(**JANA)
        world.transfers.away.add("away.example.com")
        body = {"image": image, "credentials": credentials}

        plain = await call(world, "POST", f"{IMAGES}/pull", body)
        streamed = await call(
            world, "POST", f"{IMAGES}/pull", body, {"Accept": "text/event-stream"}
        )

        assert plain.status_code == status
        assert events(streamed.text) == [("problem", plain.json())]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"image": "10.0.0.1/app"},
            {"image": "container-host-agent/own:1"},
            {"image": "A"},
            {"image": "a", "credentials": {"username": "jana"}},
            {"image": "a", "credentials": {"token": "x"}},
            {"image": "a", "password": "x"},
        ],
    )
    async def test_what_may_not_be_asked_is_refused_before_anything_begins(
        self, world: World, body: dict[str, object]
    ) -> None:
        for headers in ({}, {"Accept": "text/event-stream"}):
            answer = await call(world, "POST", f"{IMAGES}/pull", body, headers)
            assert answer.status_code == 422
        assert world.transfers.pulls == []

    async def test_a_disk_as_good_as_full_takes_no_more(self, world: World) -> None:
        world.metrics.free_percent = 1.0

        assert (await pull(world, "nginx")).status_code == 507

    @pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
    async def test_a_client_that_goes_away_ends_it(self, world: World, accept: str) -> None:
        world.transfers.held = anyio.Event()
        pulls = world.agent.images.pulls
        async with served(world) as port:
            async with await anyio.connect_tcp("127.0.0.1", port) as client:
                body = msgspec.json.encode({"image": APP})
                await client.send(
                    f"POST {IMAGES}/pull HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n"
                    f"X-Server-Key: {KEY['X-Server-Key']}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                with anyio.fail_after(5):
                    while not pulls._pulls:
                        await anyio.sleep(0.01)
            with anyio.fail_after(1):
                while pulls._pulls:
                    await anyio.sleep(0.01)


class TestArchives:
    """Saving and loading."""

    async def save(self, world: World, query: str) -> httpx.Response:
        return await call(world, "GET", f"{IMAGES}/save?{query}")

    async def load(self, world: World, archive: bytes, query: str = "") -> httpx.Response:
        return await world.http.post(f"{IMAGES}/load{query}", content=archive, headers=KEY)

    async def test_what_was_saved_can_be_loaded(self, world: World) -> None:
        told = (await pull(world, APP)).json()
        await pull(world, "nginx")
        saved = await self.save(world, f"image={APP}&image=nginx")
        for name in (APP, "nginx"):
            await call(world, "DELETE", f"{IMAGES}/{name}")

        answer = await self.load(world, saved.content)

        assert saved.headers["content-type"] == "application/x-tar"
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"images": [APP, "nginx:latest"]}
        assert (await call(world, "GET", f"{IMAGES}/{APP}")).json()["id"] == told["id"]

    @pytest.mark.parametrize(
        ("query", "status"),
        [("image=nothing", 404), ("image=A", 422), ("", 422), ("image=nginx&image=nothing", 404)],
    )
    async def test_what_cannot_be_saved_is_told_by_the_status(
        self, world: World, query: str, status: int
    ) -> None:
        await pull(world, "nginx")

        assert (await self.save(world, query)).status_code == status

    def archive(self, *names: str) -> bytes:
        manifest = [{"Config": f"{'c' * 64}.json", "RepoTags": list(names), "Layers": []}]
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in {
                f"{'c' * 64}.json": b"{}",
                "manifest.json": msgspec.json.encode(manifest),
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    @pytest.mark.parametrize(
        "name",
        [
            "container-host-agent/shared:" + "a" * 64,
            "docker.io/container-host-agent/own:1",
            "siberbox/agent:latest",
            "docker.io/siberbox/agent",
            "no name at all",
            "sha256:" + "a" * 64,
        ],
    )
    @pytest.mark.parametrize("query", ["", "?force=true"])
    async def test_archives_with_the_agents_own_names_are_not_taken(
        self, name: str, query: str
    ) -> None:
        async with agent_on_twins({"AGENT_IMAGE": "siberbox/agent:latest"}) as world:
            answer = await self.load(world, self.archive("innocent:1", name), query)

            assert answer.status_code == 422
            assert world.engine.tags == {}

    async def test_a_name_that_an_environment_counts_on_needs_force(self, world: World) -> None:
        await deploy(world, "lab", PLAIN)
        archive = self.archive("nginx:1")

        refused = await self.load(world, archive)
        forced = await self.load(world, archive, "?force=true")

        assert (refused.status_code, forced.status_code) == (409, 200)
        assert world.engine.tags["nginx:1"] == f"sha256:{'c' * 64}"

    async def test_what_is_too_long_is_refused(self) -> None:
        async with agent_on_twins({"MAX_IMAGE_BYTES": "5000"}) as world:
            assert (await self.load(world, self.archive("a"))).status_code == 413

    @pytest.mark.parametrize("body", [b"", b"{}", b"x" * 5000])
    async def test_what_is_no_archive_is_refused(self, world: World, body: bytes) -> None:
        assert (await self.load(world, body)).status_code == 422

    async def test_a_form_is_told_what_to_do(self, world: World) -> None:
        answer = await world.http.post(
            f"{IMAGES}/load", files={"archive": self.archive("a")}, headers=KEY
        )
        assert answer.status_code == 422
        assert "--data-binary" in answer.json()["detail"]


class TestRegistries:
    """Credentials that are kept."""

    REGISTRIES = "/api/v1/registries"

    async def keep(
        self, world: World, registry: str, body: object = JANA, query: str = ""
    ) -> httpx.Response:
        return await call(world, "PUT", f"{self.REGISTRIES}/{registry}{query}", body)

    async def test_they_are_kept_listed_and_forgotten_and_never_shown(self, world: World) -> None:
        kept = await self.keep(world, "Registry.Example.com")
        listed = await call(world, "GET", self.REGISTRIES)
        gone = await call(world, "DELETE", f"{self.REGISTRIES}/registry.example.com")
        again = await call(world, "DELETE", f"{self.REGISTRIES}/registry.example.com")

        assert kept.json() == {"registry": "registry.example.com", "username": "jana"}
        assert listed.json() == {"registries": [kept.json()]}
        assert (gone.status_code, again.status_code) == (204, 404)
        assert JANA["password"] not in kept.text + listed.text + str(world.log.events)

    async def test_pulls_take_them(self, world: World) -> None:
        world.transfers.private["private.example.com"] = RegistryCredentials(**JANA)
        await self.keep(world, "private.example.com")

        assert (await pull(world, "private.example.com/app")).status_code == 200

    async def test_wrong_ones_are_not_kept_unless_nobody_is_to_try_them(self, world: World) -> None:
        world.transfers.private["private.example.com"] = RegistryCredentials(**JANA)
        wrong = {**JANA, "password": "guessed"}

        refused = await self.keep(world, "private.example.com", wrong)
        unchecked = await self.keep(world, "private.example.com", wrong, "?check=false")

        assert (refused.status_code, unchecked.status_code) == (403, 200)
        assert "guessed" not in refused.text

    async def test_a_registry_that_is_silent_is_not_waited_for(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registries, "LOG_IN_SECONDS", 0.05)
        world.transfers.held = anyio.Event()

        assert (await self.keep(world, "example.com")).status_code == 504
        assert world.credentials.kept == {}

    async def test_a_token_has_no_user(self, world: World) -> None:
        kept = await self.keep(world, "docker.io", {"identity_token": "a.b.c"})

        assert kept.json() == {"registry": "docker.io", "username": ""}

    @pytest.mark.parametrize(
        ("registry", "body"),
        [
            ("registry", JANA),
            ("-v", JANA),
            ("a%2Fb.com", JANA),
            ("user@example.com", JANA),
            ("10.0.0.1", JANA),
            ("localhost", JANA),
            ("example.com", {}),
            ("example.com", {"username": "jana"}),
            ("example.com", {"auth": "x"}),
        ],
    )
    async def test_what_is_none_is_refused(
        self, world: World, registry: str, body: dict[str, str]
    ) -> None:
        answer = await self.keep(world, registry, body)

        assert answer.status_code in {404, 422}
        assert world.credentials.kept == {}

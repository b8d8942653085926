"""What Docker keeps and what of it goes, over HTTP."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from domain.build_cache import CacheEntry
from domain.containers import ContainerState
from tests.support.agents import World, agent_on_twins
from tests.support.api import PLAIN, WEB, begin, call, change, deploy
from tests.support.containers import the_agents_own

pytestmark = pytest.mark.anyio

SYSTEM = "/api/v1/system"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def disk(world: World) -> Any:
    answer = await call(world, "GET", f"{SYSTEM}/disk")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def prune(world: World, **query: Any) -> Any:
    answer = await asked(world, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def asked(world: World, **query: Any) -> httpx.Response:
    return await call(world, "POST", f"{SYSTEM}/prune?{httpx.QueryParams(query)}")


def went(pruned: Any) -> dict[str, list[str]]:
    """Names, or identifiers of what has none, of what went, by kind."""
    return {
        kind["kind"]: sorted(item["name"] or item["id"] for item in kind["items"])
        for kind in pruned["kinds"]
    }


def stopped(world: World, name: str, image: str = "busybox", *, days: float = 1) -> None:
    """Lets a container stand that ended, and was made so long ago."""
    world.engine.pull(image)
    container = world.engine.run(name, image=image, state=ContainerState.EXITED)
    made = world.clock.now() - timedelta(days=days)
    world.engine.containers[name] = msgspec.structs.replace(container, created_at=made)


class TestDisk:
    """How much is kept."""

    async def test_each_kind_is_counted(self, world: World) -> None:
        world.engine.pull("busybox")
        world.engine.pull("nginx:1")
        world.engine.run("web", image="busybox")
        stopped(world, "old")
        world.engine.volumes["data"] = ""
        world.engine.build_cache["a"] = CacheEntry(id="a", size_bytes=5)
        world.engine.build_cache["b"] = CacheEntry(id="b", size_bytes=7, in_use=True)

        told = await disk(world)

        assert (told["containers"]["count"], told["containers"]["active"]) == (2, 1)
        assert (told["images"]["count"], told["images"]["active"]) == (2, 1)
        assert (told["volumes"]["count"], told["volumes"]["active"]) == (1, 0)
        assert told["build_cache"] == {
            "count": 2,
            "active": 1,
            "size_bytes": 12,
            "reclaimable_bytes": 5,
        }
        kinds = ("images", "containers", "volumes", "build_cache")
        assert told["total_bytes"] == sum(told[kind]["size_bytes"] for kind in kinds) > 12

    async def test_those_who_ask_together_share_one_measurement(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured = 0
        usages = world.agent.disk._disk
        measure = usages.measure

        async def counted() -> Any:
            nonlocal measured
            measured += 1
            return await measure()

        monkeypatch.setattr(usages, "measure", counted)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(disk, world)
        assert measured == 1

        await world.clock.advance(2)
        await disk(world)
        assert measured == 2

    async def test_an_engine_that_is_away_is_503(self, world: World) -> None:
        world.engine.fault = "no such file"

        for method, path in (("GET", "disk"), ("POST", "prune"), ("POST", "prune?dry_run=true")):
            answer = await call(world, method, f"{SYSTEM}/{path}")
            assert answer.status_code == 503
            assert "retry-after" in answer.headers


class TestPruning:
    """What goes, and what never does."""

    async def test_what_the_dry_run_tells_is_what_then_goes(self, world: World) -> None:
        stopped(world, "old", "once:1")
        world.engine.pull("unused:1")
        world.engine.run("web", image="busybox")
        world.engine.pull("busybox")
        world.engine.build_cache["a"] = CacheEntry(id="a", size_bytes=5)

        told = await prune(world, dry_run="true", all="true")
        assert {*world.engine.containers} == {"old", "web"}
        done = await prune(world, all="true")

        assert told["dry_run"] is True
        assert done == {**told, "dry_run": False}
        assert went(done) == {
            "containers": ["old"],
            "networks": [],
            # The first is held by nothing but the container that goes.
            "images": ["once:1", "unused:1"],
            "build-cache": ["a"],
        }
        assert done["reclaimed_bytes"] == sum(kind["reclaimed_bytes"] for kind in done["kinds"])
        assert done["reclaimed_bytes"] == 2_000_005
        assert {*world.engine.containers} == {"web"}
        assert {*world.engine.tags} == {"busybox:latest"}

    async def test_images_with_names_stay_unless_all_are_to_go(self, world: World) -> None:
        world.engine.pull("unused:1")

        assert went(await prune(world))["images"] == []
        assert {*world.engine.tags} == {"unused:1"}

    async def test_what_belongs_to_an_environment_stays(self, world: World) -> None:
        await deploy(world, "lab", WEB)
        await deploy(world, "solo", PLAIN)
        await change(world, "lab", "stop")
        await change(world, "solo", "stop")
        before = ({*world.engine.containers}, {*world.engine.tags})

        assert went(await prune(world, all="true")) == {
            "containers": [],
            "networks": [],
            "images": [],
            "build-cache": [],
        }
        assert ({*world.engine.containers}, {*world.engine.tags}) == before
        assert (await change(world, "lab", "start")).status_code == 200

    async def test_what_a_change_under_way_needs_stays(self, world: World) -> None:
        world.compose.build_seconds = 60.0
        await begin(world, "lab", WEB)
        needed = await world.agent.builds.used()
        assert needed
        for tag in needed:
            world.engine.pull(tag)

        assert went(await prune(world, all="true"))["images"] == []
        await world.clock.advance(120)

    async def test_the_agents_own_stays(self, world: World) -> None:
        own = the_agents_own(world)
        world.engine.stop(own.name)

        assert went(await prune(world, all="true"))["containers"] == []

    async def test_kinds_are_chosen(self, world: World) -> None:
        stopped(world, "old")
        world.engine.build_cache["a"] = CacheEntry(id="a", size_bytes=5)

        assert went(await prune(world, kind="build-cache")) == {"build-cache": ["a"]}
        assert {*world.engine.containers} == {"old"}

    async def test_volumes_go_only_where_they_are_named(self, world: World) -> None:
        made = await call(world, "POST", "/api/v1/volumes", {"name": ""})
        nameless = made.json()["name"]
        await call(world, "POST", "/api/v1/volumes", {"name": "data"})

        assert "volumes" not in went(await prune(world, all="true"))
        assert {*world.engine.volumes} == {"data", nameless}
        assert went(await prune(world, kind="volumes")) == {"volumes": [nameless]}
        assert went(await prune(world, kind="volumes", all="true")) == {"volumes": ["data"]}

    async def test_a_network_goes_with_the_containers_that_were_in_it(self, world: World) -> None:
        world.engine.pull("busybox")
        for path, body in (
            ("networks", {"name": "course"}),
            ("containers?start=true", {"name": "web", "image": "busybox", "networks": ["course"]}),
        ):
            answer = await call(world, "POST", f"/api/v1/{path}", body)
            assert answer.status_code == 201, answer.text
        await call(world, "POST", "/api/v1/containers/web/stop")

        told = went(await prune(world, dry_run="true"))
        kept = went(await prune(world, kind="networks"))
        done = went(await prune(world))

        assert kept["networks"] == []
        assert (done["containers"], done["networks"]) == (["web"], ["course"])
        assert told == done

    async def test_labels_leave_others_out_and_cache_has_none(self, world: World) -> None:
        stopped(world, "old")
        stopped(world, "mine")
        mine = world.engine.containers["mine"]
        labels = {**mine.labels, "test": "x"}
        world.engine.containers["mine"] = msgspec.structs.replace(mine, labels=labels)
        world.engine.build_cache["a"] = CacheEntry(id="a", size_bytes=5)

        found = went(await prune(world, label="test=x", all="true"))

        assert found == {"containers": ["mine"], "networks": [], "images": [], "build-cache": []}
        assert "a" in world.engine.build_cache

    @pytest.mark.parametrize("query", [{"older_than": "24h"}, {"until": "24h"}, {"until": None}])
    async def test_what_is_young_stays_where_an_age_is_asked_for(
        self, world: World, query: dict[str, str | None]
    ) -> None:
        now = world.clock.now()
        moment = (now - timedelta(hours=24)).isoformat()
        stopped(world, "old", days=2)
        stopped(world, "new", days=0.5)
        for name, hours in (("cold", 48), ("warm", 12)):
            used = now - timedelta(hours=hours)
            world.engine.build_cache[name] = CacheEntry(id=name, used_at=used)

        found = went(await prune(world, **{k: v or moment for k, v in query.items()}))

        assert found["containers"] == ["old"]
        assert found["build-cache"] == ["cold"]

    async def test_what_went_is_told_although_the_engine_fails_in_the_middle(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stopped(world, "old")
        list_images = world.agent.images.pruning._images.list

        async def fail() -> Any:
            world.engine.fault = "no such file"
            return await list_images()

        monkeypatch.setattr(world.agent.images.pruning._images, "list", fail)

        done = await prune(world)

        assert [kind["kind"] for kind in done["kinds"] if kind["items"]] == ["containers"]
        assert done["kinds"][-1]["kind"] == "images"
        assert "did not answer" in done["kinds"][-1]["fault"]

    async def test_nothing_goes_while_the_agent_starts(self) -> None:
        async with agent_on_twins(ready=False) as world:
            stopped(world, "old")

            assert (await asked(world)).status_code == 503
            assert {*world.engine.containers} == {"old"}

    @pytest.mark.parametrize(
        "query",
        [
            {"kind": "everything"},
            {"older_than": "24h", "until": "24h"},
            {"older_than": "old"},
            {"until": "yesterday"},
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, world: World, query: dict[str, str]
    ) -> None:
        assert (await asked(world, **query)).status_code == 422

    async def test_no_key_nothing_goes(self, world: World) -> None:
        stopped(world, "old")

        assert (await world.http.post(f"{SYSTEM}/prune")).status_code == 401
        assert {*world.engine.containers} == {"old"}

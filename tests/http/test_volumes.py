"""The host's volumes over the API."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from domain.usecases.volume_pruning import VolumePruneWish
from tests.contracts.test_engine_volumes import FILES, packed, unpacked
from tests.support.agents import KEY, OWN_CONTAINER, World, agent_on_twins
from tests.support.api import call, deploy, lab
from tests.support.containers import create, the_agents_own

pytestmark = pytest.mark.anyio

VOLUMES = "/api/v1/volumes"
LAB = lab("services: {web: {image: 'nginx:1', volumes: ['data:/d']}}\nvolumes: {data: {}}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def make(world: World, name: str = "own", **fields: Any) -> httpx.Response:
    return await call(world, "POST", VOLUMES, {"name": name, **fields})


async def names(world: World, query: str = "") -> list[str]:
    answer = await call(world, "GET", f"{VOLUMES}{query}")
    assert answer.status_code == 200, answer.text
    return [volume["name"] for volume in answer.json()["volumes"]]


async def restore(
    world: World, name: str, archive: bytes, query: str = "", **headers: str
) -> httpx.Response:
    path = f"{VOLUMES}/{name}/archive{query}"
    return await world.http.put(path, content=archive, headers={**KEY, **headers})


async def held(world: World, name: str) -> dict[str, bytes]:
    answer = await call(world, "GET", f"{VOLUMES}/{name}/archive")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-tar"
    return unpacked(answer.content)


async def test_they_are_listed_with_who_mounts_them_and_whose_they_are(world: World) -> None:
    await deploy(world, "one", LAB)
    await make(world, labels={"course": "web"})

    rows = (await call(world, "GET", VOLUMES)).json()["volumes"]

    shown = [(r["name"], r["environment"], users(r), r["size_bytes"]) for r in rows]
    assert shown == [("one_data", "one", [("one-web-1", True)], None), ("own", None, [], None)]


def users(row: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(user["name"], user["running"]) for user in row["used_by"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?name=ow", ["own"]),
        ("?label=course=web", ["own"]),
        ("?label=course=db", []),
        ("?environment=one", ["one_data"]),
        ("?unused=true", ["own"]),
        ("?unused=false", ["one_data"]),
        ("?driver=nfs", []),
        ("?limit=1", ["one_data"]),
    ],
)
async def test_filters_and_limits_choose(world: World, query: str, found: list[str]) -> None:
    await deploy(world, "one", LAB)
    await make(world, labels={"course": "web"})

    assert await names(world, query) == found


async def test_sizes_are_told_to_those_who_ask(world: World) -> None:
    await restore(world, "own", packed(FILES))
    size = sum(len(content) for content in FILES.values())

    (row,) = (await call(world, "GET", f"{VOLUMES}?size=true")).json()["volumes"]

    assert row["size_bytes"] == size
    assert (await call(world, "GET", f"{VOLUMES}/own")).json()["size_bytes"] == size


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("a/b", {}, "cannot name a volume"),
        ("..", {}, "cannot name a volume"),
        ("own", {"labels": {"com.docker.compose.project": "one"}}, "label"),
        ("own", {"driver": "nfs"}, "driver"),
        ("own", {"driver_opts": {"type": "none"}}, "driver_opts"),
        ("own", {"options": {"type": "none", "o": "bind", "device": "/"}}, "options = "),
        ("own", {"options": {"type": "nfs", "o": "addr=10.0.0.9,rw", "device": ":/"}}, "options"),
        ("own", {"options": {"type": "ext4", "device": "/dev/sda1"}}, "options"),
    ],
)
async def test_what_no_volume_may_be_is_refused(
    world: World, name: str, fields: dict[str, Any], words: str
) -> None:
    answer = await make(world, name, **fields)

    assert answer.status_code == 422, answer.text
    assert words in answer.text
    assert await names(world) == []


async def test_no_two_have_one_name(world: World) -> None:
    assert (await make(world)).status_code == 201
    assert (await make(world)).status_code == 409


async def test_a_backup_is_restored_into_a_volume_that_is_made_for_it(world: World) -> None:
    await restore(world, "own", packed(FILES))
    archive = (await call(world, "GET", f"{VOLUMES}/own/archive")).content

    answer = await restore(world, "copy", archive)

    assert answer.status_code == 200
    assert await held(world, "copy") == FILES


async def test_an_archive_can_come_through_gzip(world: World) -> None:
    await restore(world, "own", gzip.compress(packed(FILES)))

    assert await held(world, "own") == FILES


@pytest.mark.parametrize("length", [0, 512, 1024, 70_000])
async def test_half_an_archive_leaves_a_volume_as_it_was(world: World, length: int) -> None:
    await restore(world, "own", packed(FILES))

    answer = await restore(world, "own", packed({"x": bytes(100_000)})[:length], "?clear=true")

    assert answer.status_code == 422
    assert await held(world, "own") == FILES


async def test_a_hostile_archive_is_refused(world: World) -> None:
    answer = await restore(world, "own", packed({"../../etc/passwd": b"x"}))

    assert answer.status_code == 422
    assert "leads out of the volume" in answer.json()["detail"]
    assert await names(world) == []


async def test_a_bomb_is_refused() -> None:
    async with agent_on_twins({"MAX_VOLUME_BYTES": "100000"}) as world:
        answer = await restore(world, "own", gzip.compress(packed({"x": bytes(1_000_000)})))

        assert answer.status_code == 413
        assert await names(world) == []


async def test_a_form_is_no_archive(world: World) -> None:
    answer = await restore(world, "own", b"", **{"content-type": "multipart/form-data"})

    assert answer.status_code == 422
    assert "raw body" in answer.json()["detail"]


async def test_no_volume_is_restored_or_read_while_it_is_restored(world: World) -> None:
    await make(world)
    began, go_on = anyio.Event(), anyio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield packed(FILES)[:1000]
        began.set()
        await go_on.wait()
        yield packed(FILES)[1000:]

    async def first() -> None:
        await world.agent.volumes.archiving.restore("own", slowly(), clear=False, force=False)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        with anyio.fail_after(5):
            await began.wait()
        second = await restore(world, "own", packed(FILES), "?clear=true&force=true")
        read = await call(world, "GET", f"{VOLUMES}/own/archive")
        go_on.set()

    assert [second.status_code, read.status_code] == [409, 409]
    assert "being restored" in second.json()["detail"]
    assert await held(world, "own") == FILES


async def test_a_volume_that_may_lie_anywhere_is_neither_read_nor_written(world: World) -> None:
    world.engine.volumes["elsewhere"] = ""
    world.engine.volume_options.add("elsewhere")

    read = await call(world, "GET", f"{VOLUMES}/elsewhere/archive")
    written = await restore(world, "elsewhere", packed(FILES), "?clear=true&force=true")

    assert [read.status_code, written.status_code] == [422, 422]
    assert "any folder of the host" in read.json()["detail"]


async def test_the_agents_own_volume_is_neither_read_nor_written(world: World) -> None:
    await make(world)
    agent = msgspec.structs.replace(world.engine.run("agent"), id=OWN_CONTAINER)
    world.engine.containers["agent"] = agent
    world.volumes.mount("own", "agent")

    read = await call(world, "GET", f"{VOLUMES}/own/archive")
    written = await restore(world, "own", packed(FILES), "?clear=true&force=true")

    assert [read.status_code, written.status_code] == [409, 409]
    assert "the agent's own" in read.json()["detail"]


@pytest.mark.parametrize("policy", ["lab", "trusted"])
async def test_no_other_container_mounts_the_agents_own_volume(policy: str) -> None:
    async with agent_on_twins({"COMPOSE_POLICY": policy}) as world:
        await make(world)
        the_agents_own(world)
        world.volumes.mount("own", "the-agent")

        answer = await create(world, query="?force=true", volumes=["own:/s"])

        assert answer.status_code == 409
        assert "the agent's own" in answer.json()["detail"]


async def test_trusted_operators_choose_drivers_but_not_the_agents_own_folders() -> None:
    async with agent_on_twins({"COMPOSE_POLICY": "trusted"}) as world:
        state = world.agent.settings.state_dir
        taken = await make(world, options={"type": "none", "o": "bind", "device": "/srv/data"})
        refused = await make(
            world, "other", options={"type": "none", "o": "bind", "device": f"{state}/x"}
        )

        assert [taken.status_code, refused.status_code] == [201, 422]
        assert taken.json()["options"]["device"] == "/srv/data"


async def test_one_without_a_name_is_found_by_how_that_begins(world: World) -> None:
    made = (await make(world, "")).json()
    await make(world, "abc")

    shown = (await call(world, "GET", f"{VOLUMES}/{made['name'][:63]}")).json()

    assert shown["anonymous"]
    assert shown["name"] == made["name"]
    assert (await call(world, "GET", f"{VOLUMES}/ab")).status_code == 404


async def test_a_restore_that_fails_leaves_no_new_volume(world: World) -> None:
    answer = await restore(world, "own", b"no archive")

    assert answer.status_code == 422
    assert await names(world) == []


async def test_what_a_volume_holds_is_kept_unless_it_shall_be_cleared(world: World) -> None:
    await restore(world, "own", packed(FILES))

    assert (await restore(world, "own", packed({"x": b"1"}))).status_code == 409
    assert await held(world, "own") == FILES
    assert (await restore(world, "own", packed({"x": b"1"}), "?clear=true")).status_code == 200
    assert await held(world, "own") == {"x": b"1"}


async def test_an_archive_beyond_the_limit_is_refused(world: World) -> None:
    length = str(1 << 40)
    answer = await restore(world, "own", b"", **{"content-length": length})

    assert answer.status_code == 413
    assert await names(world) == []


async def test_what_belongs_to_an_environment_is_changed_only_by_force(world: World) -> None:
    await deploy(world, "one", LAB)

    removed = await call(world, "DELETE", f"{VOLUMES}/one_data")
    written = await restore(world, "one_data", packed(FILES))
    forced = await restore(world, "one_data", packed(FILES), "?force=true")

    assert [removed.status_code, written.status_code, forced.status_code] == [409, 409, 200]
    assert "belongs to environment 'one'" in removed.json()["detail"]


async def test_one_that_is_mounted_is_not_written_to_by_accident(world: World) -> None:
    await make(world)
    world.engine.run("solo")
    world.volumes.mount("own", "solo")

    answer = await restore(world, "own", packed(FILES))

    assert answer.status_code == 409
    assert "mounted by solo" in answer.json()["detail"]


async def test_one_that_nobody_mounts_is_removed(world: World) -> None:
    await make(world)
    world.engine.run("solo")
    world.volumes.mount("own", "solo")

    assert (await call(world, "DELETE", f"{VOLUMES}/own")).status_code == 409
    world.engine.remove("solo")
    assert (await call(world, "DELETE", f"{VOLUMES}/own")).status_code == 204
    assert (await call(world, "DELETE", f"{VOLUMES}/own")).status_code == 404


async def test_pruning_takes_what_nobody_uses_and_tells_before(world: World) -> None:
    await deploy(world, "one", LAB)
    await restore(world, "own", packed({"a": b"12345"}))

    told = await prune(world, "?all=true&dry_run=true")
    assert told == {
        "dry_run": True,
        "volumes": [{"name": "own", "size_bytes": 5}],
        "kept": [],
        "space_reclaimed_bytes": 5,
    }
    assert went(await prune(world)) == []
    assert went(await prune(world, "?all=true")) == ["own"]
    assert await names(world) == ["one_data"]


async def test_pruning_takes_those_without_a_name_of_their_own(world: World) -> None:
    made = (await make(world, "")).json()["name"]
    await make(world)

    assert went(await prune(world)) == [made]
    assert await names(world) == ["own"]


async def test_pruning_keeps_to_labels_and_age(world: World) -> None:
    await make(world, "a", labels={"course": "web"})
    await make(world, "b")

    assert went(await prune(world, "?all=true&older_than=1h")) == []
    assert went(await prune(world, "?all=true&label=course=db")) == []
    assert went(await prune(world, "?all=true&label=course")) == ["a"]


async def test_who_goes_first_does_not_keep_a_volume(world: World) -> None:
    await make(world)
    solo = world.engine.run("solo")
    world.volumes.mount("own", "solo")
    pruning, wish = world.agent.volumes.pruning, VolumePruneWish(all_unused=True, dry_run=True)

    kept, gone = await pruning.prune(wish), await pruning.prune(wish, without={solo.id})

    assert [one.name for one in kept.volumes] == []
    assert [one.name for one in gone.volumes] == ["own"]


async def prune(world: World, query: str = "") -> dict[str, Any]:
    answer = await call(world, "POST", f"{VOLUMES}/prune{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def went(pruned: dict[str, Any]) -> list[str]:
    return [volume["name"] for volume in pruned["volumes"]]


@pytest.mark.parametrize("name", ["a%2Fb", "..", "%2e%2e", "a%3Fx", "a%23x", "a%00", "-v", "%20"])
async def test_no_name_reaches_anything_else(world: World, name: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/archive"), ("PUT", "/archive")):
        answer = await call(world, method, f"{VOLUMES}/{name}{path}")
        assert answer.status_code in {404, 405, 422}, answer.text


async def test_an_engine_that_is_away_is_503(world: World) -> None:
    world.engine.fault = "is away"

    for path in ("", "/own", "/own/archive"):
        assert (await call(world, "GET", f"{VOLUMES}{path}")).status_code == 503

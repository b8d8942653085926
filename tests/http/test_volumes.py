"""The host's volumes over the API."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.contracts.test_engine_volumes import FILES, packed, unpacked
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import call, deploy, lab

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

    assert [(r["name"], r["environment"], r["containers"], r["size_bytes"]) for r in rows] == [
        ("one_data", "one", ["one-web-1"], None),
        ("own", None, [], None),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?name=ow", ["own"]),
        ("?label=course=web", ["own"]),
        ("?label=course=db", []),
        ("?environment=one", ["one_data"]),
        ("?unused=true", ["own"]),
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

    (row,) = (await call(world, "GET", f"{VOLUMES}?sizes=true")).json()["volumes"]

    assert row["size_bytes"] == size
    assert (await call(world, "GET", f"{VOLUMES}/own")).json()["size_bytes"] == size


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("a/b", {}, "cannot name a volume"),
        ("..", {}, "cannot name a volume"),
        ("", {}, "cannot name a volume"),
        ("own", {"labels": {"com.docker.compose.project": "one"}}, "label"),
        ("own", {"driver": "nfs"}, "driver"),
        ("own", {"driver_opts": {"type": "none", "o": "bind", "device": "/"}}, "driver_opts"),
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

    told = (await call(world, "POST", f"{VOLUMES}/prune?anonymous=false&dry_run=true")).json()
    assert told == {"dry_run": True, "volumes": ["own"], "freed_bytes": 5}
    assert (await call(world, "POST", f"{VOLUMES}/prune")).json()["volumes"] == []
    assert (await call(world, "POST", f"{VOLUMES}/prune?anonymous=false")).json()["volumes"] == [
        "own"
    ]
    assert await names(world) == ["one_data"]


@pytest.mark.parametrize("name", ["a%2Fb", "..", "%2e%2e", "a%3Fx", "a%23x", "a%00", "-v", "%20"])
async def test_no_name_reaches_anything_else(world: World, name: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/archive"), ("PUT", "/archive")):
        answer = await call(world, method, f"{VOLUMES}/{name}{path}")
        assert answer.status_code in {404, 405, 422}, answer.text


async def test_an_engine_that_is_away_is_503(world: World) -> None:
    world.engine.fault = "is away"

    for path in ("", "/own", "/own/archive"):
        assert (await call(world, "GET", f"{VOLUMES}{path}")).status_code == 503

"""What a call would not read is refused, whatever the call."""

from collections.abc import AsyncIterator

import pytest

from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import call
from tests.support.containers import names, run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def test_a_misspelt_parameter_changes_nothing(world: World) -> None:
    await run(world, "web")
    world.engine.stop("web")

    answer = await call(world, "POST", "/api/v1/containers/prune?dryrun=true")

    assert answer.status_code == 422
    assert "no parameter 'dryrun'" in answer.json()["detail"]
    assert "dry_run" in answer.json()["detail"]
    assert await names(world, all="true") == ["web"]


async def test_a_body_where_none_is_taken_changes_nothing(world: World) -> None:
    await run(world, "web")

    answer = await call(world, "POST", "/api/v1/containers/web/kill", {"signal": "HUP"})

    assert answer.status_code == 422
    assert "takes no body" in answer.json()["detail"]
    assert "signal" in answer.json()["detail"]
    assert await names(world) == ["web"]


@pytest.mark.parametrize("text", ["{}", "{}\n", " { }\r\n", "null", "\n"])
async def test_a_body_that_says_nothing_is_no_fault(world: World, text: str) -> None:
    await run(world, "web")

    answer = await world.http.post("/api/v1/containers/web/stop", content=text, headers=KEY)

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("text", ["[]", "1", "0", "x"])
async def test_a_short_body_that_says_something_is_one(world: World, text: str) -> None:
    await run(world, "web")

    answer = await world.http.post("/api/v1/containers/web/stop", content=text, headers=KEY)

    assert answer.status_code == 422


async def test_a_parameter_with_two_values_is_refused_where_it_takes_one(world: World) -> None:
    await run(world, "web")
    world.engine.stop("web")

    answer = await call(world, "POST", "/api/v1/containers/prune?dry_run=true&dry_run=false")

    assert answer.status_code == 422
    assert "dry_run is there 2 times" in answer.json()["detail"]
    assert await names(world, all="true") == ["web"]
    listed = await call(world, "GET", "/api/v1/containers?state=exited&state=dead")
    assert listed.status_code == 200


async def test_which_methods_there_are_is_told_whatever_the_query(world: World) -> None:
    answer = await call(world, "OPTIONS", "/api/v1/containers?all=true")

    assert answer.status_code < 300


@pytest.mark.parametrize(
    ("pieces", "status"), [([], 200), ([b"{}"], 200), ([b"{", b'"a":1}'], 422)]
)
async def test_a_body_of_unknown_length_is_looked_at(
    world: World, pieces: list[bytes], status: int
) -> None:
    await run(world, "web")

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    answer = await world.http.post("/api/v1/containers/web/stop", content=body(), headers=KEY)

    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.status_code == status, answer.text


async def test_every_parameter_of_the_document_is_one_that_the_call_knows(world: World) -> None:
    document = (await world.http.get("/openapi.json")).json()
    unknown = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            query = "&".join(f"{name}=%00" for name in names)
            answer = await call(world, method.upper(), f"{path}?{query}")
            if "has no parameter" in answer.text:
                unknown.append(f"{method} {path}: {answer.json()['detail']}")

    assert unknown == []


async def test_a_handshake_is_held_to_the_same(world: World) -> None:
    answer = await call(world, "GET", "/api/v1/containers/web/exec/terminal?colums=80")

    assert answer.status_code == 422
    assert "no parameter 'colums'" in answer.json()["detail"]


async def test_the_managers_calls_stay_lenient(world: World) -> None:
    answer = await world.http.get("/agent/containers?verbose=1", headers=KEY)

    assert answer.status_code == 200


async def test_who_has_no_key_hears_of_that_only(world: World) -> None:
    answer = await world.http.get("/api/v1/containers?nothing=1", headers={"X-Server-Key": "x"})

    assert answer.status_code == 401

"""HEAD tells what GET would, without the content."""

from collections.abc import AsyncIterator

import anyio
import pytest

from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import call
from tests.support.containers import CONTAINERS, run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


@pytest.mark.parametrize("path", ["/health", "/docs", "/api/v1/networks", f"{CONTAINERS}/nobody"])
async def test_it_has_the_status_and_headers_of_get(world: World, path: str) -> None:
    got, head = await call(world, "GET", path), await call(world, "HEAD", path)

    assert head.status_code == got.status_code
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.content == b""


@pytest.mark.parametrize(
    "path",
    ["/api/v1/events", f"{CONTAINERS}/web/logs?follow=true", f"{CONTAINERS}/web/files?path=/"],
)
async def test_a_stream_is_not_begun(world: World, path: str) -> None:
    await run(world)
    with anyio.fail_after(2):
        head = await call(world, "HEAD", path)

    assert head.status_code == 200
    assert head.content == b""


async def test_it_wants_the_key_as_get_does(world: World) -> None:
    assert (await world.http.head(CONTAINERS)).status_code == 401
    assert (await world.http.head(CONTAINERS, headers=KEY)).status_code == 200


async def test_what_does_not_answer_get_does_not_answer_it(world: World) -> None:
    assert (await call(world, "HEAD", "/api/v1/images/pull")).status_code in {404, 405}
    assert (await call(world, "HEAD", f"{CONTAINERS}/web/start")).status_code == 405


async def test_options_tell_every_method_of_a_path(world: World) -> None:
    answer = await world.http.options("/api/v1/containers", headers=KEY)

    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"

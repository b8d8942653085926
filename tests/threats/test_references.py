"""References that would lead to other calls of the Engine: none of them leaves the agent."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.support.agents import KEY, World, agent_on_twins
from tests.support.containers import CONTAINERS, run

pytestmark = pytest.mark.anyio

REFERENCES = [
    "a/../b",
    "../images/json",
    "web/json?x=",
    "web?force=1",
    "web#",
    "..",
    ".",
    "-v",
    "web\0",
    "web\n",
    "wéb",
    "%2e%2e",
    "web%2f..",
    "a" * 256,
    " ",
    "$(id)",
    "web;id",
]

CALLS = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/start"),
    ("POST", "/stop"),
    ("POST", "/restart"),
    ("POST", "/kill"),
    ("POST", "/pause"),
    ("POST", "/unpause"),
    ("POST", "/rename?name=other"),
    ("GET", "/wait?timeout=0"),
    ("GET", "/top"),
    ("GET", "/diff"),
    ("GET", "/logs"),
    ("GET", "/files?path=/etc"),
]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await run(world, "web")
        # Whoever asks the Engine from here on is told that it is away.
        world.engine.fault = "nobody may ask"
        yield world


@pytest.mark.parametrize(("method", "call"), CALLS, ids=[f"{m}{c}" for m, c in CALLS])
async def test_what_can_name_no_container_reaches_no_engine(
    world: World, method: str, call: str
) -> None:
    for reference in REFERENCES:
        # Else the client itself would take the dots for folders.
        coded = quote(reference, safe="").replace(".", "%2E")
        path = f"{CONTAINERS}/{coded}{call}"
        answer = await world.http.request(method, path, headers=KEY)

        assert answer.status_code in {404, 405, 422}, reference


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("field", ["name", "networks", "volumes"])
async def test_what_can_name_nothing_in_a_request_reaches_no_engine(
    world: World, field: str, reference: str
) -> None:
    mount = {"source": reference, "target": "/x"}
    values = {"name": reference, "networks": [reference], "volumes": [mount]}
    body = {"image": "busybox", field: values[field]}

    answer = await world.http.post(CONTAINERS, json=body, headers=KEY)

    assert answer.status_code == 422, answer.text


OTHER_CALLS = [
    ("GET", "networks", ""),
    ("DELETE", "networks", "?force=true"),
    ("POST", "networks", "/connect"),
    ("POST", "networks", "/disconnect"),
    ("GET", "volumes", ""),
    ("DELETE", "volumes", "?force=true"),
    ("GET", "volumes", "/archive"),
    ("PUT", "volumes", "/archive?clear=true"),
]


@pytest.mark.parametrize(("method", "kind", "call"), OTHER_CALLS)
async def test_what_can_name_no_network_and_no_volume_reaches_no_engine(
    world: World, method: str, kind: str, call: str
) -> None:
    for reference in REFERENCES:
        coded = quote(reference, safe="").replace(".", "%2E")
        body = {"container": "web"} if method == "POST" else None
        path = f"/api/v1/{kind}/{coded}{call}"
        answer = await world.http.request(method, path, json=body, headers=KEY)

        assert answer.status_code in {404, 405, 422}, reference


@pytest.mark.parametrize("reference", [reference for reference in REFERENCES if reference])
@pytest.mark.parametrize("kind", ["networks", "volumes"])
async def test_what_can_be_no_name_is_given_to_nothing(
    world: World, kind: str, reference: str
) -> None:
    answer = await world.http.post(f"/api/v1/{kind}", json={"name": reference}, headers=KEY)

    assert answer.status_code == 422, answer.text

"""Who asked for what, and what came of it."""

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from domain.errors import StoreUnavailable
from domain.usecases.audit import MOST_WAITING, STRANGERS_PER_MINUTE
from tests.support.agents import HOST_ID, JWT_SECRET, KEY, World, agent_on_twins
from tests.support.api import BUNDLES, ENVIRONMENTS, PLAIN, WEB, call, deploy, lab, upload

pytestmark = pytest.mark.anyio

AUDIT = "/api/v1/audit"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def entries(world: World, **filters: Any) -> list[dict[str, Any]]:
    """The trail, newest first."""
    answer = await world.http.get(AUDIT, params=filters, headers=KEY)
    assert answer.status_code == 200, answer.text
    return [{**found["entry"], "outcome": found["outcome"]} for found in answer.json()["entries"]]


async def test_a_deploy_tells_who_asked_from_where_and_what_began(world: World) -> None:
    token = jwt.encode({"sub": HOST_ID, "jti": "k-17", "iat": int(time.time())}, JWT_SECRET)
    headers = {"X-Server-Key": token, "Prefer": "wait=60", "X-Forwarded-For": "6.6.6.6"}
    digest = await upload(world, PLAIN)

    answer = await world.http.post(
        ENVIRONMENTS, json={"name": "one", "bundle": digest}, headers=headers
    )

    entry = (await entries(world))[0]
    assert answer.status_code == 200
    assert (entry["subject"], entry["key_id"]) == (HOST_ID, "k-17")
    assert entry["address"] == "127.0.0.1"
    assert (entry["method"], entry["route"]) == ("POST", ENVIRONMENTS)
    assert (entry["target"], entry["operation"]) == ("one", answer.json()["id"])
    assert (entry["status"], entry["outcome"], entry["code"]) == (200, "ok", "")
    assert token not in str(await entries(world)) + str(world.log.events)


async def test_the_managers_calls_are_named_by_their_environment(world: World) -> None:
    await world.launch("lab-1", WEB)
    await call(world, "POST", "/agent/containers/lab-1/restart")
    await call(world, "DELETE", "/agent/containers/lab-1")

    found = await entries(world, target="lab-1")

    assert [(e["method"], e["route"]) for e in found] == [
        ("DELETE", "/agent/containers/{name}"),
        ("POST", "/agent/containers/{name}/restart"),
        ("POST", "/agent/containers"),
    ]
    assert all(e["operation"] for e in found)


async def test_what_is_refused_is_there_with_its_reason(world: World) -> None:
    hostile = lab("services: {web: {image: 'nginx:1', privileged: true}}")
    await deploy(world, "one", hostile)
    await call(world, "DELETE", f"{ENVIRONMENTS}/nobody")
    await call(world, "POST", f"{BUNDLES}/sha256:{'0' * 64}/build")

    refused = await entries(world, outcome="refused")

    assert [(e["status"], e["code"]) for e in refused] == [
        (404, "bundle-not-found"),
        (404, "environment-not-found"),
        (422, "policy-refused"),
    ]
    assert await entries(world, outcome="failed") == []


async def test_reading_is_not_in_the_trail_but_without_a_key(world: World) -> None:
    for path in ("/health", "/metrics", ENVIRONMENTS):
        await world.http.get(path, headers=KEY)
    await world.http.get(ENVIRONMENTS, headers={"X-Server-Key": "wrong-key-of-somebody"})

    (only,) = await entries(world)

    assert (only["status"], only["code"], only["subject"]) == (401, "key-refused", "")
    assert "wrong-key-of-somebody" not in str(only) + str(world.log.events)


async def test_a_flood_without_a_key_does_not_fill_the_store(world: World) -> None:
    for _ in range(STRANGERS_PER_MINUTE + 7):
        await world.http.delete(f"{ENVIRONMENTS}/one")
    await deploy(world, "one", PLAIN)

    answer = (await world.http.get(AUDIT, params={"limit": 1000}, headers=KEY)).json()

    strangers = [found for found in answer["entries"] if not found["entry"]["subject"]]
    assert len(strangers) == STRANGERS_PER_MINUTE
    assert answer["left_out"] == 7
    assert "host_agent_audit_left_out_total 7.0" in (await world.http.get("/metrics")).text
    await world.clock.advance(60)
    await world.http.delete(f"{ENVIRONMENTS}/one")
    assert (await entries(world))[0]["status"] == 401


async def test_names_cannot_steer_whoever_reads_them(world: World) -> None:
    await call(world, "DELETE", f"{ENVIRONMENTS}/%1b%5d0;evil%07{'x' * 500}")

    (entry,) = await entries(world)

    assert "\x1b" not in entry["path"] + entry["target"]
    assert "\x07" not in entry["path"] + entry["target"]
    assert len(entry["path"]) <= 201


async def test_pages_go_on_where_the_last_one_ended(world: World) -> None:
    for number in range(5):
        await call(world, "DELETE", f"{ENVIRONMENTS}/e{number}")

    first = (await world.http.get(AUDIT, params={"limit": 3}, headers=KEY)).json()
    more = {"limit": 3, "before": first["next"]}
    second = (await world.http.get(AUDIT, params=more, headers=KEY)).json()

    pages = [*first["entries"], *second["entries"]]
    assert [found["entry"]["target"] for found in pages] == ["e4", "e3", "e2", "e1", "e0"]
    assert second["next"] is None


async def test_a_store_that_cannot_write_holds_nobody_up(world: World) -> None:
    world.store.fault = StoreUnavailable("The disk is gone.")
    refused = await call(world, "DELETE", f"{ENVIRONMENTS}/one")
    world.store.fault = None

    assert refused.status_code == 503
    assert [e["status"] for e in await entries(world)] == [503]


async def test_what_waits_for_the_store_is_bounded(world: World) -> None:
    await call(world, "DELETE", f"{ENVIRONMENTS}/one")
    (waiting,) = world.agent.audit._waiting
    for _ in range(MOST_WAITING + 3):
        world.agent.audit.note(waiting)

    assert len(world.agent.audit._waiting) == MOST_WAITING
    assert world.agent.audit.left_out == 4


async def test_nothing_is_stored_where_nothing_is_to_be_kept() -> None:
    async with agent_on_twins({"AUDIT_TTL": "0"}) as world:
        await call(world, "DELETE", f"{ENVIRONMENTS}/one")

        assert await entries(world) == []
        assert world.log.named("audit")


async def test_entries_go_after_their_time() -> None:
    async with agent_on_twins({"AUDIT_TTL": "1h"}) as world:
        await call(world, "DELETE", f"{ENVIRONMENTS}/old")
        await entries(world)
        await world.clock.advance(3601)
        await call(world, "DELETE", f"{ENVIRONMENTS}/new")

        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)

        assert [e["target"] for e in await entries(world)] == ["new"]


async def test_the_trail_wants_a_key(world: World) -> None:
    assert (await world.http.get(AUDIT)).status_code == 401

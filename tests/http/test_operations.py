"""Operations: asked for, waited for, followed, cancelled, repeated, remembered."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from domain.names import EnvironmentName
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import (
    BROKEN,
    BUNDLES,
    ENVIRONMENTS,
    MISSING,
    OPERATIONS,
    OTHER,
    PLAIN,
    WAIT,
    WEB,
    begin,
    call,
    deploy,
    exists,
    image_tags,
    left_of,
    operation,
    remove,
    shown,
    upload,
)

pytestmark = pytest.mark.anyio

WEEK = 7 * 86400.0
KEYED = {"Idempotency-Key": "abc-1"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


Event = tuple[int | None, str, Any]


def events_of(answer: httpx.Response) -> list[Event]:
    """The events of a stream: number, kind, data."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((number, fields["event"], json.loads(fields["data"])))
    return found


async def follow(world: World, identifier: str, after: str | None = None) -> list[Event]:
    headers = {"Last-Event-ID": after} if after is not None else {}
    answer = await call(world, "GET", f"{OPERATIONS}/{identifier}/events", headers=headers)
    assert answer.status_code == 200
    return events_of(answer)


def told(events: list[Event], kind: str) -> list[str]:
    return [data[kind] for _, name, data in events if name == kind]


async def cancel(world: World, identifier: str) -> httpx.Response:
    return await call(world, "DELETE", f"{OPERATIONS}/{identifier}", headers=WAIT)


class TestAnswers:
    async def test_a_change_is_answered_with_202_and_where_to_look(self, world: World) -> None:
        answer = await deploy(world, "one", WEB, headers={})

        assert answer.status_code == 202
        assert answer.headers["location"] == f"{OPERATIONS}/{answer.json()['id']}"
        assert (answer.json()["kind"], answer.json()["environment"]) == ("deploy", "one")
        assert answer.json()["state"] in {"queued", "running"}
        await world.clock.advance(1)
        followed = await call(world, "GET", answer.headers["location"])
        assert followed.json()["state"] == "succeeded"

    async def test_who_waits_gets_200_when_it_ends_in_time(self, world: World) -> None:
        answer = await deploy(world, "one", WEB)

        assert answer.status_code == 200
        assert answer.headers["preference-applied"] == "wait=60"
        assert answer.json()["state"] == "succeeded"
        assert answer.json()["ended_at"] is not None

    async def test_who_waits_gets_202_when_it_does_not(self, world: World) -> None:
        world.compose.build_seconds = 500

        answer = await deploy(world, "one", WEB, headers={"Prefer": "wait=0"})

        assert answer.status_code == 202
        assert answer.json()["state"] in {"queued", "running"}
        assert answer.headers["location"]

    @pytest.mark.parametrize("preference", ["wait", "wait=soon", "wait=-1", "respond-async"])
    async def test_a_preference_that_says_nothing_is_passed_over(
        self, world: World, preference: str
    ) -> None:
        answer = await deploy(world, "one", WEB, headers={"Prefer": preference})

        assert answer.status_code == 202
        assert "preference-applied" not in answer.headers

    async def test_a_failure_in_that_time_is_the_problem_and_says_where_to_look(
        self, world: World
    ) -> None:
        answer = await deploy(world, "one", BROKEN)

        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:container-host-agent:step-failed"
        assert "Step 'build' failed" in answer.json()["detail"]
        found = await call(world, "GET", answer.headers["location"])
        assert (found.json()["state"], found.json()["error"]) == ("failed", "step-failed")
        assert "Step 'build' failed" in found.json()["reason"]

    async def test_without_the_key_nothing_is_told(self, world: World) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]

        answers = [
            await world.http.get(OPERATIONS),
            await world.http.get(f"{OPERATIONS}/{identifier}"),
            await world.http.get(f"{OPERATIONS}/{identifier}/events"),
            await world.http.delete(f"{OPERATIONS}/{identifier}"),
        ]

        assert [answer.status_code for answer in answers] == [401] * 4


class TestView:
    async def test_it_shows_state_step_and_output_as_it_goes(self, world: World) -> None:
        world.compose.build_seconds, world.compose.up_seconds = 5, 5
        identifier = await begin(world, "one", WEB)
        building = await operation(world, identifier)
        await world.clock.advance(6)
        starting = await operation(world, identifier)
        await world.clock.advance(5)
        ended = await operation(world, identifier)

        assert (building["state"], building["step"]) == ("running", "build")
        assert (starting["state"], starting["step"]) == ("running", "start")
        assert "[web] FROM busybox" in starting["output"]
        assert ended["state"] == "succeeded"
        assert "Container one-web-1  Started" in ended["output"]
        assert ended["requested_by"]
        assert ended["requested_at"] <= ended["started_at"] < ended["ended_at"]

    async def test_one_that_waits_shows_its_place(self, world: World) -> None:
        world.compose.build_seconds = 5
        first = await begin(world, "one", WEB)
        second = await begin(world, "one", OTHER)
        third = await begin(world, "one", WEB)

        views = [await operation(world, identifier) for identifier in (first, second, third)]

        assert [view["state"] for view in views] == ["running", "queued", "queued"]
        assert [view["place"] for view in views] == [None, 1, 2]
        await world.clock.advance(6)
        assert (await operation(world, third))["place"] == 1
        await world.clock.advance(20)
        views = [await operation(world, identifier) for identifier in (first, second, third)]
        assert [view["state"] for view in views] == ["succeeded"] * 3

    async def test_changes_of_different_environments_wait_for_nobody(self, world: World) -> None:
        world.compose.up_seconds = 5
        first = await begin(world, "one", PLAIN)
        second = await begin(world, "two", PLAIN)

        assert (await operation(world, first))["state"] == "running"
        assert (await operation(world, second))["state"] == "running"
        await world.clock.advance(10)

    async def test_they_are_listed_newest_first_and_by_environment(self, world: World) -> None:
        one = (await deploy(world, "one", WEB)).json()["id"]
        await world.clock.advance(1)
        two = (await deploy(world, "two", WEB)).json()["id"]
        await world.clock.advance(1)
        again = (await deploy(world, "one", OTHER)).json()["id"]

        everything = (await call(world, "GET", OPERATIONS)).json()["operations"]
        of_one = (await call(world, "GET", f"{OPERATIONS}?environment=one")).json()["operations"]
        newest = (await call(world, "GET", f"{OPERATIONS}?limit=1")).json()["operations"]

        assert [o["id"] for o in everything] == [again, two, one]
        assert [o["id"] for o in of_one] == [again, one]
        assert [o["id"] for o in newest] == [again]

    @pytest.mark.parametrize("query", ["environment=Not%20one", "limit=0", "limit=x"])
    async def test_a_list_of_nonsense_is_refused(self, world: World, query: str) -> None:
        assert (await call(world, "GET", f"{OPERATIONS}?{query}")).status_code == 422

    @pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
    async def test_one_that_is_not_known_is_404(self, world: World, method: str, rest: str) -> None:
        answer = await call(world, method, f"{OPERATIONS}/nobody{rest}")

        assert answer.status_code == 404
        assert "nobody" in answer.json()["detail"]

    async def test_they_are_forgotten_in_the_end(self, world: World) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]
        await world.clock.advance(WEEK - 60)
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)
        kept = await call(world, "GET", f"{OPERATIONS}/{identifier}")

        await world.clock.advance(120)
        await world.agent.housekeeping.tick(world.agent.library, world.agent.space)
        gone = await call(world, "GET", f"{OPERATIONS}/{identifier}")

        assert (kept.status_code, gone.status_code) == (200, 404)
        assert (await call(world, "GET", OPERATIONS)).json() == {"operations": []}
        assert await exists(world, "one")


class TestEvents:
    async def test_who_comes_late_gets_all_from_the_beginning(self, world: World) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]

        events = await follow(world, identifier)

        assert told(events, "state") == ["queued", "running", "succeeded"]
        assert told(events, "step") == ["unpack", "check", "build", "start"]
        assert "[web] FROM busybox" in told(events, "output")
        assert [number for number, *_ in events[:-1]] == list(range(1, len(events)))

    async def test_the_last_event_holds_the_operation(self, world: World) -> None:
        identifier = (await deploy(world, "one", BROKEN)).json().get("id") or (
            await call(world, "GET", OPERATIONS)
        ).json()["operations"][0]["id"]

        *_, (number, kind, data) = await follow(world, identifier)

        assert (number, kind) == (None, "end")
        assert data == await operation(world, identifier)
        assert data["state"] == "failed"

    async def test_who_comes_back_gets_what_came_after(self, world: World) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]
        everything = await follow(world, identifier)

        rest = await follow(world, identifier, after="4")
        nothing = await follow(world, identifier, after=str(len(everything)))

        assert rest == everything[4:]
        assert [kind for _, kind, _ in nothing] == ["end"]

    @pytest.mark.parametrize("after", ["x", "-1", "", "1e9", "9" * 40])
    async def test_who_comes_back_with_nonsense_gets_all(self, world: World, after: str) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]

        assert await follow(world, identifier, after=after) == await follow(world, identifier)

    async def test_who_follows_while_it_runs_gets_all_until_the_end(self, world: World) -> None:
        world.compose.build_seconds, world.compose.up_seconds = 5, 5
        identifier = await begin(world, "one", WEB)
        followed: list[list[Event]] = []

        async def read() -> None:
            followed.append(await follow(world, identifier))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await world.clock.advance(6)
            group.start_soon(read)
            before = list(followed)
            await world.clock.advance(6)

        assert before == []
        assert followed[0] == followed[1] == await follow(world, identifier)
        assert told(followed[0], "state") == ["queued", "running", "succeeded"]
        assert followed[0][-1][1] == "end"

    async def test_who_goes_away_while_following_disturbs_nothing(self, world: World) -> None:
        world.compose.build_seconds = 5
        identifier = await begin(world, "one", WEB)

        async with anyio.create_task_group() as group:
            group.start_soon(follow, world, identifier)
            await world.clock.advance(1)
            group.cancel_scope.cancel()
        await world.clock.advance(10)

        assert (await operation(world, identifier))["state"] == "succeeded"

    async def test_a_new_agent_tells_what_an_earlier_one_did(self, world: World) -> None:
        identifier = (await deploy(world, "one", WEB)).json()["id"]
        before = await follow(world, identifier)

        async with agent_on_twins(outside=world) as after:
            assert await follow(after, identifier) == before
            assert await follow(after, identifier, after="3") == before[3:]


class TestCancel:
    async def test_one_that_waits_goes_at_once(self, world: World) -> None:
        world.compose.build_seconds = 500
        first = await begin(world, "one", WEB)
        second = await begin(world, "one", OTHER)

        answer = await cancel(world, second)

        assert answer.status_code == 200
        assert (answer.json()["state"], answer.json()["step"]) == ("cancelled", None)
        assert "cancelled by" in answer.json()["reason"]
        assert (await operation(world, first))["state"] == "running"
        assert len(world.workspaces.staged) == 1

    async def test_a_build_that_runs_leaves_nothing_behind(self, world: World) -> None:
        world.compose.build_seconds = 500
        identifier = await begin(world, "one", WEB, variables={"A": "b"}, labels={"a": "b"})

        answer = await cancel(world, identifier)

        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert await left_of(world, "one") == []
        assert world.engine.tags == {}
        assert await image_tags(world) == set()
        assert (await shown(world, "one"))["state"] == "failed"

    async def test_the_place_of_one_that_was_cancelled_is_free_again(self) -> None:
        async with agent_on_twins({"MAX_CONTAINERS": "1"}) as world:
            world.compose.build_seconds = 500
            identifier = await begin(world, "one", WEB)
            refused = await deploy(world, "two", PLAIN)

            await cancel(world, identifier)

            assert refused.status_code == 503
            assert (await deploy(world, "two", PLAIN)).status_code == 200

    async def test_a_start_that_runs_leaves_nothing_behind(self, world: World) -> None:
        world.compose.up_seconds = 500
        identifier = await begin(world, "one", WEB)

        answer = await cancel(world, identifier)

        assert answer.json()["state"] == "cancelled"
        assert await left_of(world, "one") == []
        assert await image_tags(world) == set()

    async def test_a_replacement_that_is_cancelled_brings_back_what_stood(
        self, world: World
    ) -> None:
        await deploy(world, "one", WEB)
        before = await image_tags(world)
        world.compose.build_seconds = 500
        identifier = await begin(world, "one", OTHER)

        await cancel(world, identifier)

        assert (await shown(world, "one"))["state"] == "running"
        assert set(world.engine.containers) == {"one-web-1"}
        assert await image_tags(world) == before

    async def test_without_waiting_it_is_answered_with_202(self, world: World) -> None:
        world.compose.build_seconds = 500
        identifier = await begin(world, "one", WEB)

        answer = await call(world, "DELETE", f"{OPERATIONS}/{identifier}")
        await world.clock.advance(0)

        assert answer.status_code == 202
        assert answer.headers["location"] == f"{OPERATIONS}/{identifier}"
        assert (await operation(world, identifier))["state"] == "cancelled"

    @pytest.mark.parametrize("archive", [WEB, BROKEN], ids=["well", "failed"])
    async def test_one_that_has_ended_cannot_be_cancelled(
        self, world: World, archive: bytes
    ) -> None:
        await deploy(world, "one", archive)
        (ended,) = (await call(world, "GET", OPERATIONS)).json()["operations"]

        answer = await cancel(world, ended["id"])

        assert answer.status_code == 409
        assert "has ended" in answer.json()["detail"]

    async def test_a_removal_that_runs_cannot_be_cancelled(self, world: World) -> None:
        await deploy(world, "one", WEB)
        world.compose.stop_seconds = 5
        begun = await call(world, "DELETE", f"{ENVIRONMENTS}/one")
        await world.clock.advance(0)

        answer = await cancel(world, begun.json()["id"])
        await world.clock.advance(10)

        assert answer.status_code == 409
        assert not await exists(world, "one")

    async def test_the_building_of_a_bundle_can_be_cancelled(self, world: World) -> None:
        world.compose.build_seconds = 500
        digest = await upload(world, WEB)
        begun = await call(world, "POST", f"{BUNDLES}/{digest}/build")
        await world.clock.advance(0)

        answer = await cancel(world, begun.json()["id"])

        assert answer.json()["state"] == "cancelled"
        assert await image_tags(world) == set()
        assert world.workspaces.staged == {}


class TestRepetition:
    async def test_the_same_request_gets_the_same_operation(self, world: World) -> None:
        first = await deploy(world, None, WEB, name="one", headers={**WAIT, **KEYED})
        again = await deploy(world, None, WEB, name="one", headers={**WAIT, **KEYED})

        assert (first.status_code, again.status_code) == (200, 200)
        assert first.json()["id"] == again.json()["id"]
        assert len((await call(world, "GET", OPERATIONS)).json()["operations"]) == 1

    async def test_a_made_up_name_is_made_up_once(self, world: World) -> None:
        first = await deploy(world, None, WEB, headers={**WAIT, **KEYED})
        again = await deploy(world, None, WEB, headers={**WAIT, **KEYED})

        assert first.json()["environment"] == again.json()["environment"]
        assert len(world.engine.containers) == 1

    async def test_requests_at_once_make_one_operation(self, world: World) -> None:
        world.compose.build_seconds = 5
        answers: list[httpx.Response] = []
        await upload(world, WEB)

        async def ask() -> None:
            answers.append(await deploy(world, None, WEB, headers={**WAIT, **KEYED}))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
            await world.clock.advance(10)

        assert [answer.status_code for answer in answers] == [200] * 5
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(world.engine.containers) == 1

    async def test_one_that_failed_is_not_tried_again(self, world: World) -> None:
        first = await deploy(world, "one", BROKEN, headers={**WAIT, **KEYED})
        again = await deploy(world, "one", BROKEN, headers={**WAIT, **KEYED})

        assert first.status_code == 422
        assert first.headers["location"] == again.headers["location"]
        assert len((await call(world, "GET", OPERATIONS)).json()["operations"]) == 1

    async def test_one_that_failed_is_answered_as_the_first_time(self, world: World) -> None:
        first = await deploy(world, "one", BROKEN, headers={**WAIT, **KEYED})
        again = await deploy(world, "one", BROKEN, headers={**WAIT, **KEYED})

        assert (first.status_code, again.status_code) == (422, 422)
        assert first.json()["detail"] == again.json()["detail"]

    async def test_one_that_was_refused_may_be_tried_again(self, world: World) -> None:
        world.metrics.free_percent = 1.0
        refused = await call(world, "PUT", f"{ENVIRONMENTS}/one", {}, KEYED)
        world.metrics.free_percent = 50.0

        taken = await deploy(world, "one", WEB, headers={**WAIT, **KEYED})

        assert (refused.status_code, taken.status_code) == (422, 200)

    @pytest.mark.parametrize("other", ["body", "path", "query"])
    async def test_the_key_of_another_request_is_refused(self, world: World, other: str) -> None:
        await deploy(world, "one", WEB, headers={**WAIT, **KEYED})
        digest = await upload(world, WEB)

        if other == "body":
            answer = await deploy(world, "one", OTHER, headers=KEYED)
        elif other == "path":
            path = f"{ENVIRONMENTS}/two"
            answer = await call(world, "PUT", path, {"bundle": digest}, KEYED)
        else:
            path = f"{ENVIRONMENTS}/one?force=true"
            answer = await call(world, "DELETE", path, headers=KEYED)

        assert answer.status_code == 422
        assert "Idempotency-Key" in answer.json()["detail"]
        assert set(world.engine.containers) == {"one-web-1"}

    @pytest.mark.parametrize("key", ["", " ", '"', "a b", "x" * 201])
    async def test_a_key_that_is_none_is_refused(self, world: World, key: str) -> None:
        answer = await deploy(world, "one", WEB, headers={"Idempotency-Key": key})

        assert answer.status_code == 422
        assert not await exists(world, "one")

    async def test_a_key_is_remembered_by_a_new_agent(self, world: World) -> None:
        first = await deploy(world, "one", WEB, headers={**WAIT, **KEYED})

        async with agent_on_twins(outside=world) as after:
            again = await deploy(after, "one", WEB, headers={**WAIT, **KEYED})

        assert first.json()["id"] == again.json()["id"]

    async def test_a_repeated_removal_of_what_is_gone_says_that_it_went(self, world: World) -> None:
        await deploy(world, "one", WEB)
        headers = {**WAIT, **KEYED}

        first = await call(world, "DELETE", f"{ENVIRONMENTS}/one", headers=headers)
        again = await call(world, "DELETE", f"{ENVIRONMENTS}/one", headers=headers)
        without = await remove(world, "one")

        assert [first.status_code, again.status_code, without.status_code] == [200, 200, 404]

    async def test_a_repeated_upload_in_a_form_leaves_no_archive(self, world: World) -> None:
        async def send() -> httpx.Response:
            return await world.http.put(
                f"{ENVIRONMENTS}/one",
                files={"bundle": ("lab.zip", WEB)},
                headers={**KEY, **WAIT, **KEYED},
            )

        first, again = await send(), await send()

        assert first.json()["id"] == again.json()["id"]
        assert world.workspaces.bundles.archives == {}


class TestLimits:
    async def test_one_that_takes_too_long_is_undone(self) -> None:
        async with agent_on_twins({"DEPLOY_TIMEOUT": "1", "BUILD_TIMEOUT": "1"}) as world:
            world.compose.build_seconds = 500

            answer = await deploy(world, "one", WEB)

            assert answer.status_code == 504
            assert "'build'" in answer.json()["detail"]
            assert await left_of(world, "one") == []
            assert await image_tags(world) == set()

    async def test_one_that_an_end_of_the_agent_interrupts_is_told_as_that(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 500
        identifier = await begin(world, "one", WEB)

        await world.agent.operations.close(0)
        await world.clock.advance(0)

        assert (await operation(world, identifier))["state"] == "interrupted"
        assert (await deploy(world, "two", PLAIN)).status_code == 503
        assert await left_of(world, "one") == []

    async def test_what_a_failed_start_pulled_goes(self, world: World) -> None:
        await deploy(world, "one", MISSING)

        assert await image_tags(world) == set()
        assert await world.store.environments.get(EnvironmentName("one")) is not None
        assert await left_of(world, "one") == []


class TestEngineAway:
    """An Engine that goes away in the middle, so that not even undoing can be done."""

    async def test_a_deploy_is_undone_by_the_next_start(self, world: World) -> None:
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        world.engine.fault = ""

        async with agent_on_twins(outside=world) as after:
            assert (await shown(after, "one"))["state"] == "failed"
            assert await left_of(after, "one") == []
            assert await image_tags(after) == set()

    async def test_a_replacement_is_undone_by_the_next_start(self, world: World) -> None:
        await deploy(world, "one", PLAIN, labels={"a": "b"})
        world.compose.stop_seconds = 5
        await begin(world, "one", WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        world.engine.fault = ""

        async with agent_on_twins(outside=world) as after:
            view = await shown(after, "one")
            assert (view["state"], view["labels"]) == ("running", {"a": "b"})
            assert set(after.engine.containers) == {"one-solo-1"}

    async def test_what_is_not_undone_yet_can_be_deployed_over_and_removed(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 5
        for name in ("one", "two"):
            await begin(world, name, WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        world.engine.fault = ""
        await world.agent.inventory.refresh()
        world.compose.build_seconds = 0

        over = await deploy(world, "one", OTHER)
        gone = await remove(world, "two")

        assert (over.status_code, gone.status_code) == (200, 200)
        assert (await shown(world, "one"))["state"] == "running"
        assert not await exists(world, "two")
        assert "one-web-1" in world.engine.containers

    async def test_what_is_not_undone_yet_is_not_taken_for_what_stood_before(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 5
        await begin(world, "one", WEB)
        world.engine.fault = "is away"
        await world.clock.advance(10)
        world.engine.fault = ""
        await world.agent.inventory.refresh()
        world.compose.build_seconds = 0

        answer = await deploy(world, "one", BROKEN)

        assert answer.status_code == 422
        assert (await shown(world, "one"))["state"] == "failed"

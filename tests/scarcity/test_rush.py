"""Two hundred launches at once: each gets its answer, few build together, memory stays bounded."""

import os
from collections import Counter
from pathlib import Path

import anyio
import httpx
import pytest

from domain.names import EnvironmentName
from tests.support.agent_process import agent_process
from tests.support.agents import World, agent_on_twins
from tests.support.api import ENVIRONMENTS, OPERATIONS, call, lab, left_of
from tests.support.bundles import zip_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(120)]

LAUNCHES = 200
MEGABYTE = 1024 * 1024
ROOM_FOR_ALL = {
    "MAX_CONTAINERS": "1000",
    "MAX_COMMITTED_MEMORY_PERCENT": "1000000",
    "MAX_COMMITTED_CPU_PERCENT": "1000000",
    "NETWORK_POOL": "10.213.0.0/16",
}


def building(number: int) -> bytes:
    """A bundle whose image no other has."""
    return lab("services: {web: {build: .}}", Dockerfile=f"FROM busybox\nRUN echo {number}\n")


async def rush(world: World) -> dict[str, httpx.Response]:
    """Asks for all at once, and lets the time pass that they take."""
    answers: dict[str, httpx.Response] = {}

    async def ask(number: int) -> None:
        name = f"lab-{number}"
        answers[name] = await world.launch(name, building(number))

    async with anyio.create_task_group() as group:
        for number in range(LAUNCHES):
            group.start_soon(ask, number)
        while len(answers) < LAUNCHES:
            await world.clock.advance(10)
    return answers


async def test_every_one_is_answered_and_no_more_build_together_than_may() -> None:
    variables = {**ROOM_FOR_ALL, "MAX_BUILDS": "3", "MAX_STARTS": "5"}
    async with agent_on_twins(variables) as world:
        world.compose.build_seconds = world.compose.up_seconds = 10

        answers = await rush(world)

        assert Counter(a.status_code for a in answers.values()) == {201: LAUNCHES}
        assert world.compose.most_building == 3
        assert len(world.engine.containers) == LAUNCHES
        assert world.agent.operations.count == 0
        listed = (await call(world, "GET", f"{ENVIRONMENTS}?limit=1000")).json()["environments"]
        assert {environment["state"] for environment in listed} == {"running"}


@pytest.mark.parametrize("places", [1, 7])
async def test_as_many_are_admitted_as_there_are_places_and_nothing_is_left_of_others(
    places: int,
) -> None:
    async with agent_on_twins({"MAX_CONTAINERS": str(places)}) as world:
        world.compose.build_seconds = 10

        answers = await rush(world)

        admitted = {name for name, answer in answers.items() if answer.status_code == 201}
        refused = {name: answers[name] for name in answers.keys() - admitted}
        assert len(admitted) == places
        assert {answer.status_code for answer in refused.values()} == {503}
        assert all("MAX_CONTAINERS" in answer.json()["detail"] for answer in refused.values())
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused.values())
        for name in refused:
            assert await world.store.environments.get(EnvironmentName(name)) is None
            assert await left_of(world, name) == []
        operations = (await call(world, "GET", f"{OPERATIONS}?limit=1000")).json()["operations"]
        assert {operation["environment"] for operation in operations} == admitted
        assert len(world.engine.containers) == places


async def test_a_place_that_is_given_back_is_given_to_the_next() -> None:
    async with agent_on_twins({"MAX_CONTAINERS": "1"}) as world:
        for number in range(5):
            launched = await world.launch(f"lab-{number}", building(number))
            full = await world.launch("other", building(99))
            removed = await call(world, "DELETE", f"/agent/containers/lab-{number}")

            assert [launched.status_code, full.status_code, removed.status_code] == [201, 503, 200]


async def test_one_that_is_removed_while_it_is_launched_gives_its_place_back() -> None:
    async with agent_on_twins({"MAX_CONTAINERS": "1"}) as world:
        world.compose.build_seconds = 10
        for number in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(world.launch, f"lab-{number}", building(number))
                await world.clock.advance(1)
                removed = await call(world, "DELETE", f"/agent/containers/lab-{number}")
                assert removed.status_code in {200, 404}
            await world.clock.advance(1)

        world.compose.build_seconds = 0
        assert (await world.launch("last", building(99))).status_code == 201


def _most_memory_bytes(process_id: int) -> int:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def test_the_memory_of_a_process_does_not_grow_with_what_it_is_sent(in_memory: Path) -> None:
    archives = {
        f"lab-{number}": zip_bundle(
            {"compose.yaml": "services: {web: {image: 'nginx:1'}}", "data": os.urandom(600_000)}
        )
        for number in range(LAUNCHES)
    }
    statuses: Counter[int] = Counter()
    async with agent_process(
        in_memory,
        RUNTIME="memory",
        MIN_FREE_PERCENT="0",
        MAX_COMMITTED_MEMORY_PERCENT="1000000",
        MAX_COMMITTED_CPU_PERCENT="1000000",
        NETWORK_POOL="10.213.0.0/16",
    ) as agent:
        await agent.launch("first", archives["lab-0"])
        before = _most_memory_bytes(agent.process.pid)

        async def ask(name: str) -> None:
            statuses[(await agent.launch(name, archives[name])).status_code] += 1

        async with anyio.create_task_group() as group:
            for name in archives:
                group.start_soon(ask, name)
        after = _most_memory_bytes(agent.process.pid)

    assert statuses == {201: LAUNCHES}
    # About two thirds of a megabyte for each that is being received, however large it is.
    assert after - before < LAUNCHES * MEGABYTE

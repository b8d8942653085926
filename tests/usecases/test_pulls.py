"""Pulls that many want, that nobody waits for any more, and that may not be."""

from collections.abc import AsyncIterator

import anyio
import pytest

from domain.errors import (
    AgentError,
    ImageNotInRegistry,
    ImageRefused,
    InvalidReference,
    NotAccepting,
    RegistryRefused,
    RequestUnreadable,
    StepTimedOut,
)
from domain.pulls import PulledImage, PullProgress
from domain.registry_credentials import RegistryCredentials
from domain.usecases import pulls as module
from domain.usecases.pulls import Pulls
from tests.support.agents import World, agent_on_twins

pytestmark = pytest.mark.anyio

APP = "registry.example.com/labs/app:1"
JANA = RegistryCredentials(username="jana", password="right")
OTHER = RegistryCredentials(username="jana", password="wrong")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins({"ALLOWED_REGISTRIES": "10.0.0.5:5000"}) as world:
        yield world


async def pulled(
    pulls: Pulls, image: str, credentials: RegistryCredentials | None = None
) -> PulledImage:
    async with pulls.follow(await pulls.admitted(image, credentials)) as pull:
        return await pull.result()


async def test_many_who_want_the_same_cost_the_engine_one_pull(world: World) -> None:
    found: list[PulledImage] = []

    async def want() -> None:
        found.append(await pulled(world.agent.images.pulls, APP))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(want)

    assert world.transfers.pulls == [APP]
    assert len(found) == 20
    assert len({one.digest for one in found}) == 1


async def test_the_same_image_by_another_spelling_is_the_same_pull(world: World) -> None:
    async with anyio.create_task_group() as group:
        for name in ("nginx", "nginx:latest", "docker.io/library/nginx"):
            group.start_soon(pulled, world.agent.images.pulls, name)

    assert world.transfers.pulls == ["nginx:latest"]


async def test_who_sends_other_credentials_gains_nothing_by_anothers_pull(world: World) -> None:
    world.transfers.private["registry.example.com"] = JANA
    world.transfers.held = anyio.Event()
    pulls, faults = world.agent.images.pulls, list[AgentError]()

    async def guess(credentials: RegistryCredentials | None) -> None:
        try:
            await pulled(pulls, APP, credentials)
        except AgentError as fault:
            faults.append(fault)

    async with anyio.create_task_group() as group:
        group.start_soon(pulled, pulls, APP, JANA)
        await anyio.wait_all_tasks_blocked()
        await guess(OTHER)
        await guess(None)
        world.transfers.held.set()

    assert [type(fault) for fault in faults] == [RegistryRefused, RegistryRefused]


async def test_a_pull_goes_on_while_one_waits_and_ends_with_the_last(world: World) -> None:
    world.transfers.held = anyio.Event()
    pulls = world.agent.images.pulls
    key = await pulls.admitted(APP, None)

    async with pulls.follow(key) as stays:
        async with pulls.follow(key) as goes:
            assert goes is stays
            await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
        assert not stays.scope.cancel_called
    await anyio.wait_all_tasks_blocked()

    assert stays.scope.cancelled_caught
    world.transfers.held = None
    await pulled(pulls, APP)
    assert len(world.transfers.pulls) == 2


async def test_who_comes_late_is_told_how_far_it_is(world: World) -> None:
    world.transfers.held = anyio.Event()
    pulls = world.agent.images.pulls
    key = await pulls.admitted(APP, None)

    async with pulls.follow(key):
        await anyio.wait_all_tasks_blocked()
        async with pulls.follow(key) as pull:
            first = await anext(pull.progress())

    assert first is not None
    assert first.percent > 0


async def test_progress_goes_up_to_its_end(world: World) -> None:
    pulls = world.agent.images.pulls
    async with pulls.follow(await pulls.admitted(APP, None)) as pull:
        told = [progress async for progress in pull.progress()]
        result = await pull.result()

    percents = [progress.percent for progress in told if isinstance(progress, PullProgress)]
    assert percents == sorted(percents)
    assert percents[-1] == 99
    assert result.updated


async def test_what_is_at_hand_already_is_told_as_such(world: World) -> None:
    await pulled(world.agent.images.pulls, APP)

    assert not (await pulled(world.agent.images.pulls, APP)).updated


async def test_readers_are_told_that_nothing_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.01)
    world.transfers.held = anyio.Event()
    pulls = world.agent.images.pulls

    async with pulls.follow(await pulls.admitted(APP, None)) as pull:
        progress = pull.progress()
        while await anext(progress) is not None:
            pass


async def test_a_pull_that_takes_too_long_is_ended() -> None:
    async with agent_on_twins({"PULL_TIMEOUT": "1"}) as world:
        world.transfers.held = anyio.Event()
        with pytest.raises(StepTimedOut):
            await pulled(world.agent.images.pulls, APP)
        world.transfers.held = None
        await pulled(world.agent.images.pulls, APP)


async def test_the_agents_end_ends_pulls(world: World) -> None:
    world.transfers.held = anyio.Event()
    pulls = world.agent.images.pulls
    async with pulls.follow(await pulls.admitted(APP, None)) as pull:
        await anyio.wait_all_tasks_blocked()
        pulls.end()

        with pytest.raises(NotAccepting):
            await pull.result()


async def test_a_failure_is_told_to_all_and_does_not_stick(world: World) -> None:
    faults: list[AgentError] = []

    async def want() -> None:
        try:
            await pulled(world.agent.images.pulls, "labs/missing")
        except ImageNotInRegistry as fault:
            faults.append(fault)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(want)
    await want()

    assert len(faults) == 4
    assert len(world.transfers.pulls) == 2


async def test_kept_credentials_are_taken_where_none_are_sent(world: World) -> None:
    world.transfers.private["registry.example.com"] = JANA
    await world.credentials.put("registry.example.com", JANA)

    await pulled(world.agent.images.pulls, APP)
    with pytest.raises(RegistryRefused):
        await pulled(world.agent.images.pulls, APP, OTHER)


@pytest.mark.parametrize(
    "image",
    [
        "10.0.0.1:5000/app",
        "localhost/app",
        "registry.internal/app",
        "registry.example.com:5000/app",
        "container-host-agent/shared:1",
        "docker.io/container-host-agent/own:1",
        "sha256:" + "0" * 64,
    ],
)
async def test_what_may_not_come_is_not_asked_for(world: World, image: str) -> None:
    with pytest.raises(ImageRefused):
        await pulled(world.agent.images.pulls, image)
    assert world.transfers.pulls == []


@pytest.mark.parametrize("image", ["", "-v", "../x", "a?b", "a#b", "A", "a b", "http://a/b"])
async def test_what_names_no_image_is_not_asked_for(world: World, image: str) -> None:
    with pytest.raises(InvalidReference):
        await pulled(world.agent.images.pulls, image)
    assert world.transfers.pulls == []


async def test_registries_that_the_operator_names_are_allowed(world: World) -> None:
    await pulled(world.agent.images.pulls, "10.0.0.5:5000/app")


async def test_trusted_hosts_pull_from_anywhere() -> None:
    async with agent_on_twins({"COMPOSE_POLICY": "trusted"}) as world:
        await pulled(world.agent.images.pulls, "10.0.0.1:5000/app")
        with pytest.raises(ImageRefused):
            await pulled(world.agent.images.pulls, "container-host-agent/shared:1")


@pytest.mark.parametrize(
    "credentials",
    [
        RegistryCredentials(),
        RegistryCredentials(username="jana"),
        RegistryCredentials(password="x"),
        RegistryCredentials(username="jana", password="x", identity_token="y"),
        RegistryCredentials(password="x", identity_token="y"),
        RegistryCredentials(username="ja:na", password="x"),
        RegistryCredentials(username="jana", password="x\ny"),
        RegistryCredentials(username="jana", password="x" * 20_000),
    ],
)
async def test_credentials_that_are_none_are_refused(
    world: World, credentials: RegistryCredentials
) -> None:
    with pytest.raises(RequestUnreadable):
        await pulled(world.agent.images.pulls, APP, credentials)


async def test_an_image_that_was_pulled_by_name_is_not_cleared_away(world: World) -> None:
    await world.agent.builds.note_pulled([APP])
    await pulled(world.agent.images.pulls, APP)

    assert await world.agent.builds.collect(unused_seconds=0) == 0
    assert APP in world.engine.tags

"""Calls to an Engine that hangs, drips, hangs up, goes away or comes back."""

import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from docker import APIClient

from adapters.docker import client as client_module
from adapters.docker.client import EngineClient, EngineLimits
from adapters.docker.runtime import DockerContainers, DockerProjectResources
from domain.errors import EngineRefused, EngineUnavailable
from tests.support.fake_engine import (
    FakeEngine,
    Reply,
    answers,
    drips,
    drips_its_body,
    fake_engine,
    hangs,
    hangs_up,
    takes,
    until,
    vanishes,
)

pytestmark = pytest.mark.anyio

HASTY = EngineLimits(ask_seconds=0.2, change_seconds=0.2)
PATIENT = EngineLimits(ask_seconds=30, change_seconds=30)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as engine:
        yield engine


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[EngineClient]:
    client = EngineClient(engine.url, limits=PATIENT)
    yield client
    await client.aclose()


@pytest.fixture
async def hasty(engine: FakeEngine) -> AsyncIterator[EngineClient]:
    client = EngineClient(engine.url, limits=HASTY)
    yield client
    await client.aclose()


def listed(api: APIClient) -> object:
    return api.containers(all=True)


def inspected(api: APIClient, number: int) -> None:
    api.inspect_container(f"c{number}")


HANGING: dict[str, dict[str, Reply]] = {
    "it takes connections and never answers": {"GET /version": hangs},
    "it tells its version and hangs": {},
    "it drips the head of an answer": {"GET /containers/json": drips},
    "it drips the body of an answer": {"GET /containers/json": drips_its_body},
    "it drips its version": {"GET /version": drips},
}


@pytest.mark.parametrize("replies", HANGING.values(), ids=HANGING.keys())
async def test_a_call_ends_with_its_time_and_leaves_neither_thread_nor_connection(
    engine: FakeEngine, hasty: EngineClient, replies: dict[str, Reply]
) -> None:
    for request, reply in replies.items():
        engine.on(request, reply)
    began = anyio.current_time()

    with pytest.raises(EngineUnavailable, match="it took too long"):
        await DockerContainers(hasty).list()

    assert anyio.current_time() - began < 2
    await until(lambda: engine.connections == 0)
    assert hasty._asking.borrowed_tokens == 0


async def test_an_engine_that_takes_no_connections_any_more_is_unavailable(tmp_path: Path) -> None:
    path = f"{tmp_path}/docker.sock"
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        client = EngineClient(f"unix://{path}", limits=PATIENT)

        with anyio.fail_after(2), pytest.raises(EngineUnavailable, match="temporarily unavail"):
            await DockerContainers(client).list()


async def test_an_engine_across_the_network_has_the_same_limits() -> None:
    with fake_engine(None) as engine:
        client = EngineClient(engine.url, limits=HASTY)
        with pytest.raises(EngineUnavailable, match="it took too long"):
            await DockerContainers(client).list()
        await until(lambda: engine.connections == 0)
        engine.on("GET /containers/json", answers([]))
        client.limits = PATIENT

        assert await DockerContainers(client).list() == []
        await client.aclose()


async def test_an_engine_that_hangs_up_in_the_middle_is_unavailable(
    engine: FakeEngine, client: EngineClient
) -> None:
    for reply in (hangs_up, vanishes):
        engine.on("GET /containers/json", reply)
        with pytest.raises(EngineUnavailable, match="hung up before the end of its answer"):
            await DockerContainers(client).list()


async def test_an_engine_that_does_not_say_its_version_is_unavailable(
    engine: FakeEngine, client: EngineClient
) -> None:
    engine.on("GET /version", answers({}))

    with pytest.raises(EngineUnavailable, match="which version it speaks"):
        await DockerContainers(client).list()


async def test_an_engine_that_comes_back_is_used_again_in_its_own_version(
    engine: FakeEngine, client: EngineClient
) -> None:
    engine.on("GET /containers/json", answers([]))
    assert await DockerContainers(client).list() == []
    engine.stop()
    with pytest.raises(EngineUnavailable, match="No such file or directory"):
        await DockerContainers(client).list()

    engine.on("GET /version", answers({"ApiVersion": "1.41"}))
    engine.start()

    assert await DockerContainers(client).list() == []
    assert await client.ask("asking", lambda api: api.api_version) == "1.41"


async def test_an_engine_that_hung_is_used_again(engine: FakeEngine, hasty: EngineClient) -> None:
    with pytest.raises(EngineUnavailable):
        await DockerContainers(hasty).list()

    engine.on("GET /containers/json", answers([]))
    hasty.limits = PATIENT

    assert await DockerContainers(hasty).list() == []


async def test_calls_one_after_another_share_one_connection_whatever_their_limits(
    engine: FakeEngine, client: EngineClient
) -> None:
    engine.on("GET /containers/json", answers([]))
    for call in (client.ask, client.change, client.look, client.ask):
        await call("listing containers", listed)

    assert engine.connections == 1
    assert engine.asked("GET /version") == ["GET /version"]


async def test_the_limit_is_one_of_the_whole_call_however_many_requests_it_makes(
    engine: FakeEngine, hasty: EngineClient
) -> None:
    engine.on("GET /containers/.*/json", takes(0.08, answers({})))

    def work(api: APIClient) -> None:
        for number in range(100):
            inspected(api, number)

    with pytest.raises(EngineUnavailable):
        await hasty.ask("looking at containers", work)

    sent = len(engine.requests)
    assert len(engine.asked("GET /containers/.*/json")) <= 3
    await anyio.sleep(0.1)
    assert len(engine.requests) == sent


async def test_a_caller_that_goes_takes_its_call_along(
    engine: FakeEngine, client: EngineClient
) -> None:
    def work(api: APIClient) -> None:
        for number in range(100):
            try:
                inspected(api, number)
            except OSError:
                continue  # as one that does not give up easily would

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(client.ask, "looking at containers", work)
            await until(lambda: bool(engine.asked("GET /containers/c0/json")))
            group.cancel_scope.cancel()

    await until(lambda: engine.connections == 0)
    assert engine.asked("GET /containers/.*") == ["GET /containers/c0/json"]


async def test_a_connection_that_serves_the_next_call_does_not_end_with_the_last_one(
    engine: FakeEngine, client: EngineClient
) -> None:
    engine.on("GET /containers/json", answers([]))

    async def often() -> None:
        for _ in range(30):
            with anyio.move_on_after(0.001):
                await client.ask("listing containers", listed)
            await client.ask("listing containers", listed)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(often)


async def test_no_more_calls_hang_than_there_are_places_and_none_stays(
    engine: FakeEngine,
) -> None:
    messages = []
    # Long enough for all of them to come before the first goes, also on a busy machine.
    client = EngineClient(engine.url, limits=EngineLimits(ask_seconds=2, change_seconds=2))

    async def ask() -> None:
        with pytest.raises(EngineUnavailable) as fault:
            await DockerContainers(client).list()
        messages.append(fault.value.message)

    async with anyio.create_task_group() as group:
        for _ in range(60):
            group.start_soon(ask)
        await until(lambda: engine.connections >= client_module._ASKING)
        most = engine.connections

    assert most == client_module._ASKING
    assert len(messages) == 60
    assert any("others before it take too long" in message for message in messages)
    await until(lambda: engine.connections == 0)
    await client.aclose()


async def test_a_change_may_take_the_grace_that_was_asked_for_beyond_its_limit(
    engine: FakeEngine, hasty: EngineClient
) -> None:
    def paused(api: APIClient) -> str:
        api.containers(all=True)
        time.sleep(0.6)  # noqa: TID251 - an Engine that takes its time
        api.containers(all=True)
        return "done"

    engine.on("GET /containers/json", answers([]))

    assert await hasty.change("stopping", paused, more_seconds=5) == "done"
    with pytest.raises(EngineUnavailable, match="it took too long"):
        await hasty.change("stopping", paused)


@pytest.mark.parametrize("kind", ["look", "survey", "change"])
async def test_what_hangs_keeps_nobody_from_asking(
    engine: FakeEngine, client: EngineClient, kind: str
) -> None:
    engine.on("GET /containers/json", answers([]))
    call = {"look": client.look, "survey": client.survey, "change": client.change}[kind]

    async def hang(number: int) -> None:
        await call("looking at a container", partial(inspected, number=number))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(hang, number)
        await until(lambda: len(engine.asked("GET /containers/c.*/json")) >= 4)
        assert await DockerContainers(client).list() == []
        group.cancel_scope.cancel()


async def test_the_event_loop_lives_while_calls_hang(engine: FakeEngine) -> None:
    client = EngineClient(engine.url, limits=EngineLimits(ask_seconds=2))
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = anyio.current_time()
            await anyio.sleep(0.005)
            longest = max(longest, anyio.current_time() - before)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        with pytest.raises(EngineUnavailable):
            await DockerContainers(client).list()
        group.cancel_scope.cancel()
    await client.aclose()

    # One that a call held up would be held up for all of its time.
    assert longest < 1


async def test_what_a_call_raises_comes_as_it_is(engine: FakeEngine, client: EngineClient) -> None:
    def work(_api: APIClient) -> None:
        raise KeyError("unexpected")

    with pytest.raises(KeyError, match="unexpected"):
        await client.ask("asking", work)


async def test_an_error_of_the_engine_is_its_refusal(
    engine: FakeEngine, client: EngineClient
) -> None:
    engine.on("GET /containers/json", answers({"message": "no such thing"}, 500))

    with pytest.raises(EngineRefused, match="no such thing"):
        await DockerContainers(client).list()


DETOURS = ["../containers/a", "a/../../containers/b", "..", ".", "a//b", "/a", "a/", "a/./b"]


@pytest.mark.parametrize("name", DETOURS)
async def test_a_name_never_leads_to_something_else(
    engine: FakeEngine, client: EngineClient, name: str
) -> None:
    engine.on(".*", answers({"Id": "something else"}))
    engine.on("GET /version", answers({"ApiVersion": "1.45"}))
    resources = DockerProjectResources(client)

    assert await resources.image_ids([name]) == {}
    assert await resources.missing_images([name]) == [name]
    assert not await resources.are_plain([name])
    await resources.untag(name)
    with pytest.raises(EngineRefused):
        await resources.tag(name, "web:1")

    assert set(engine.requests) == {"GET /version"}


@pytest.mark.parametrize("name", ["a?force=1", "a#b", "a%2e%2e", "%2e%2e%2fcontainers%2fb"])
async def test_signs_of_an_address_are_part_of_the_name(
    engine: FakeEngine, client: EngineClient, name: str
) -> None:
    engine.on("GET /images/.*", answers({"message": "no such image"}, 404))

    assert await DockerProjectResources(client).image_ids([name]) == {}

    (asked,) = engine.asked("GET /images/.*")
    assert asked.count("/") == 3
    assert asked.endswith("/json")

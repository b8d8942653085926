"""Clients that are slow, many or rude, on real sockets."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
import uvicorn

from entrypoints.connections import ConnectionLimits, bounded_protocol, limits_within
from entrypoints.http import bodies
from entrypoints.websockets import WEBSOCKETS
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import WEB, begin, call

pytestmark = pytest.mark.anyio

SHORT = ConnectionLimits(request_seconds=0.5, answer_seconds=0.5, per_peer=5, in_all=50)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


def _application(world: World) -> Any:
    transport = world.http._transport
    assert isinstance(transport, httpx.ASGITransport)
    return transport.app


@asynccontextmanager
async def served(world: World, limits: ConnectionLimits = SHORT) -> AsyncIterator[int]:
    """The port on which an agent on twins is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        _application(world),
        lifespan="off",
        log_config=None,
        http=bounded_protocol(limits),
        **WEBSOCKETS,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener])
        while not server.started:
            await anyio.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def health(port: int) -> int:
    """What ``/health`` answers; 0 for nothing."""
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(f"http://127.0.0.1:{port}/health", timeout=3)).status_code
        except httpx.TransportError:
            return 0


async def closed(stream: anyio.abc.ByteStream) -> bool:
    """Whether the server ends a connection within some seconds."""
    with anyio.move_on_after(5):
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
    return False


async def test_headers_that_drip_are_cut_off_and_others_are_served(world: World) -> None:
    async with served(world) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as slow:
            await slow.send(b"GET /health HTTP/1.1\r\nHost: a\r\n")
            dripped = 0
            with anyio.fail_after(5), suppress(anyio.BrokenResourceError, OSError):
                while True:
                    await slow.send(b"X-A: b\r\n")
                    dripped += 1
                    await anyio.sleep(0.1)
        assert dripped < 12
        assert await health(port) == 200


async def test_a_connection_that_asks_nothing_is_closed(world: World) -> None:
    async with served(world) as port, await anyio.connect_tcp("127.0.0.1", port) as idle:
        assert await closed(idle)


async def test_a_body_that_drips_after_it_was_refused_is_cut_off(world: World) -> None:
    async with served(world) as port, await anyio.connect_tcp("127.0.0.1", port) as rude:
        await rude.send(
            b"POST /api/v1/bundles HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert b"401" in await rude.receive()

        assert await closed(rude)


async def test_a_client_that_never_reads_is_dropped(world: World) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    whole = len((await world.http.get("/openapi.json")).content)
    asked = 200
    async with served(world) as port:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.setblocking(False)
            with suppress(BlockingIOError):
                deaf.connect(("127.0.0.1", port))
            await anyio.wait_writable(deaf)
            deaf.send(request * asked)
            await anyio.sleep(2)
            received = 0
            with suppress(BlockingIOError, ConnectionResetError):
                while data := deaf.recv(1 << 20):
                    received += len(data)

        assert received < whole * asked
        assert await health(port) == 200


async def test_one_address_cannot_take_all_connections(world: World) -> None:
    limits = ConnectionLimits(request_seconds=20, per_peer=5, in_all=50)
    async with served(world, limits) as port:
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            await anyio.sleep(0.2)
            assert await health(port) == 0

        with anyio.fail_after(5):
            while await health(port) != 200:
                await anyio.sleep(0.05)


async def test_headers_of_megabytes_are_refused_early(world: World) -> None:
    async with served(world) as port, await anyio.connect_tcp("127.0.0.1", port) as large:
        with anyio.fail_after(5), suppress(anyio.BrokenResourceError, OSError):
            await large.send(b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 4_000_000)

        assert await closed(large)
        assert await health(port) == 200


async def test_a_stream_goes_on_beyond_all_limits(world: World) -> None:
    world.compose.build_seconds = 1000
    operation = await begin(world, "lab", WEB)
    path = f"/api/v1/operations/{operation}"
    async with (
        served(world) as port,
        httpx.AsyncClient(trust_env=False, headers=KEY) as http,
        http.stream("GET", f"http://127.0.0.1:{port}{path}/events") as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "id: 1"
        await anyio.sleep(1.5)
        await call(world, "DELETE", path)
        await world.clock.advance(1)
        with anyio.fail_after(5):
            rest = [line async for line in lines]

    assert "event: end" in rest


async def test_a_body_that_only_drips_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PAUSE_SECONDS", 0.2)

    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await anyio.sleep(0.02)

    with anyio.fail_after(5):
        answer = await world.http.post("/api/v1/bundles", content=drips(), headers=KEY)

    assert answer.status_code == 408
    assert "bytes a second" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("files", "in_all", "per_peer"), [(65_536, 1024, 256), (1024, 256, 64), (1, 4, 1)]
)
def test_connections_leave_the_agent_files_of_its_own(
    files: int, in_all: int, per_peer: int
) -> None:
    limits = limits_within(files)

    assert (limits.in_all, limits.per_peer) == (in_all, per_peer)


@pytest.mark.parametrize("path", ["/api/v1/volumes/new/archive", "/api/v1/bundles"])
async def test_a_caller_who_goes_away_in_the_middle_is_noted_as_such(
    world: World, path: str
) -> None:
    method = "PUT" if "volumes" in path else "POST"
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n"
    key = "".join(f"{name}: {value}\r\n" for name, value in KEY.items())
    async with served(world, ConnectionLimits()) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(f"{head}{key}\r\n".encode() + bytes(5000))
            await anyio.sleep(0.1)
        with anyio.fail_after(10):
            while not world.log.named("audit"):
                await anyio.sleep(0.01)

    (told,) = world.log.named("audit")
    assert (told["status"], told["outcome"]) == (499, "refused")

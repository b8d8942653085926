"""Connections that speak HTTP at first and plain bytes then, with an Engine that a test plays."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from adapters.docker.hijacked import Hijacked, hijacked
from domain.errors import EngineRefused, EngineUnavailable

pytestmark = pytest.mark.anyio

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"

Play = Callable[[anyio.abc.SocketStream], Awaitable[None]]


@asynccontextmanager
async def opened(folder: Path, play: Play, *, seconds: float = 5) -> AsyncIterator[Hijacked]:
    """A connection to an Engine that plays its part once a request has come."""
    path = folder / "engine.sock"
    fault: Exception | None = None

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            request = await stream.receive()
            assert request.startswith(b"POST /v1.45/exec/a/start HTTP/1.1\r\n")
            assert request.endswith(b'\r\n\r\n{"Tty": true}')
            await play(stream)

    async with (
        await anyio.create_unix_listener(path) as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        try:
            async with hijacked(
                f"unix://{path}",
                "/v1.45/exec/a/start",
                {"Tty": True},
                "running ls",
                seconds=seconds,
            ) as connection:
                yield connection
        except (EngineRefused, EngineUnavailable) as caught:
            # Past the group, which would wrap it.
            fault = caught
        group.cancel_scope.cancel()
    if fault is not None:
        raise fault


async def test_what_comes_right_behind_the_answer_is_not_lost(tmp_path: Path) -> None:
    async def play(stream: anyio.abc.SocketStream) -> None:
        await stream.send(UPGRADED + b"first")
        await stream.send(b"second")

    async with opened(tmp_path, play) as connection:
        found = b""
        while piece := await connection.receive():
            found += piece

    assert found == b"firstsecond"


async def test_an_answer_may_come_byte_by_byte(tmp_path: Path) -> None:
    async def play(stream: anyio.abc.SocketStream) -> None:
        for byte in UPGRADED:
            await stream.send(bytes([byte]))
        await stream.send(await stream.receive())

    async with opened(tmp_path, play) as connection:
        await connection.send(b"hello")
        await connection.send_eof()
        assert await connection.receive() == b"hello"
        assert await connection.receive() == b""
        await connection.send(b"to nobody")
        await connection.send_eof()


async def test_the_end_of_what_is_sent_is_told(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def play(stream: anyio.abc.SocketStream) -> None:
        await stream.send(UPGRADED)
        try:
            while True:
                heard.append(await stream.receive())
        except anyio.EndOfStream:
            await stream.send(b"so long")

    async with opened(tmp_path, play) as connection:
        await connection.send(b"hello")
        await connection.send_eof()
        assert await connection.receive() == b"so long"

    assert b"".join(heard) == b"hello"


async def test_a_refusal_is_told_with_its_reason(tmp_path: Path) -> None:
    body = b'{"message": "Container a is not running"}'

    async def play(stream: anyio.abc.SocketStream) -> None:
        head = f"HTTP/1.1 409 Conflict\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        await stream.send(head + body[:9])
        await stream.send(body[9:])
        await anyio.sleep_forever()

    with pytest.raises(EngineRefused, match="Container a is not running") as refused:
        async with opened(tmp_path, play):
            pass

    assert refused.value.status == 409


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 100_000, UPGRADED[:20]])
async def test_what_is_no_answer_is_an_engine_that_does_not_answer(
    tmp_path: Path, said: bytes
) -> None:
    async def play(stream: anyio.abc.SocketStream) -> None:
        await stream.send(said)

    with pytest.raises(EngineUnavailable):
        async with opened(tmp_path, play):
            pass


async def test_one_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async def play(_: anyio.abc.SocketStream) -> None:
        await anyio.sleep_forever()

    with pytest.raises(EngineUnavailable, match=r"more than 0\.2 s"):
        async with opened(tmp_path, play, seconds=0.2):
            pass


async def test_one_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="No such file"):
        async with hijacked(f"unix://{tmp_path}/no.sock", "/", {}, "running ls", seconds=5):
            pass

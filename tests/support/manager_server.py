"""A manager on loopback that answers as it is told, byte by byte where need be."""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc

Behaviour = Callable[[anyio.abc.SocketStream], Awaitable[None]]


class ManagerServer:
    """Takes heartbeats, keeps the requests as they came, and answers with ``behaviour``."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.behaviour: Behaviour = answer(200, b'{"ack": true}')
        self.url = ""

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Serves one connection."""
        self.connections += 1
        async with stream:
            try:
                while True:
                    self.requests.append(await _request(stream))
                    await self.behaviour(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


async def _request(stream: anyio.abc.SocketStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.splitlines()
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


def answer(status: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    """Answers with a status, a body and headers, in whose names underscores stand for dashes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *lines])

    async def behave(stream: anyio.abc.SocketStream) -> None:
        await stream.send(head.encode() + b"\r\n\r\n" + body)

    return behave


def raw(data: bytes) -> Behaviour:
    """Sends bytes and ends the connection."""

    async def behave(stream: anyio.abc.SocketStream) -> None:
        await stream.send(data)
        await stream.aclose()

    return behave


async def hang(_stream: anyio.abc.SocketStream) -> None:
    """Never answers."""
    await anyio.sleep_forever()


async def drip(stream: anyio.abc.SocketStream) -> None:
    """Answers a byte at a time, without end."""
    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await stream.send(b" ")
        await anyio.sleep(0.05)


async def flood(stream: anyio.abc.SocketStream) -> None:
    """Answers with more than anybody wants to read."""
    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
    while True:
        await stream.send(b" " * 65536)


async def reset(stream: anyio.abc.SocketStream) -> None:
    """Resets the connection."""
    linger = struct.pack("ii", 1, 0)
    found: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await stream.aclose()


def then_close(behaviour: Behaviour) -> Behaviour:
    """Answers, and closes the connection without a word, as servers do with idle ones."""

    async def behave(stream: anyio.abc.SocketStream) -> None:
        await behaviour(stream)
        await stream.aclose()

    return behave


@asynccontextmanager
async def manager_server() -> AsyncIterator[ManagerServer]:
    """A manager on loopback."""
    server = ManagerServer()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        server.url = f"http://127.0.0.1:{port}"
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()

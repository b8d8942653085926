"""Connections of the Engine that speak HTTP at first, and then in plain bytes both ways.

Not on docker-py: what comes right behind the Engine's answer stays in a buffer of the library
beneath it and is lost, and whoever waits for more occupies a thread that only the end of the
socket frees.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.abc

from adapters.docker.refusals import refused
from domain.errors import EngineUnavailable
from domain.shortage import shortage

PIECE_BYTES = 64 * 1024

_CLOSE_SECONDS = 2.0
_LONGEST_HEAD = 64 * 1024
_HINT = "Is the Docker Engine running, and may the agent use DOCKER_SOCKET?"


class Hijacked:
    """Bytes to and from something that the Engine runs."""

    def __init__(self, stream: anyio.abc.SocketStream, begun: bytes, what: str) -> None:
        self._stream = stream
        self._begun = begun
        self._what = what

    async def receive(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            EngineUnavailable: the Engine hung up in the middle.
        """
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        with _translated(self._what):
            try:
                return await self._stream.receive(PIECE_BYTES)
            except anyio.EndOfStream:
                return b""

    async def send(self, data: bytes) -> None:
        """Sends bytes; to nobody where the other end has gone."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return

    async def send_eof(self) -> None:
        """Lets the other end know that nothing more is sent."""
        try:
            await self._stream.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return


@asynccontextmanager
async def hijacked(
    base_url: str, path: str, body: Mapping[str, Any], what: str, *, seconds: float
) -> AsyncIterator[Hijacked]:
    """What the Engine answers to a request, and then bytes both ways.

    Args:
        base_url: address of the Engine.
        path: what is asked for, with the version of the API.
        body: of the request.
        what: the call in words, for messages: "running ls".
        seconds: how long it may take to answer.

    Raises:
        EngineUnavailable: it cannot be reached, or does not answer in time.
        HostExhausted: the host is too short of something to ask.
        EngineRefused: it answers with an error.
    """
    with _in_time(what, seconds), _translated(what):
        stream = await _connected(base_url)
    try:
        with _in_time(what, seconds), _translated(what):
            await stream.send(_request(path, body))
            status, begun, length = await _head(stream, what)
            if status not in {101, 200}:
                raise refused(what, status, await _rest(stream, begun, length))
        yield Hijacked(stream, begun, what)
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await stream.aclose()


async def _connected(base_url: str) -> anyio.abc.SocketStream:
    parts = urlsplit(base_url)
    if parts.scheme == "unix":
        return await anyio.connect_unix(parts.path)
    return await anyio.connect_tcp(parts.hostname or "", parts.port or 2375)


def _request(path: str, body: Mapping[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\n"
        "Host: docker\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: tcp\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


async def _head(stream: anyio.abc.SocketStream, what: str) -> tuple[int, bytes, int]:
    """Status of the answer, what came behind its head, and how long its body is said to be."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > _LONGEST_HEAD:
            raise _unavailable(what, "it does not speak HTTP")
        data += await stream.receive(PIECE_BYTES)
    head, _, begun = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[1].isdigit():
        raise _unavailable(what, "it does not speak HTTP")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = headers.get("content-length", "")
    return int(words[1]), begun, int(length) if length.isdigit() else 0


async def _rest(stream: anyio.abc.SocketStream, begun: bytes, length: int) -> str:
    """The body of an answer that is an error."""
    body = begun
    while len(body) < min(length, _LONGEST_HEAD):
        body += await stream.receive(PIECE_BYTES)
    return body.decode(errors="replace")


@contextmanager
def _in_time(what: str, seconds: float) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as fault:
        raise _unavailable(what, f"it took more than {seconds:g} s") from fault


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as fault:
        raise _unavailable(what, "it hung up") from fault
    except OSError as fault:
        if (refusal := shortage(fault)) is not None:
            raise refusal from fault
        raise _unavailable(what, fault.strerror or "it cannot be reached") from fault


def _unavailable(what: str, reason: str) -> EngineUnavailable:
    return EngineUnavailable(f"The Docker Engine did not answer when {what}: {reason}.", hint=_HINT)

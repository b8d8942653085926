"""Conversations with commands over a WebSocket, as tests hold them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.agents import KEY
from tests.support.containers import CONTAINERS


class Conversation:
    """One WebSocket, and what came over it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.output = b""
        self.pieces: list[bytes] = []
        self.end: dict[str, Any] | None = None
        self.code: int | None = None

    async def say(self, data: bytes) -> None:
        """Sends input."""
        await self.socket.send(data)

    async def control(self, kind: str, **fields: Any) -> None:
        """Sends a control message."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, text: bytes) -> None:
        """Reads on until a text has come."""
        while text not in self.output:
            assert await self._read(), self.output

    async def to_end(self) -> "Conversation":
        """Reads on to the end."""
        while await self._read():
            pass
        return self

    async def _read(self) -> bool:
        try:
            message = await self.socket.recv()
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else None
            return False
        if isinstance(message, str):
            self.end = json.loads(message)
        else:
            self.output += message
            self.pieces.append(message)
        return True


@asynccontextmanager
async def conversation(
    port: int, container: str = "web", *, headers: dict[str, str] = KEY, **query: Any
) -> AsyncIterator[Conversation]:
    """A conversation with a command; ``query`` is that of the call."""
    path = f"{CONTAINERS}/{container}/exec/terminal?{httpx.QueryParams(query)}"
    async with connect(
        f"ws://127.0.0.1:{port}{path}",
        additional_headers=headers,
        proxy=None,
        compression=None,
        max_size=None,
        max_queue=1,
    ) as socket:
        yield Conversation(socket)


async def refusal(port: int, container: str = "web", **query: Any) -> tuple[int, dict[str, Any]]:
    """Status and problem of a handshake that is refused."""
    try:
        async with conversation(port, container, **query):
            raise AssertionError("It was let in.")
    except InvalidStatus as fault:
        answer = fault.response
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, json.loads(answer.body or b"{}")

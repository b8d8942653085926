"""Answers and conversations that go on as long as somebody listens, but not longer than the key.

Routes say of an answer that it is one of these; whatever else was begun with a good key is
finished.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import anyio
from litestar import Request
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import KeyExpired
from domain.ports.clock import Clock
from entrypoints.http import sse
from entrypoints.http.problems import problem_of

T = TypeVar("T")

_LOOK_SECONDS = 30.0
"""The time of day may jump, so it is looked at again after so long."""

_LIVE = "goes_on"


def end_with_key(request: Request[Any, Any, Any]) -> None:
    """Notes that the answer goes on as long as somebody listens, and so not beyond the key."""
    request.scope["state"][_LIVE] = True


async def before(expires_at: datetime | None, clock: Clock, wait: Callable[[], Awaitable[T]]) -> T:
    """What is waited for, if it comes while the key is good.

    Raises:
        KeyExpired: it did not.
    """
    if expires_at is None:
        return await wait()
    found: list[T] = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            found.append(await wait())
            group.cancel_scope.cancel()

        group.start_soon(run)
        while (left := (expires_at - clock.now()).total_seconds()) > 0:
            await clock.sleep(min(left, _LOOK_SECONDS))
        group.cancel_scope.cancel()
    if not found:
        raise KeyExpired
    return found[0]


class Expiring:
    """One request; what it is answered with live ends with the key of whoever asked."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, clock: Clock) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._clock = clock
        self._form = b""
        self._answering = False
        self._expired = False

    async def serve(self, app: ASGIApp) -> None:
        """Serves it.

        Raises:
            KeyExpired: the answer was broken off, and its form has no words for that.
        """
        await app(self._scope, self.receive, self.send)
        if not self._expired or not self._answering:
            return
        if self._form != sse.MEDIA_TYPE.encode():
            raise KeyExpired
        request: Request[Any, Any, Any] = Request(self._scope, self._receive, self._send)
        words = sse.event("problem", problem_of(request, KeyExpired())) + sse.event("end", {})
        await self._send({"type": "http.response.body", "body": words, "more_body": False})

    async def send(self, message: Message) -> None:
        """Passes on a part of the answer."""
        if message["type"] == "http.response.start":
            self._form = dict(message["headers"]).get(b"content-type", b"").partition(b";")[0]
            self._answering = True
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self._answering = False
        await self._send(message)

    async def receive(self) -> Any:
        """What comes of the client next; that it has gone once its key is good no more."""
        state = self._scope["state"]
        caller = state.get("caller")
        if caller is None or not self._answering or _LIVE not in state:
            return await self._receive()
        try:
            return await before(caller.expires_at, self._clock, self._receive)
        except KeyExpired:
            self._expired = True
            return {"type": "http.disconnect"}

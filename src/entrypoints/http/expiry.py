"""Answers and conversations that go on as long as somebody listens, but not longer than the key.

Whatever else was begun with a good key is finished.
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

_LIVE = (sse.MEDIA_TYPE.encode(), b"application/x-ndjson")


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
        self._form: bytes | None = None
        self._expired = False

    async def serve(self, app: ASGIApp) -> None:
        """Serves it.

        Raises:
            KeyExpired: the answer was broken off, and its form has no words for that.
        """
        await app(self._scope, self.receive, self.send)
        if not self._expired:
            return
        if self._form != _LIVE[0]:
            raise KeyExpired
        request: Request[Any, Any, Any] = Request(self._scope, self._receive, self._send)
        words = sse.event("problem", problem_of(request, KeyExpired())) + sse.event("end", {})
        await self._send({"type": "http.response.body", "body": words, "more_body": False})

    async def send(self, message: Message) -> None:
        """Passes on a part of the answer."""
        if message["type"] == "http.response.start":
            self._form = _live_form(self._scope, dict(message["headers"]))
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self._form = None
        await self._send(message)

    async def receive(self) -> Any:
        """What comes of the client next; that it has gone once its key is good no more."""
        caller = self._scope["state"].get("caller")
        if self._form is None or caller is None:
            return await self._receive()
        try:
            return await before(caller.expires_at, self._clock, self._receive)
        except KeyExpired:
            self._expired = True
            return {"type": "http.disconnect"}


def _live_form(scope: Scope, headers: dict[bytes, bytes]) -> bytes | None:
    """The media type of an answer that goes on as long as somebody listens; None for others."""
    form = headers.get(b"content-type", b"").partition(b";")[0]
    follows = b"follow=true" in scope["query_string"]
    return form if form in _LIVE or follows else None

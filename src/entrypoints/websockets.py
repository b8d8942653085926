"""Bounds on WebSockets, beside those on the connections that they begin as."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MOST_MESSAGE_BYTES = 256 * 1024
"""How long one message of a client may be."""

ANSWER_SECONDS = 60.0
"""How long a client may take nothing of what it is sent."""

PONG_SECONDS = 60.0
"""How long a client may leave a ping unanswered; one whose input is held up cannot be heard."""


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """A connection that has become a WebSocket."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Of what it tells, only warnings: else each path with its query, which holds a command.
        self.logger = logging.getLogger("uvicorn.error.websockets")
        self.logger.setLevel(logging.WARNING)
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the connection has gone."""
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: ASGISendEvent) -> None:
        """Sends a message, or what a handshake is refused with."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # A refusal completes a handshake, too. uvicorn forgets that and takes it for a fault of
            # the application's, so that any stranger could fill the log.
            self.handshake_complete = True

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to."""
        super().pause_writing()
        self._disarm()
        self._timer = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._disarm()
        self.on_lost()
        super().connection_lost(exc)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


WEBSOCKETS: Mapping[str, Any] = {
    "ws": BoundedWebSocket,
    "ws_max_size": MOST_MESSAGE_BYTES,
    "ws_ping_timeout": PONG_SECONDS,
    # Else a few bytes could become as many as they like in memory.
    "ws_per_message_deflate": False,
}
"""What a server is told of them."""

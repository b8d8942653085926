"""Bounds on connections: how many, how slowly they may ask, how slowly they may take an answer.

uvicorn waits for the headers of a request, and for whoever does not read its answer, as long as
they like.
"""

import asyncio
import resource
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from entrypoints.websockets import BoundedWebSocket


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What one client, and all together, may take up."""

    request_seconds: float = 15.0
    """How long a connection may be open without a whole request's headers."""
    answer_seconds: float = 60.0
    """How long a client may take nothing of its answer."""
    per_peer: int = 256
    """Connections from one address."""
    in_all: int = 1024


MOST_FILES = 65_536
"""How many files the agent asks leave to have open, connections among them."""


_TOGETHER_BYTES = 64 * 1024
"""So much is sent without waiting for more."""


def limits_within(files: int) -> ConnectionLimits:
    """The limits of an agent that may have ``files`` files open, of which it needs most itself."""
    in_all = min(ConnectionLimits.in_all, max(4, files // 4))
    return ConnectionLimits(in_all=in_all, per_peer=max(1, in_all // 4))


def allow_many_files() -> int:
    """How many files this process may have open, after it has asked for as many as it gets.

    What is usual for an ordinary process, 1,024, is fewer than a stranger can open connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


class WritesTogether:
    """A transport that sends at once what is written in one go.

    uvicorn writes the head of an answer and its body apart. To hand something to the kernel takes
    longer than anything else about a short answer, and wakes the client twice.

    Whoever writes to a client that has gone is held until the loop has told so. Else nothing would
    stop them: what is lost fills no buffer, and asyncio warns of each piece.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Sends it with what else is written before others have their turn."""
        if not data:
            return
        if self._gone():
            self._hold()
            return
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= _TOGETHER_BYTES:
            self._flush()

    def close(self) -> None:
        """Sends what waits, and ends the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting:
            pieces, self._waiting, self._bytes = self._waiting, [], 0
            if self._gone():
                self._hold()
            else:
                self._transport.write(b"".join(pieces))

    def _gone(self) -> bool:
        """Whether nothing can be sent any more; what was written before it closed still is."""
        return self._transport.is_closing() and not self._transport.get_write_buffer_size()

    def _hold(self) -> None:
        protocol = self._transport.get_protocol()
        if isinstance(protocol, asyncio.Protocol):
            protocol.pause_writing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(H11Protocol):
    """One connection; ``bounded_protocol`` makes the class that a server takes."""

    limits: ClassVar[ConnectionLimits]
    open_by_peer: ClassVar[Counter[str]]

    _timer: asyncio.TimerHandle | None = None
    _due: float | None = None
    """When the client's time is over; None while it is not waited for."""
    _peer: str | None = None
    _deaf = False
    _handed_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection, or drops it where there are too many."""
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", WritesTogether(transport, self.loop))
        peer = str(self.client[0]) if self.client else ""
        limits, count = self.limits, self.open_by_peer
        full = count[peer] >= limits.per_peer or count.total() >= limits.in_all
        self._peer = peer
        count[peer] += 1
        if full:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Takes what came of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Goes on to the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._deaf = True
        self._arm(self.limits.answer_seconds)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._deaf = False
        self._disarm()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._disarm()
        self._stop_timer()
        self._forget()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hands the connection over; it counts until it is lost, as any other."""
        self._handed_over = True
        super().handle_websocket_upgrade(event)
        heir = self.transport.get_protocol()
        if isinstance(heir, BoundedWebSocket):
            heir.on_lost = self._forget

    def _forget(self) -> None:
        if self._peer is not None:
            self.open_by_peer[self._peer] -= 1
            if not self.open_by_peer[self._peer]:
                del self.open_by_peer[self._peer]
            self._peer = None

    def _watch(self) -> None:
        """Gives the client a time for its request, from when nothing of it is at work."""
        if self._handed_over:
            self._disarm()
            return
        if self._deaf:
            # What it sends does not make up for what it does not read.
            return
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._disarm()
        elif self._due is None:
            self._arm(self.limits.request_seconds)

    def _arm(self, seconds: float) -> None:
        """Gives the client so long; a timer that rings sooner is left to ring.

        Most are disarmed within a millisecond, and to make one for each request costs more.
        """
        self._due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._stop_timer()
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._ring)

    def _disarm(self) -> None:
        self._due = None

    def _ring(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._due > self.loop.time():
            self._timer = self.loop.call_at(self._due, self._ring)
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_protocol(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """Uvicorn's protocol within limits; all connections of the class count together."""
    shared = {"limits": limits, "open_by_peer": Counter[str]()}
    return type("BoundedProtocol", (BoundedProtocol,), shared)

"""A conversation between somebody far away and a command in a container."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

import anyio
import anyio.abc
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from domain.container_exec import OutputPiece, TerminalSize
from domain.errors import AgentError
from domain.ports.container_exec import RunningCommand

UNREAD_SECONDS = 15.0
"""How long a command may read nothing once ``_MOST_WAITING`` messages wait for it."""

_MOST_WAITING = 4
_PIECE_BYTES = 16 * 1024


class EndOfInput(msgspec.Struct, frozen=True):
    """Nothing more is sent to the command."""


Said = bytes | TerminalSize | EndOfInput

_Given = MemoryObjectSendStream[bytes | EndOfInput]
_Taken = MemoryObjectReceiveStream[bytes | EndOfInput]


class Peer(Protocol):
    """Whoever speaks with a command."""

    async def receive(self) -> Said | None:
        """What it says next; None once it has gone.

        Raises:
            AgentError: it says something that means nothing.
        """
        ...

    async def send(self, piece: OutputPiece) -> bool:
        """Shows it what the command prints; waits while it does not take it.

        False where it has gone.
        """
        ...


class Ending(StrEnum):
    """How a conversation came to its end."""

    EXITED = "exited"
    """The command has ended."""
    GONE = "gone"
    """Whoever spoke with it went away."""
    IDLE = "idle"
    """Nobody said anything for too long."""
    UNREAD = "unread"
    """The command does not read what it is sent."""
    STOPPING = "stopping"
    """The agent is ending."""


class Farewell(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a conversation."""

    ending: Ending
    exit_code: int | None = None
    """Of a command that has ended; None where it went down with its container."""


class Terminal:
    """A command that runs, for one conversation.

    Args:
        command: the command.
        until_end: a scope for so many seconds, cancelled when the agent ends.
        container: the name of its container.
        idle_seconds: how long neither side may say anything.
    """

    def __init__(
        self,
        command: RunningCommand,
        until_end: Callable[[float], AbstractContextManager[anyio.CancelScope]],
        container: str,
        idle_seconds: float,
    ) -> None:
        self.container = container
        self._command = command
        self._until_end = until_end
        self._idle_seconds = idle_seconds
        self._talk = anyio.CancelScope()
        self._size: TerminalSize | None = None
        self._resized = anyio.Event()
        self._ending: Ending | None = None
        self._exit_code: int | None = None
        self._fault: AgentError | None = None
        self._pieces_read = 0

    async def converse(self, peer: Peer) -> Farewell:
        """Passes on what both sides say, until one of them has ended.

        Raises:
            AgentError: one of them said what means nothing, or the Engine does not answer.
        """
        given, taken = anyio.create_memory_object_stream[bytes | EndOfInput](_MOST_WAITING)
        parts = (
            lambda: self._listen(peer, given),
            lambda: self._show(peer),
            lambda: self._feed(taken),
            self._reshape,
        )
        with self._until_end(self._idle_seconds) as self._talk, given, taken:
            async with anyio.create_task_group() as group:
                for part in parts:
                    group.start_soon(self._until_over, part, group)
        if self._fault is not None:
            raise self._fault
        if self._ending is None:
            is_idle = anyio.current_time() >= self._talk.deadline
            self._ending = Ending.IDLE if is_idle else Ending.STOPPING
        return Farewell(ending=self._ending, exit_code=self._exit_code)

    async def _until_over(
        self, part: Callable[[], Awaitable[None]], group: anyio.abc.TaskGroup
    ) -> None:
        """One part of a conversation; with any of them it is over."""
        try:
            await part()
        except AgentError as fault:
            # Past the group, which would wrap it.
            self._fault = self._fault or fault
        group.cancel_scope.cancel()

    def _end(self, ending: Ending) -> None:
        """Notes how it ends; what comes first counts."""
        self._ending = self._ending or ending

    def _stay(self) -> None:
        """Lets the time for silence begin anew."""
        self._talk.deadline = anyio.current_time() + self._idle_seconds

    async def _listen(self, peer: Peer, given: _Given) -> None:
        while (said := await peer.receive()) is not None:
            self._stay()
            if isinstance(said, TerminalSize):
                self._size = said
                self._resized.set()
            elif not await self._is_taken(said, given):
                self._end(Ending.UNREAD)
                return
        self._end(Ending.GONE)

    async def _is_taken(self, said: bytes | EndOfInput, given: _Given) -> bool:
        """Waits until there is room for it; whether the command read on meanwhile."""
        while True:
            before = self._pieces_read
            with anyio.move_on_after(UNREAD_SECONDS):
                await given.send(said)
                return True
            if self._pieces_read == before:
                return False

    async def _show(self, peer: Peer) -> None:
        while (piece := await self._command.receive()) is not None:
            self._stay()
            if not await peer.send(piece):
                self._end(Ending.GONE)
                return
        self._exit_code = await self._command.exit_code()
        self._end(Ending.EXITED)

    async def _feed(self, taken: _Taken) -> None:
        async for said in taken:
            if isinstance(said, EndOfInput):
                await self._command.close_input()
                continue
            for at in range(0, len(said), _PIECE_BYTES):
                await self._command.send(said[at : at + _PIECE_BYTES])
                self._pieces_read += 1

    async def _reshape(self) -> None:
        while True:
            await self._resized.wait()
            # Of many sizes in a row only the last counts.
            self._resized = anyio.Event()
            if self._size is not None:
                await self._command.resize(self._size)

"""Runs commands in containers: to their end, or in conversation with somebody."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import msgspec

from domain.container_details import ContainerDetails
from domain.container_exec import ExecOrder, judge
from domain.containers import ContainerState
from domain.errors import CapacityExceeded, NotAccepting, ResourceConflict
from domain.ports.clock import Clock
from domain.usecases.container_access import ContainerAccess
from domain.usecases.open_commands import OpenCommands
from domain.usecases.operations import Operations
from domain.usecases.terminals import Terminal


class KeptOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of one stream of a command."""

    data: bytes
    size_bytes: int
    """Of all that was printed."""

    @property
    def is_cut(self) -> bool:
        """Whether more was printed than was kept."""
        return len(self.data) < self.size_bytes


class RunCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was run, to its end or to the end of its time."""

    exit_code: int | None
    """None where its time ran out, or its container ended before it."""
    timed_out: bool
    may_run_on: bool
    """Whether its time ran out and it could not be ended for certain."""
    seconds: float
    stdout: KeptOutput
    stderr: KeptOutput


class ContainerExecution:
    """Lets commands run in containers, so many at once.

    Args:
        access: finds containers.
        commands: runs commands, and ends them whatever happens.
        operations: knows whether the agent is open for work.
        clock: measures how long they took.
        at_once: how many may run at once.
        idle_seconds: how long a terminal may be silent.
    """

    def __init__(
        self,
        *,
        access: ContainerAccess,
        commands: OpenCommands,
        operations: Operations,
        clock: Clock,
        at_once: int,
        idle_seconds: float,
    ) -> None:
        self._access = access
        self._commands = commands
        self._operations = operations
        self._clock = clock
        self._at_once = at_once
        self._idle_seconds = idle_seconds
        self._open: set[anyio.CancelScope] = set()
        self._taken = 0
        self._ending = False

    def end(self) -> None:
        """Ends all that is being run, and whatever is about to be; for the agent's own end."""
        self._ending = True
        for scope in self._open:
            scope.cancel()

    async def run(
        self, text: str, order: ExecOrder, *, seconds: float, most_bytes: int
    ) -> RunCommand:
        """Runs a command to its end, or to the end of its time.

        Args:
            text: names the container.
            order: the command.
            seconds: how long it may run.
            most_bytes: how much is kept of each of its two streams.

        Raises:
            ResourceConflict: the container does not run, or is the agent's own.
            CommandNotStarted: it cannot be run there.
            CapacityExceeded: too many run already.
            NotAccepting: the agent ends; so did the command.
        """
        container = await self._ready(text, order)
        began, out, err = self._clock.monotonic(), _Kept(most_bytes), _Kept(most_bytes)
        code, stopped = None, True
        with self._place():
            async with self._commands.running(container.id, order) as command:
                with self._until_end(seconds) as scope:
                    while (piece := await command.receive()) is not None:
                        (err if piece.stream == "stderr" else out).add(piece.data)
                    code = await command.exit_code()
                if scope.cancelled_caught:
                    stopped = await command.stop()
                    self._require_going_on()
        return RunCommand(
            exit_code=code,
            timed_out=scope.cancelled_caught,
            may_run_on=not stopped,
            seconds=self._clock.monotonic() - began,
            stdout=out.kept(),
            stderr=err.kept(),
        )

    def _require_going_on(self) -> None:
        if self._ending:
            raise NotAccepting("The agent is stopping, and the command was ended with it.")

    @asynccontextmanager
    async def terminal(self, text: str, order: ExecOrder) -> AsyncIterator[Terminal]:
        """A command that somebody speaks with; leaving it ends the command.

        Raises:
            ResourceConflict: the container does not run, or is the agent's own.
            CommandNotStarted: it cannot be run there.
            CapacityExceeded: too many run already.
            NotAccepting: the agent starts or ends.
        """
        container = await self._ready(text, order)
        with self._place():
            async with self._commands.running(container.id, order) as command:
                yield Terminal(command, self._until_end, container.name, self._idle_seconds)

    async def _ready(self, text: str, order: ExecOrder) -> ContainerDetails:
        self._operations.require_open()
        judge(order)
        found = await self._access.enterable(text)
        if found.state.status is ContainerState.PAUSED:
            raise ResourceConflict(f"Container {found.name!r} is paused.", hint="Unpause it first.")
        if not found.state.running:
            raise ResourceConflict(
                f"Container {found.name!r} does not run.", hint="Start it first."
            )
        return found

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._taken >= self._at_once:
            raise CapacityExceeded(
                f"{self._taken} commands run in containers already, as many as MAX_EXECS allows.",
                hint="Try again when one has ended.",
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @contextmanager
    def _until_end(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """For so long, and no longer than the agent does not end."""
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
            self._open.add(scope)
            if self._ending:
                scope.cancel()
            try:
                yield scope
            finally:
                self._open.discard(scope)


class _Kept:
    """The beginning of a stream, and how long it was."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._data = bytearray()
        self._size_bytes = 0

    def add(self, data: bytes) -> None:
        """Takes what came next."""
        self._size_bytes += len(data)
        self._data += data[: self._most_bytes - len(self._data)]

    def kept(self) -> KeptOutput:
        """All that was kept."""
        return KeptOutput(data=bytes(self._data), size_bytes=self._size_bytes)

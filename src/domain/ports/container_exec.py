"""Commands in containers that run.

Started inside an ``async with``; leaving it ends the command, as far as that can be done, and gives
its connection back within some seconds. All may raise ``EngineUnavailable`` when the Engine does
not answer or hangs up in the middle, and ``EngineRefused`` when it answers with an error of its
own. Waiting for anything may be cancelled.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.container_exec import ExecOrder, OpenCommand, OutputPiece, TerminalSize

Begins = Callable[[OpenCommand], Awaitable[None]]


class RunningCommand(Protocol):
    """One command that was started."""

    async def receive(self) -> OutputPiece | None:
        """What it prints next; None once it prints no more.

        Whoever does not ask holds up the command, as a full pipe does. Nothing is lost by
        cancelling.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Gives it input; returns when it is on its way.

        Waits while the command does not read what came before. What comes after its end is
        nobody's, and no error.
        """
        ...

    async def close_input(self) -> None:
        """Lets it find the end of its input; a terminal has none, and is left as it is."""
        ...

    async def resize(self, size: TerminalSize) -> None:
        """Gives its terminal another size; of one that has none, or has ended, that is no error."""
        ...

    async def exit_code(self) -> int | None:
        """Waits for its end; its exit code, or None where it went down with its container."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        ...

    async def stop(self) -> bool:
        """Ends it, within some seconds; whether it has ended for certain.

        A terminal is hung up, which programs may ignore that were told to (``nohup``); of a command
        without one, whatever it started and did not let go of ends, too.
        """
        ...


class ContainerExec(Protocol):
    """Runs commands in containers, by their identifiers."""

    def start(
        self, container_id: str, order: ExecOrder, begins: Begins | None = None
    ) -> AbstractAsyncContextManager[RunningCommand]:
        """A command; entering returns when it runs, or has run.

        Args:
            container_id: where it runs.
            order: what runs, taken as it is: whoever calls has judged it.
            begins: is told of the command, and waited for, before it begins.

        Raises:
            ResourceNotFound: there is no such container.
            ResourceConflict: it does not run, or is paused.
            CommandNotStarted: there is no such program, user or folder in it.
        """
        ...

    async def end(self, command: OpenCommand) -> bool:
        """Ends one that ``begins`` was told of, maybe in an earlier life of the agent.

        As ``RunningCommand.stop``: whether it has ended for certain.
        """
        ...

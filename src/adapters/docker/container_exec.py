"""Runs commands in containers through the Engine, and ends them, which the Engine has no call for.

A command goes on when its connection is closed, with a terminal or without one. So it is signalled:
by its number where the agent sees the container's processes and may signal them, else by a shell of
the container's own, which finds it by a variable that the command was given.
"""

import re
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread

from adapters.docker.client import EngineClient
from adapters.docker.hijacked import Hijacked, hijacked
from adapters.docker.host_processes import signal_session
from adapters.docker.message_frames import Frames
from adapters.docker.named import named, short
from adapters.docker.refusals import refused
from domain.container_exec import ExecOrder, OpenCommand, OutputPiece, TerminalSize
from domain.errors import (
    AgentError,
    CommandNotStarted,
    EngineRefused,
    EngineUnavailable,
    ResourceConflict,
    ResourceNotFound,
)
from domain.ports.container_exec import Begins

MARK = "CONTAINER_HOST_AGENT_EXEC"
"""The variable by which a command and whatever it starts are known."""

STOP_SECONDS = 5.0
"""How long ending a command may take."""

_GRACE_SECONDS = 0.5
_FIRST_LOOK_SECONDS = 0.01
_LATER_LOOK_SECONDS = 0.25
_LONGEST_REASON = 4 * 1024

_ENDED = re.compile(r"cannot exec in a (?:stopped|paused)|init process is not running")

# $1 the variable with its value, $2 the signal, $3 whether only whoever leads a session is meant.
_END_SCRIPT = """
mark=$1 signal=$2 leaders=$3
for folder in /proc/[0-9]*; do
  grep -qs "$mark" "$folder/environ" || continue
  read -r line < "$folder/stat" || continue
  set -- ${line##*) }
  [ "$leaders" = yes ] && [ "$4" != "${folder#/proc/}" ] && continue
  kill -s "$signal" "${folder#/proc/}" && echo ended
done
"""


def not_begun(said: str, *, runs: bool) -> AgentError:
    """Why a command never ran.

    Args:
        said: by the Engine.
        runs: whether its container runs now, and is not paused.
    """
    if not runs or _ENDED.search(said):
        return ResourceConflict(
            "The container ended, or was paused, before the command ran in it.",
            hint="See to it that it runs, and try again.",
        )
    return CommandNotStarted(said)


class DockerContainerExec:
    """Runs commands in containers.

    Args:
        base_url: address of the Engine.
        client: for short calls.
        host_processes: look for commands among the processes that the agent itself sees.
    """

    def __init__(self, base_url: str, client: EngineClient, *, host_processes: bool = True) -> None:
        self._base_url = base_url
        self._client = client
        self._host_processes = host_processes

    @asynccontextmanager
    async def start(
        self, container_id: str, order: ExecOrder, begins: Begins | None = None
    ) -> AsyncIterator["DockerRunningCommand"]:
        """A command; entering returns when it runs, or has run."""
        mark = uuid4().hex
        execution = _Execution(self._client, container_id)
        env = {**order.env, MARK: mark}
        with named("container", container_id):
            await execution.create(engine_body(order, env), order.command[0])
        if begins is not None:
            await begins(execution.told(order, mark))
        command = DockerRunningCommand(self, execution, order, mark)
        try:
            with named("container", container_id):
                async with execution.attached(self._base_url, order) as connection:
                    await command.attach(connection, seconds=self._client.limits.change_seconds)
                    yield command
        finally:
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await command.stop()

    async def end(self, command: OpenCommand) -> bool:
        """Ends one that was left running; whether it has ended for certain."""
        size = TerminalSize(columns=80, rows=24) if command.terminal else None
        order = ExecOrder(command=(), user=command.user, terminal=size)
        execution = _Execution(self._client, command.container, command.execution)
        return await DockerRunningCommand(self, execution, order, command.mark).stop()

    async def end_by(
        self, execution: "_Execution", user: str, mark: str, number: signal.Signals, *, all_of: bool
    ) -> None:
        """Signals a command, as well as the agent can."""
        if self._host_processes and execution.pid:
            pid = execution.pid
            reached = await anyio.to_thread.run_sync(
                lambda: signal_session(execution.container_id, pid, number, leader_only=not all_of),
                abandon_on_cancel=True,
            )
            if reached:
                return
        await self._signal_within(execution.container_id, user, mark, number, all_of=all_of)

    async def _signal_within(
        self, container_id: str, user: str, mark: str, number: signal.Signals, *, all_of: bool
    ) -> None:
        """The same from within the container, by its own shell, which it may not have."""
        words = ("sh", f"{MARK}={mark}", number.name.removeprefix("SIG"), "no" if all_of else "yes")
        order = ExecOrder(command=("sh", "-c", _END_SCRIPT, *words), user=user)
        shell = _Execution(self._client, container_id)
        await shell.create(engine_body(order, {}), "sh")
        async with shell.attached(self._base_url, order) as connection:
            while await connection.receive():
                pass


class DockerRunningCommand:
    """One command that was started."""

    def __init__(
        self, owner: DockerContainerExec, execution: "_Execution", order: ExecOrder, mark: str
    ) -> None:
        self._owner = owner
        self._execution = execution
        self._order = order
        self._mark = mark
        self._frames = None if order.terminal else Frames()
        self._pieces: deque[OutputPiece] = deque()
        self._connection: Hijacked | None = None

    async def attach(self, connection: Hijacked, *, seconds: float) -> None:
        """Takes its connection, and returns when it runs or has run.

        Raises:
            CommandNotStarted: it never did.
            ResourceConflict: its container ended, or was paused, before it could.
        """
        self._connection = connection
        with anyio.move_on_after(seconds):
            if await self._execution.begun():
                return
            raise not_begun(await self._said(), runs=await self._execution.container_runs())
        raise EngineUnavailable(f"The Docker Engine did not start a command within {seconds:g} s.")

    async def _said(self) -> str:
        """What the Engine says in place of a command's output."""
        said = b""
        while len(said) < _LONGEST_REASON and (piece := await self.receive()) is not None:
            said += piece.data
        return said.decode(errors="replace").strip() or "The Docker Engine does not say why."

    async def receive(self) -> OutputPiece | None:
        """What it prints next; None once it prints no more."""
        while not self._pieces:
            data = await self._connection.receive() if self._connection else b""
            if not data:
                return None
            if self._frames is None:
                return OutputPiece("stdout", data)
            self._pieces += (OutputPiece(*frame) for frame in self._frames.feed(data))
        return self._pieces.popleft()

    async def send(self, data: bytes) -> None:
        """Gives it input; returns when it is on its way."""
        if self._connection is not None:
            await self._connection.send(data)

    async def close_input(self) -> None:
        """Lets it find the end of its input."""
        if self._connection is not None and self._order.terminal is None:
            await self._connection.send_eof()

    async def resize(self, size: TerminalSize) -> None:
        """Gives its terminal another size."""
        if self._order.terminal is not None:
            await self._execution.resize(size)

    async def exit_code(self) -> int | None:
        """Waits for its end; its exit code."""
        await self._execution.ended()
        return self._execution.exit_code

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self._execution.is_over

    async def stop(self) -> bool:
        """Ends it; whether it has ended for certain."""
        try:
            with anyio.fail_after(STOP_SECONDS):
                if await self._execution.look() and not await self._execution.is_lost():
                    return True
                await self.close_input()
                return await self._stopped()
        except (AgentError, TimeoutError):
            return False

    async def _stopped(self) -> bool:
        terminal = self._order.terminal is not None
        await self._signal(signal.SIGHUP if terminal else signal.SIGTERM, all_of=True)
        with anyio.move_on_after(_GRACE_SECONDS):
            await self._execution.ended()
        if not terminal or not self._execution.is_over:
            await self._signal(signal.SIGKILL, all_of=not terminal)
        with anyio.move_on_after(_GRACE_SECONDS):
            await self._execution.ended()
        return self._execution.is_over

    async def _signal(self, number: signal.Signals, *, all_of: bool) -> None:
        await self._owner.end_by(
            self._execution, self._order.user, self._mark, number, all_of=all_of
        )


class _Execution:
    """What the Engine knows of one command."""

    def __init__(self, client: EngineClient, container_id: str, identifier: str = "") -> None:
        self._client = client
        self.container_id = container_id
        self._what = f"running a command in container {short(container_id)}"
        self._id = identifier
        self._version = ""
        self._is_unknown = False
        self.pid = 0
        """In the Engine's own pid namespace; 0 before it has begun."""
        self.exit_code: int | None = None
        self.is_over = False

    async def create(self, body: Mapping[str, Any], program: str) -> None:
        """Lets the Engine know of it; nothing runs yet."""
        self._what = f"running {program[:80]} in container {short(self.container_id)}"
        self._id, self._version = await self._client.change(self._what, self._created(body))

    def told(self, order: ExecOrder, mark: str) -> OpenCommand:
        """What must be known to end it later."""
        return OpenCommand(
            mark=mark,
            container=self.container_id,
            execution=self._id,
            user=order.user,
            terminal=order.terminal is not None,
        )

    def _created(self, body: Mapping[str, Any]) -> Any:
        def create(api: Any) -> tuple[str, str]:
            prefix = f"/v{api.api_version}"
            url = f"{api.base_url}{prefix}/containers/{self.container_id}/exec"
            with api.post(url, json=body) as response:
                if response.status_code != 201:
                    raise refused(self._what, response.status_code, response.text)
                return str(response.json()["Id"]), prefix

        return create

    @asynccontextmanager
    async def attached(self, base_url: str, order: ExecOrder) -> AsyncIterator[Hijacked]:
        """Starts it; bytes to it and from it."""
        body = {"Detach": False, "Tty": order.terminal is not None, **_console(order)}
        path = f"{self._version}/exec/{self._id}/start"
        seconds = self._client.limits.change_seconds
        async with hijacked(base_url, path, body, self._what, seconds=seconds) as connection:
            yield connection

    async def begun(self) -> bool:
        """Waits until it runs or has run; whether it ever did."""
        pause = _FIRST_LOOK_SECONDS
        while not await self.look() and not self.pid:
            await anyio.sleep(pause)
            pause = min(2 * pause, _LATER_LOOK_SECONDS)
        return self.pid != 0

    async def is_lost(self) -> bool:
        """Whether it may run though the Engine knows nothing of it, as one that was restarted."""
        return self._is_unknown and await self.container_runs()

    async def container_runs(self) -> bool:
        """Whether its container runs now, and is not paused."""
        try:
            with named("container", self.container_id):
                found = await self._client.look(
                    f"looking at container {short(self.container_id)}",
                    lambda api: api.inspect_container(self.container_id),
                )
        except ResourceNotFound:
            return False
        return bool(found["State"]["Running"]) and not found["State"]["Paused"]

    async def ended(self) -> None:
        """Waits for its end."""
        pause = _FIRST_LOOK_SECONDS
        while not await self.look():
            await anyio.sleep(pause)
            pause = min(2 * pause, _LATER_LOOK_SECONDS)

    async def look(self) -> bool:
        """Whether it has ended."""
        if self.is_over:
            return True
        try:
            with named("container", self.container_id):
                found = await self._client.look(
                    f"looking at what {self._what.removeprefix('running ')} does",
                    lambda api: api.exec_inspect(self._id),
                )
        except (ResourceConflict, ResourceNotFound):
            # As a rule its container has ended, and the Engine knows nothing of it any more.
            self.is_over = self._is_unknown = True
            return True
        self.pid = found.get("Pid") or self.pid
        self.exit_code = found.get("ExitCode")
        self.is_over = not found.get("Running") and self.exit_code is not None
        return self.is_over

    async def resize(self, size: TerminalSize) -> None:
        """Gives its terminal another size."""
        try:
            await self._client.change(
                f"resizing the terminal of {self._what.removeprefix('running ')}",
                lambda api: api.exec_resize(self._id, height=size.rows, width=size.columns),
            )
        except EngineRefused:
            if not await self.look():
                raise


def engine_body(order: ExecOrder, env: Mapping[str, str]) -> dict[str, Any]:
    """A command as the Engine takes it."""
    return {
        "Cmd": list(order.command),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "WorkingDir": order.working_dir,
        "User": order.user,
        "Tty": order.terminal is not None,
        "AttachStdin": order.input,
        "AttachStdout": True,
        "AttachStderr": True,
        **_console(order),
    }


def _console(order: ExecOrder) -> dict[str, Any]:
    size = order.terminal
    return {} if size is None else {"ConsoleSize": [size.rows, size.columns]}

"""Commands in containers of the in-memory Engine: a shell that knows some words."""

import shlex
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio

from adapters.memory.engine import MemoryEngine
from adapters.memory.references import found
from domain.container_exec import ExecOrder, OpenCommand, OutputPiece, TerminalSize
from domain.containers import ContainerState
from domain.errors import CommandNotStarted, ResourceConflict
from domain.ports.container_exec import Begins

STOPPED = 137
"""Exit code of a command that was ended."""

_USERS = {"": "0", "root": "0", "daemon": "1"}
_FOLDERS = frozenset({"", "/", "/tmp", "/etc"})  # noqa: S108 - as in every image
_PIECE_BYTES = 32 * 1024
_NOT_FOUND = 127


class MemoryContainerExec:
    """Twin of ``DockerContainerExec``; what is run goes on as far as somebody reads it."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self.unstoppable = False
        """Whether commands cannot be ended, as where nobody may signal them."""
        self.deaf = False
        """Whether commands take no input, as those that do not read it."""
        self.running: list[MemoryRunningCommand] = []
        """Commands that were started and have not ended."""

    @asynccontextmanager
    async def start(
        self, container_id: str, order: ExecOrder, begins: Begins | None = None
    ) -> AsyncIterator["MemoryRunningCommand"]:
        """A command; entering returns when it runs."""
        self._require_running(container_id, await self._name(container_id))
        command = MemoryRunningCommand(self._engine, container_id, order, self)
        mark = self._engine.new_id()
        if begins is not None:
            await begins(OpenCommand(mark=mark, container=container_id, execution=mark))
        if fault := _fault(order):
            raise CommandNotStarted(fault)
        self.running.append(command)
        self._engine.commands[mark] = command.stop
        try:
            yield command
        finally:
            with anyio.CancelScope(shield=True):
                await command.stop()

    async def end(self, command: OpenCommand) -> bool:
        """Ends one that was left running; whether it has ended for certain."""
        await self._engine.answer("end a command")
        stop = self._engine.commands.get(command.execution)
        return stop is None or await stop()

    async def _name(self, container_id: str) -> str:
        await self._engine.answer("run a command")
        known = {name: c.id for name, c in self._engine.containers.items()}
        return found("container", container_id, known)

    def _require_running(self, container_id: str, name: str) -> None:
        state = self._engine.containers[name].state
        if state is ContainerState.PAUSED:
            raise ResourceConflict(f"Container {container_id} is paused.")
        if state is not ContainerState.RUNNING:
            raise ResourceConflict(f"Container {container_id} is not running.")


class MemoryRunningCommand:
    """One command; it takes its next step when somebody waits for it."""

    def __init__(
        self,
        engine: MemoryEngine,
        container_id: str,
        order: ExecOrder,
        owner: MemoryContainerExec,
    ) -> None:
        self._engine = engine
        self._container_id = container_id
        self._owner = owner
        self._order = order
        self._size = order.terminal
        self._steps = deque(_steps(order.command))
        self._pieces: deque[OutputPiece] = deque()
        self._input = bytearray()
        self._input_ended = not order.input
        self._until: float | None = None
        self._code = 0
        self._over = False
        self._down = False

    async def receive(self) -> OutputPiece | None:
        """What it prints next; None once it prints no more."""
        while not self._pieces:
            if self._is_over():
                return None
            await self._advance()
        return self._pieces.popleft()

    async def send(self, data: bytes) -> None:
        """Gives it input."""
        await self._engine.answer("send input")
        while self._owner.deaf and not self._is_over():
            await self._engine.news.wait()
        self._input += data
        self._engine.tell()

    async def close_input(self) -> None:
        """Lets it find the end of its input."""
        if self._order.terminal is None:
            self._input_ended = True
            self._engine.tell()

    async def resize(self, size: TerminalSize) -> None:
        """Gives its terminal another size."""
        await self._engine.answer("resize a terminal")
        if self._size is not None:
            self._size = size

    async def exit_code(self) -> int | None:
        """Waits for its end; its exit code."""
        while not self._is_over():
            await self._advance()
        return None if self._down else self._code

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self._over

    async def stop(self) -> bool:
        """Ends it; whether it has ended for certain."""
        if not self._is_over() and not self._owner.unstoppable:
            self._end(STOPPED)
        return self._over

    def _end(self, code: int) -> None:
        self._over, self._code = True, code
        self._owner.running.remove(self)
        self._engine.tell()

    def _is_over(self) -> bool:
        standing = self._engine.containers.values()
        if not self._over and not any(c.id == self._container_id and c.running for c in standing):
            self._down = True
            self._end(STOPPED)
        return self._over

    async def _advance(self) -> None:
        """Takes one step, or waits until it can be taken."""
        await self._engine.answer("read what a command prints")
        if not self._steps:
            self._end(self._code)
            return
        words = [self._expanded(w) for w in shlex.split(self._steps[0].removesuffix(">&2"))]
        if await self._taken(words, "stderr" if self._steps[0].endswith(">&2") else "stdout"):
            self._steps.popleft()

    async def _taken(self, words: list[str], stream: str) -> bool:
        """Whether a step was taken; else it goes on."""
        match words:
            case ["sh"]:
                return await self._read_line()
            case ["cat"]:
                return await self._copy(stream)
            case ["sleep", seconds]:
                return await self._sleep(float(seconds))
            case ["exit", code]:
                self._steps.clear()
                self._end(int(code))
                return False
            case [program, *arguments] if program in _PRINTERS:
                self._print(_PRINTERS[program](self, arguments), stream)
            case [program, *_]:
                self._code = _NOT_FOUND
                self._print(f"sh: {program}: not found\n", "stderr")
        return True

    def _expanded(self, word: str) -> str:
        """A word, or the value of the variable that it names."""
        return self._order.env.get(word[1:], "") if word.startswith("$") else word

    def _print(self, text: str, stream: str) -> None:
        data = text.encode()
        if self._size is not None:
            data, stream = data.replace(b"\n", b"\r\n"), "stdout"
        for at in range(0, len(data), _PIECE_BYTES):
            self._pieces.append(OutputPiece(stream, data[at : at + _PIECE_BYTES]))

    async def _read_line(self) -> bool:
        """A shell's next line as the next step, before the shell itself."""
        line, end, rest = bytes(self._input).partition(b"\n")
        if end or (line and self._input_ended):
            self._input = bytearray(rest)
            self._steps.extendleft(reversed(_statements(line.decode())))
            return False
        if self._input_ended:
            return True
        await self._engine.news.wait()
        return False

    async def _copy(self, stream: str) -> bool:
        if self._input:
            data, self._input = bytes(self._input), bytearray()
            self._pieces.append(OutputPiece(stream, data))
        elif self._input_ended:
            return True
        else:
            await self._engine.news.wait()
        return False

    async def _sleep(self, seconds: float) -> bool:
        now = anyio.current_time()
        self._until = now + seconds if self._until is None else self._until
        if now >= self._until:
            self._until = None
            return True
        with anyio.move_on_after(self._until - now):
            await self._engine.news.wait()
        return False

    def user(self) -> str:
        """The number of its user."""
        return _user(self._order.user) or ""

    def folder(self) -> str:
        """Where it runs."""
        return self._order.working_dir or "/"

    def size(self) -> str:
        """Rows and columns of its terminal."""
        return f"{self._size.rows} {self._size.columns}" if self._size else "0 0"


_Printer = Callable[[MemoryRunningCommand, list[str]], str]

_PRINTERS: Mapping[str, _Printer] = {
    "echo": lambda _, words: f"{' '.join(words)}\n",
    "pwd": lambda command, _: f"{command.folder()}\n",
    "id": lambda command, _: f"{command.user()}\n",
    "stty": lambda command, _: f"{command.size()}\n",
    "seq": lambda _, words: "".join(f"{number}\n" for number in range(1, int(words[-1]) + 1)),
    "true": lambda *_: "",
}
_PROGRAMS = frozenset({"sh", "cat", "sleep", *_PRINTERS})


def _steps(command: tuple[str, ...]) -> list[str]:
    match command:
        case ["sh", "-c", script]:
            return _statements(script)
        case _:
            return [shlex.join(command)]


def _statements(script: str) -> list[str]:
    return [statement.strip() for statement in script.split(";") if statement.strip()]


def _user(text: str) -> str | None:
    name = text.partition(":")[0]
    return name if name.isdigit() else _USERS.get(name)


def _fault(order: ExecOrder) -> str | None:
    """Why a command cannot be run."""
    if order.command[0] not in _PROGRAMS:
        return f'exec: "{order.command[0]}": executable file not found in $PATH'
    if _user(order.user) is None:
        return f"unable to find user {order.user}: no matching entries in passwd file"
    if order.working_dir not in _FOLDERS:
        return f'chdir to cwd ("{order.working_dir}") failed: no such file or directory'
    return None

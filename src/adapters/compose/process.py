"""One external command: its own environment and session, capped output, and an end for sure."""

import os
import resource
import secrets
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import anyio
import anyio.abc
import msgspec

from adapters.compose import strays
from domain.operations import OUTPUT_LINE_LENGTH, OUTPUT_TAIL_LINES
from domain.shortage import process_shortage

GRACE_SECONDS = 3.0
"""How long a command that was told to end may take before it is killed."""

MAX_CAPTURED_BYTES = 8 * 1024 * 1024
"""How much of a command's standard output is kept where it is asked for."""

KILL_SECONDS = 5.0
"""How long the end of a command that was killed is waited for; what the kernel holds ends later."""

BEHIND = 5
"""How much less urgent a command is than the agent, which answers while commands work; it is never
more urgent than what nobody has made so."""

_ORDINARY = 0
_LEAST_URGENT = 19

_DRAIN_SECONDS = 5.0
_PAUSE_SECONDS = 0.1

_MARK = "CONTAINER_HOST_AGENT_COMMAND"
"""A variable by which one command and its children are found again."""

# Nothing that a bundle prints may steer the terminal or page that shows it; tabs are harmless.
_CONTROL = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t")}, "\N{REPLACEMENT CHARACTER}")


class Finished(msgspec.Struct, frozen=True):
    """A command that has ended."""

    exit_code: int
    """Negative for a signal."""
    stdout: bytes
    """Empty unless it was asked for."""
    tail: tuple[str, ...]
    """The last lines of what it printed for people."""


class TimedOut(Exception):
    """The command took too long and was ended; ``tail`` holds its last lines."""

    def __init__(self, tail: tuple[str, ...]) -> None:
        super().__init__("The command took too long.")
        self.tail = tail


class _Lines:
    """Cuts a byte stream into lines of limited length that are safe to show."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._rest = b""
        self._on_line = on_line
        self.tail: deque[str] = deque(maxlen=OUTPUT_TAIL_LINES)

    def feed(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._take(line)
        # A command that never ends its line must not grow the agent's memory.
        self._rest = rest[: OUTPUT_LINE_LENGTH * 4]

    def end(self) -> None:
        if self._rest:
            self._take(self._rest)
        self._rest = b""

    def _take(self, line: bytes) -> None:
        # What a carriage return overwrites on a terminal was not meant to stay.
        text = line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode(errors="replace").translate(_CONTROL)
        text = text[:OUTPUT_LINE_LENGTH].rstrip()
        if text:
            self.tail.append(text)
            self._on_line(text)


async def run(
    command: Sequence[str],
    *,
    directory: str,
    environment: Mapping[str, str],
    seconds: float,
    on_line: Callable[[str], None],
    capture: bool = False,
    memory_bytes: int | None = None,
) -> Finished:
    """Runs a command to its end, feeding each line it prints to ``on_line`` as it comes.

    The command runs in a session of its own, and when this returns or raises, none of its process
    group is left: killing ``docker`` alone would leave its Compose plugin at work.

    Args:
        command: program and arguments; no shell is involved.
        directory: where it runs.
        environment: all the variables it sees.
        seconds: how long it may take.
        on_line: takes each line, made safe to show.
        capture: keep standard output apart and whole, and feed only standard error.
        memory_bytes: how much memory it may take; None for any.

    Raises:
        TimedOut: it took longer than ``seconds``.
        OSError: it cannot be started.
        HostExhausted: the host has no process, thread, memory or file to spare for it.
    """
    lines = _Lines(on_line)
    captured = bytearray()

    def keep(chunk: bytes) -> None:
        captured.extend(chunk[: MAX_CAPTURED_BYTES - len(captured)])

    # Whoever is cancelled in between would leave a command that nobody knows of.
    with anyio.CancelScope(shield=True):
        process = await _opened(command, directory, environment, capture=capture)
    try:
        _put_behind(process.pid)
        _hold_to(process.pid, memory_bytes)
        with anyio.fail_after(seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(_read, process.stdout, keep if capture else lines.feed)
                group.start_soon(_read, process.stderr, lines.feed)
                exit_code = await process.wait()
                _signal_group(process.pid, signal.SIGKILL)
                group.cancel_scope.deadline = anyio.current_time() + _DRAIN_SECONDS
    except TimeoutError:
        lines.end()
        raise TimedOut(tuple(lines.tail)) from None
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    lines.end()
    return Finished(exit_code, bytes(captured), tuple(lines.tail))


async def _opened(
    command: Sequence[str], directory: str, environment: Mapping[str, str], *, capture: bool
) -> anyio.abc.Process:
    mark = secrets.token_hex(16)
    try:
        return await anyio.open_process(
            command,
            cwd=directory,
            env={**environment, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE if capture else subprocess.STDOUT,
            start_new_session=True,
        )
    except Exception as fault:
        refusal = process_shortage(fault)
        if refusal is None:
            raise
        # It may be at work already: what waits for its end wants a thread or a file of its own, and
        # where there is none asyncio forgets the process.
        with anyio.CancelScope(shield=True):
            await _end_unwatched(f"{_MARK}={mark}")
        raise refusal from fault


async def _end_unwatched(variable: str) -> None:
    with anyio.move_on_after(_DRAIN_SECONDS):
        while True:
            with suppress(RuntimeError, MemoryError, OSError):
                await strays.end(variable)
                return
            await anyio.sleep(_PAUSE_SECONDS)


async def _read(stream: anyio.abc.ByteReceiveStream | None, take: Callable[[bytes], None]) -> None:
    if stream is not None:
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                take(await stream.receive())


async def _end(process: anyio.abc.Process) -> None:
    """Ends the whole process group: asks, waits, kills, reaps."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with anyio.move_on_after(GRACE_SECONDS):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    with anyio.move_on_after(KILL_SECONDS):
        await process.wait()
    if process.returncode is not None:
        await process.aclose()
        return
    # The kernel holds it, as on a disk that hangs; the event loop reaps it when it lets go.
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await stream.aclose()


def _put_behind(process_id: int) -> None:
    """Lets the whole process group wait where the agent itself wants a processor."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    # It may have ended by now.
    with suppress(ProcessLookupError, PermissionError):
        niceness = min(max(ours + BEHIND, _ORDINARY), _LEAST_URGENT)
        os.setpriority(os.PRIO_PGRP, process_id, niceness)


def _hold_to(process_id: int, memory_bytes: int | None) -> None:
    if memory_bytes is not None:
        # It may have ended by now.
        with suppress(ProcessLookupError):
            resource.prlimit(process_id, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _signal_group(process_id: int, number: signal.Signals) -> None:
    # The session's leader gave the group its number; it may be gone while others of it are not.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, number)

"""Asks for one thing at a steady rate, from a process of its own, and writes down the answers.

``python -m tests.support.steady_requests ADDRESS PATH SECONDS`` asks every so many seconds until
its standard input ends, and prints a line for each answer: when it was due, the status, 0 for none,
and how long it took. A request that is late because the one before it took long counts from when it
was due, so that what hangs is seen by as many as would have met it.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from select import select
from urllib.parse import urlsplit

import msgspec

_TIMEOUT_SECONDS = 30.0


class Answer(msgspec.Struct, frozen=True):
    """One answer."""

    at: float
    """When it was due, by ``time.monotonic``."""
    status: int
    """0 where none came."""
    seconds: float


class SteadyRequests:
    """Requests under way; made by ``steady_requests``."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def answers(self) -> list[Answer]:
        """All so far."""
        lines = self._output.read_text().splitlines(keepends=True)
        found = [line.split() for line in lines if line.endswith("\n")]
        return [Answer(float(at), int(status), float(took)) for at, status, took in found]


@contextmanager
def steady_requests(
    address: str, path: str, *, seconds: float, output: Path
) -> Iterator[SteadyRequests]:
    """Asks as long as the block lasts.

    Args:
        address: ``http://HOST:PORT`` or ``unix:///PATH``.
        path: what is asked for.
        seconds: from one request to the next.
        output: takes the answers.
    """
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.steady_requests", address, path, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=file,
        ) as process,
    ):
        yield SteadyRequests(output)
        assert process.stdin is not None
        process.stdin.close()


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(address: str) -> HTTPConnection:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return _UnixConnection(parts.path)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)


def _status(connection: HTTPConnection, path: str) -> int:
    try:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status
    except (OSError, HTTPException):
        connection.close()
        return 0


def main() -> None:
    """Reads the arguments and asks until nobody wants to know any more."""
    address, path, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with suppress(PermissionError):
        # What it waits for a processor itself is not what is measured.
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    connection, due = _connection(address), time.monotonic()
    with suppress(BrokenPipeError):
        while not select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            status = _status(connection, path)
            print(due, status, time.monotonic() - due, flush=True)
            due += pause
    connection.close()


if __name__ == "__main__":
    main()

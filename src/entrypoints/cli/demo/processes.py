"""The processes of the demonstration, ended whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_END_SECONDS = 40


@contextmanager
def running(
    arguments: list[str], environment: Mapping[str, str], log: Path, *, read_output: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A process of this Python, with its log in a file; ended when the block is left.

    With ``read_output`` its standard output is the caller's to read, and only errors are logged.
    """
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - arguments of our own
            [sys.executable, *arguments],
            env=dict(environment),
            stdout=subprocess.PIPE if read_output else output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def free_port() -> int:
    """A port on loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pause(seconds: float) -> None:
    """Waits for other processes."""
    time.sleep(seconds)  # noqa: TID251 - nothing else runs in this one

"""Commands that outlived the agent which ran them: they would go on creating what is being undone.

Killing the agent does not end them, since each runs in a session of its own, and Docker's plugins
even outlive the ``docker`` command.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import anyio.to_thread

_GONE_SECONDS = 5.0


async def end(variable: str) -> int:
    """Kills all processes that were started with ``variable`` (``NAME=value``); how many."""
    return await anyio.to_thread.run_sync(_end, variable)


def _end(variable: str) -> int:
    found = _processes(variable)
    for process_id in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process_id, signal.SIGKILL)
    until = time.monotonic() + _GONE_SECONDS
    while _processes(variable) and time.monotonic() < until:
        time.sleep(0.05)
    return len(found)


def _processes(variable: str) -> list[int]:
    """Processes of ours with the variable; one that has ended shows none, reaped or not."""
    wanted = variable.encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # Others' processes are closed to an ordinary user, and any may end meanwhile.
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found

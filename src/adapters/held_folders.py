"""Folders that one agent has for itself for as long as it lives."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from domain.errors import StorageFailed
from domain.ports.log import Log


@asynccontextmanager
async def held(folder: Path, setting: str, log: Log) -> AsyncIterator[None]:
    """Keeps other agents out of a folder, which is made where there is none.

    The kernel lets go of it when the process ends, however that happens.

    Args:
        folder: which.
        setting: the one that names it.
        log: told where the file system knows no locks; then nobody is kept out.

    Raises:
        StorageFailed: another agent has it, or it cannot be made.
    """
    descriptor = await anyio.to_thread.run_sync(_taken, folder, setting, log)
    try:
        yield
    finally:
        os.close(descriptor)


def _taken(folder: Path, setting: str, log: Log) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise StorageFailed(
            f"{setting}={folder} cannot be used: {fault}.",
            hint="Is it a folder that is the agent's own, on a disk that has room?",
        ) from fault
    try:
        _lock(descriptor, folder, setting, log)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, folder: Path, setting: str, log: Log) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        raise StorageFailed(
            f"Another agent works in {setting}={folder}.",
            hint="Stop it, or give this one a WORKSPACE_DIR and a STATE_DIR of its own.",
        ) from fault
    except OSError as fault:
        # Some file systems know no locks, or none of folders, and say so in many ways.
        log.warning(
            "folder cannot be locked against other agents", path=str(folder), reason=str(fault)
        )

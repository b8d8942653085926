"""Runs one call on workspaces in a process of its own, which ends at a chosen step.

``python -m tests.support.killed ROOT CALL STEP [UID]`` ends with exit code 9 right before the
``STEP``-th change to the disk that the call would make, as a kill would; with 0 when the call made
fewer. What the call raised is printed.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio

from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.errors import AgentError
from domain.names import EnvironmentName, OperationId

LAB = EnvironmentName("lab")
OPERATION = OperationId("op-2")

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def _end_before(step: int) -> None:
    """Ends this process before its ``step``-th change to the disk from now on."""
    left = step

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        opened_to_write = event == "open" and arguments[2] & os.O_CREAT
        if event in _CHANGES or opened_to_write:
            if left == 0:
                os._exit(9)
            left -= 1

    sys.addaudithook(watch)


async def _call(root: Path, name: str, step: int, uid: int) -> None:
    workspaces = DiskWorkspaces(root, BundleLimits())
    os.setresuid(uid, uid, uid)
    if name == "roll_back":
        await workspaces.install(OPERATION, LAB)
    _end_before(step)
    try:
        match name:
            case "install":
                await workspaces.install(OPERATION, LAB)
            case "roll_back":
                await workspaces.roll_back(OPERATION, LAB)
            case "remove":
                await workspaces.remove(LAB)
            case "tidy":
                await workspaces.tidy()
    except AgentError as fault:
        print(f"{type(fault).__name__}: {fault.detail}")


def main() -> None:
    """Reads the arguments and makes the call."""
    root, name, step, *uid = sys.argv[1:]
    anyio.run(_call, Path(root), name, int(step), int(uid[0]) if uid else os.getuid())


if __name__ == "__main__":
    main()

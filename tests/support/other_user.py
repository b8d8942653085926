"""Runs one call on workspaces in a process of its own, as another user.

``python -m tests.support.other_user ROOT CALL UID`` prints what the call raised.
"""

import os
import sys
from pathlib import Path

import anyio

from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.errors import AgentError
from domain.names import EnvironmentName

LAB = EnvironmentName("lab")


async def _call(root: Path, name: str, uid: int) -> None:
    workspaces = DiskWorkspaces(root, BundleLimits())
    os.setresuid(uid, uid, uid)
    try:
        match name:
            case "remove":
                await workspaces.remove(LAB)
            case "tidy":
                await workspaces.tidy()
    except AgentError as fault:
        print(f"{type(fault).__name__}: {fault.detail}")


def main() -> None:
    """Reads the arguments and makes the call."""
    root, name, uid = sys.argv[1:]
    anyio.run(_call, Path(root), name, int(uid))


if __name__ == "__main__":
    main()

"""Lets the agent answer while others work, where it may ask for that."""

import os
from contextlib import suppress
from pathlib import Path

AHEAD = 10
"""How much more urgent the agent is than most; the commands that it starts are not."""

AUTOGROUP = Path("/proc/self/autogroup")
"""The session's niceness: ``/autogroup-123 nice 0``. Empty for who is in the first session of all,
which is in no such group."""

_MOST_URGENT = -20


def go_first() -> None:
    """Makes this process more urgent than others, if the system lets it.

    It needs little, and a heartbeat that comes late takes the host out of service.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _ahead_of(os.getpriority(os.PRIO_PROCESS, 0)))
    # Outside of control groups Linux weighs sessions against each other, and processes only within
    # one ("The autogroup feature" in sched(7)). A terminal's session is not the agent's alone.
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            *_, nice = AUTOGROUP.read_text().split() or [""]
            if nice:
                AUTOGROUP.write_text(str(_ahead_of(int(nice))))


def _ahead_of(nice: int) -> int:
    return max(nice - AHEAD, _MOST_URGENT)

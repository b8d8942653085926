"""Processes of containers, as the host's kernel shows them to whoever may see them."""

import os
import signal
from contextlib import closing, suppress
from pathlib import Path


class _Descriptor:
    """A process, whatever becomes of its number."""

    def __init__(self, pid: int) -> None:
        self._number = os.pidfd_open(pid)

    def send(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._number, number)

    def close(self) -> None:
        os.close(self._number)


def signal_session(
    container_id: str, leader: int, number: signal.Signals, *, leader_only: bool
) -> bool:
    """Sends a signal to a command in a container; whether its first process was reached.

    Where the agent has a pid namespace of its own, the Engine's numbers mean other processes to it,
    or none. So nothing is signalled but what lies in the container's own control group, and is held
    by a descriptor while that is looked up: a number that is given anew cannot come between.

    Args:
        container_id: whose process it is.
        leader: its number as the Engine tells it. Runtimes give each command a session of its own.
        number: the signal.
        leader_only: else all of the session.
    """
    reached = _signal(container_id, leader, number)
    if not leader_only:
        for member in _members(leader):
            _signal(container_id, member, number)
    return reached


def _signal(container_id: str, pid: int, number: signal.Signals) -> bool:
    # ProcessLookupError: it ended. PermissionError: it is another user's. ENOSYS: an old kernel.
    with suppress(OSError), closing(_Descriptor(pid)) as process:
        if _is_of(container_id, pid):
            process.send(number)
            return True
    return False


def _is_of(container_id: str, pid: int) -> bool:
    """Whether a process lies in the control group of a container."""
    with suppress(OSError):
        return container_id in Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    return False


def _members(leader: int) -> list[int]:
    """The other processes of a session."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - names alone, and many
    except OSError:
        return []
    numbers = [int(name) for name in names if name.isdigit()]
    return [number for number in numbers if number != leader and _session(number) == leader]


def _session(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        # Behind the program's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[3])
    return 0

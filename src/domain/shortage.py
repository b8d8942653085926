"""What tells that the host has run short of memory, processes, threads or files, and not the agent
of sense.
"""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from domain.errors import AgentError, HostExhausted

_RUN_OUT: Mapping[int, str] = {
    errno.EMFILE: "files: the agent has as many open as it may",
    errno.ENFILE: "files: all programs together have as many open as they may",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory for the network",
}

_NO_PROCESS = "processes: as many run as may"
_NO_THREAD = "threads or memory: the system starts no more"
_NO_MEMORY = "memory"

# The interpreter has no class of its own for it.
_THREAD_REFUSED = "can't start new thread"


def shortage(fault: BaseException) -> HostExhausted | None:
    """The refusal that a fault of the system means; None where it means something else.

    What the agent itself raised is left as it is; of a group, all must mean it.
    """
    if isinstance(fault, AgentError):
        return fault if isinstance(fault, HostExhausted) else None
    if isinstance(fault, BaseExceptionGroup):
        found = [shortage(inner) for inner in fault.exceptions]
        return found[0] if all(found) else None
    lacking = _lacking(fault)
    return HostExhausted(lacking) if lacking else None


def _lacking(fault: BaseException) -> str:
    if isinstance(fault, MemoryError):
        return _NO_MEMORY
    if isinstance(fault, RuntimeError) and _THREAD_REFUSED in str(fault):
        return _NO_THREAD
    if isinstance(fault, OSError) and fault.errno is not None:
        return _RUN_OUT.get(fault.errno, "")
    return ""


def process_shortage(fault: BaseException) -> HostExhausted | None:
    """The same of a fault in starting a process, of which there may be too many as well."""
    if isinstance(fault, OSError) and fault.errno == errno.EAGAIN:
        return HostExhausted(_NO_PROCESS)
    return shortage(fault)


@contextmanager
def shortages_told() -> Iterator[None]:
    """Turns faults that mean a shortage into ``HostExhausted``, and lets all others pass."""
    try:
        yield
    except Exception as fault:
        found = shortage(fault)
        if found is None or found is fault:
            raise
        raise found from fault

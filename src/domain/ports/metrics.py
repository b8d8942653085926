"""The host's own counters."""

from typing import Protocol

from domain.resources import FileSystem, HostIdentity, HostSample


class HostMetrics(Protocol):
    """Reads the host's counters.

    All may raise ``HostExhausted`` where the host is too short of something to tell.
    """

    async def identity(self) -> HostIdentity:
        """What does not change while the host is up."""
        ...

    async def sample(self) -> HostSample:
        """The counters now; takes no measuring time, rates come from two samples."""
        ...

    async def file_system(self, role: str, path: str) -> FileSystem | None:
        """The file system that holds ``path``; None where the agent cannot see the path."""
        ...

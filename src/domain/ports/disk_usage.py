"""What Docker keeps on its disk."""

from typing import Protocol

from domain.disk_usage import DiskUsage


class DiskUsages(Protocol):
    """Measures what is kept."""

    async def measure(self) -> DiskUsage:
        """What all kinds take up now; costs the Engine a walk through all volumes.

        Raises:
            EngineUnavailable: the Engine does not answer in time.
            EngineRefused: it answers with an error.
        """
        ...

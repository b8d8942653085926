"""What containers have used."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.container_usage import ContainerUsage
from domain.containers import Container


class ContainerUsages(Protocol):
    """Reads the counters of containers."""

    async def usage(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        """The counters of containers that run: identifier → usage.

        Those that do not run, have ended meanwhile, or cannot be read from here are left out.

        Raises:
            EngineUnavailable: the Engine is asked, and does not answer.
            EngineRefused: it answers with an error.
        """
        ...

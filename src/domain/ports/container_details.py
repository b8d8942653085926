"""What the Engine knows of one container.

All may raise ``EngineUnavailable`` when the Engine does not answer in time, ``EngineRefused`` when
it answers with an error of its own, ``ResourceNotFound`` where there is no such container,
``ResourceAmbiguous`` where several have an identifier that begins so, and ``ResourceConflict``
where it cannot tell that of a container as it is now.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from domain.container_details import ContainerDetails, FileChange, ProcessColumn, ProcessTable

MOST_CHANGES = 100_000
"""How many changes of a file system are read; a container can make any number of them."""


class ContainerLookup(Protocol):
    """Tells of single containers; each is named by its name, or how its identifier begins."""

    async def inspect(self, reference: str) -> ContainerDetails:
        """One container, whole."""
        ...

    async def processes(
        self, reference: str, columns: Collection[ProcessColumn] = ()
    ) -> ProcessTable:
        """The processes of one that runs.

        Args:
            reference: names it.
            columns: what is told of each, besides its number; what Docker tells where none are.
        """
        ...

    async def file_changes(self, reference: str) -> Sequence[FileChange]:
        """How its file system differs from its image, sorted by path.

        Raises:
            ResourceConflict: in more than ``MOST_CHANGES`` places.
        """
        ...

    async def sizes(self) -> Mapping[str, int]:
        """How many bytes each container's own layer takes: identifier → bytes.

        Slow: the Engine looks at each file.
        """
        ...

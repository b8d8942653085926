"""The Engine's volumes.

All may raise ``EngineUnavailable`` when the Engine does not answer in time, and ``EngineRefused``
when it answers with an error of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.engine_volumes import EngineVolume, VolumeOrder, VolumeUser


class EngineVolumes(Protocol):
    """All volumes of the host."""

    async def list(self) -> Sequence[EngineVolume]:
        """All, sorted by name."""
        ...

    async def inspect(self, name: str) -> EngineVolume:
        """One volume.

        Raises:
            ResourceNotFound: there is none.
        """
        ...

    async def sizes(self) -> Mapping[str, int]:
        """Volume → bytes, as far as the Engine can tell; it looks through all files for that."""
        ...

    async def users(self) -> Mapping[str, Sequence[VolumeUser]]:
        """Volume → the containers that mount it, stopped ones too, sorted by name.

        Those that only read and write archives for a while do not count.
        """
        ...

    async def create(self, order: VolumeOrder) -> EngineVolume:
        """Makes a volume; one of the name that stands is given as it is.

        Raises:
            ResourceConflict: one stands that has another driver.
            RequestUnreadable: its driver does not take the options.
        """
        ...

    async def remove(self, name: str) -> None:
        """Removes a volume with what it holds.

        Raises:
            ResourceNotFound: there is none.
            ResourceConflict: a container mounts it.
        """
        ...

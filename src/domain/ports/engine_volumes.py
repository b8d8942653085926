"""The Engine's volumes, and what they hold.

All may raise ``EngineUnavailable`` when the Engine does not answer in time, and ``EngineRefused``
when it answers with an error of its own.
"""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.engine_volumes import EngineVolume, VolumeOrder


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

    async def users(self) -> Mapping[str, Sequence[str]]:
        """Volume → names of the containers that mount it, stopped ones too, sorted."""
        ...

    async def create(self, order: VolumeOrder) -> EngineVolume:
        """Makes a volume on the host's own disk; one of the name that stands is given as it is."""
        ...

    async def remove(self, name: str) -> None:
        """Removes a volume with what it holds.

        Raises:
            ResourceNotFound: there is none.
            ResourceConflict: a container mounts it.
        """
        ...


class VolumeArchives(Protocol):
    """What volumes hold, as tar archives."""

    def read(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A volume as a tar, in pieces; leaving the ``async with`` ends it.

        Containers may write to it meanwhile: what they change can be old or new.

        Raises:
            ResourceNotFound: there is none.
        """
        ...

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, clear: bool) -> None:
        """Unpacks a tar into a volume that stands, as root, in a container that sees nothing else.

        Args:
            name: of the volume.
            chunks: the tar, plain or compressed by gzip, as it comes.
            clear: remove first what the volume holds.

        Raises:
            ResourceConflict: it holds something, and shall not be cleared.
            RequestUnreadable: that is no tar, or not a whole one; what came before it stays.
            EngineRefused: the agent has no image to do it with (``AGENT_IMAGE``).
        """
        ...

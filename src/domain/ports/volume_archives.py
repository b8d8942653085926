"""What volumes hold, as tar archives.

All but the screening may raise ``EngineUnavailable`` when the Engine does not answer in time, and
``EngineRefused`` when it answers with an error of its own.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class VolumeArchives(Protocol):
    """Reads and writes volumes."""

    def read(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A volume as a tar, in pieces; leaving the ``async with`` ends it.

        Containers may write to it meanwhile: what they change can be old or new.

        Raises:
            ResourceNotFound: there is none.
        """
        ...

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, clear: bool) -> None:
        """Unpacks a tar into a volume that stands, as root, in a container that sees nothing else.

        All or nothing: what the volume held goes, and what was unpacked takes its place, only once
        ``chunks`` has come to its end and all of it is unpacked. Until then both take up room.

        Args:
            name: of the volume.
            chunks: a plain tar, as it comes; whatever it raises is raised again.
            clear: what the volume holds may go.

        Raises:
            ResourceNotFound: there is no such volume.
            ResourceConflict: it holds something that may not go, an earlier restore has left
                something in it, or the agent has no image to do it with (``AGENT_IMAGE``).
            RequestUnreadable: that cannot be unpacked.
            StorageFull: it does not fit.
        """
        ...

    async def end_left_over(self) -> int:
        """Brings in order what was left of reading and writing; how many containers that were.

        A killed agent leaves something, and one whose Engine was away. What had been unpacked in
        part goes, what was about to take its place does so. May be called at any time, but by one
        at a time.
        """
        ...


class VolumeScreening(Protocol):
    """Reads archives from outside as they pass through."""

    def screened(
        self, archive: AsyncIterable[bytes], *, max_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """The same archive, plain and whole; memory does not grow with it.

        Args:
            archive: a tar, plain or through gzip.
            max_bytes: how long it may be when unpacked.

        Raises:
            RequestUnreadable: it is no tar or not a whole one, or it holds what leads out of a
                volume, or devices, or too many members.
            RequestTooLarge: it is longer.
        """
        ...

"""The files of containers, to be read only.

Nothing is ever written: the Engine's call for that has let containers reach into the host.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from domain.container_streams import FileStatus

PAUSE_SECONDS = 10.0
"""How long a reader may pause: as long as a file is read, the Engine can do nothing else to its
container."""


class OpenFile(NamedTuple):
    """What is read, and what it holds."""

    status: FileStatus
    content: AsyncIterator[bytes]


class ContainerFiles(Protocol):
    """Reads files and folders of containers, by their identifiers, whether they run or not.

    Entering may raise ``ResourceNotFound`` for the container or the path, ``RequestUnreadable``
    where that is not what was asked for, ``EngineUnavailable`` and ``EngineRefused``. Leaving ends
    the reading, and gives thread and socket back within a second. Reading raises
    ``EngineUnavailable`` where what is read breaks off, or was not read on for ``PAUSE_SECONDS``.
    """

    async def status(self, container_id: str, path: str) -> FileStatus:
        """What stands at a path; of a link, the link itself."""
        ...

    def tar(self, container_id: str, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """A file or folder as a tar archive, as Docker gives it."""
        ...

    def regular(self, container_id: str, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """The bytes of one regular file; the size in its status is how many come.

        Raises:
            RequestUnreadable: it is no regular file.
        """
        ...

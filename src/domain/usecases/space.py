"""Room on the disks that environments fill."""

from collections.abc import Awaitable, Callable

import anyio

from domain.errors import AgentError, StorageFull
from domain.ports.log import Log
from domain.ports.store import Store
from domain.ports.workspaces import Workspaces
from domain.resources import FileSystem
from domain.usecases.host import HostWatch

WATCHED_ROLES = ("workspace", "state", "docker")
"""The file systems that deploys write to."""


class Space:
    """Refuses deploys before a disk is full, once nothing more can be cleared away.

    Args:
        host: sees the disks.
        store: the records, which hold some room for removals.
        workspaces: the files, which must lie where they lay at the start.
        reclaim: makes room, and says whether it found anything to remove.
        log: told where no room could be made.
        min_free_percent: what must stay free on each disk.
    """

    def __init__(
        self,
        host: HostWatch,
        store: Store,
        workspaces: Workspaces,
        reclaim: Callable[[], Awaitable[bool]],
        log: Log,
        *,
        min_free_percent: float,
    ) -> None:
        self._host = host
        self._store = store
        self._workspaces = workspaces
        self._reclaim = reclaim
        self._log = log
        self._min_free_percent = min_free_percent
        self._reclaiming = anyio.Lock()

    async def short(self) -> FileSystem | None:
        """A disk with too little room, in bytes or inodes; None where all have enough."""
        for disk in await self._host.file_systems():
            if disk.role in WATCHED_ROLES and _least_free(disk)[0] < self._min_free_percent:
                return disk
        return None

    async def require(self) -> None:
        """Returns if there is room, made if need be.

        Raises:
            StorageFull: there is not.
            StorageFailed: the disk of the workspace is not there, or does not answer.
            StoreUnavailable: there is so little that not even records can be written.
        """
        await self._require_of_records()
        await self._workspaces.check()
        disk = await self.short()
        if disk is not None:
            disk = await self.make_room()
        if disk is not None:
            percent, what = _least_free(disk)
            raise StorageFull(
                f"Only {percent:.1f} % of the {what} of the disk at {disk.path} are free, and "
                f"{self._min_free_percent:g} % must stay so (MIN_FREE_PERCENT).",
                hint="Remove environments or bundles, or deploy on another host.",
            )

    async def _require_of_records(self) -> None:
        if self._store.short_of_room:
            # There may be room again by now.
            await self._store.check()
        if reason := self._store.short_of_room:
            raise StorageFull(reason, hint="Remove environments, or make room on it.")

    async def make_room(self) -> FileSystem | None:
        """Clears away what nobody needs while a disk is short; the disk that still is."""
        async with self._reclaiming:
            while (disk := await self.short()) is not None:
                try:
                    if not await self._reclaim():
                        return disk
                except AgentError as fault:
                    self._log.warning("no room made", path=disk.path, reason=fault.detail)
                    return disk
        return None


def _least_free(disk: FileSystem) -> tuple[float, str]:
    """What a disk is shortest of: how much of it is free, in percent, and its name."""
    return min((disk.free_bytes_percent, "bytes"), (disk.free_inodes_percent, "inodes"))

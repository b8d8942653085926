"""Orders for single containers, and volumes, that are being carried out: none stays half done."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import msgspec

from domain.container_orders import ORDER_LABEL, OpenOrder
from domain.errors import AgentError, EngineUnavailable, ResourceConflict, ResourceNotFound
from domain.ports.clock import Clock
from domain.ports.container_changes import ContainerChanges
from domain.ports.container_details import ContainerLookup
from domain.ports.engine_volumes import EngineVolumes
from domain.ports.log import Log
from domain.ports.store import OpenOrderRecords

UNDO_SECONDS = 30.0
"""How long whoever asked may be kept by clearing away what could not be made or started."""

LATE = timedelta(seconds=60)
"""How long the Engine may still bring what it was asked for by a call that was cut off."""


class OpenOrders:
    """Writes each order down before anything is done for it, and undoes those that were cut off."""

    def __init__(
        self,
        *,
        records: OpenOrderRecords,
        changes: ContainerChanges,
        lookup: ContainerLookup,
        volumes: EngineVolumes,
        clock: Clock,
        log: Log,
    ) -> None:
        self._records = records
        self._changes = changes
        self._lookup = lookup
        self._volumes = volumes
        self._clock = clock
        self._log = log
        self._at_work: set[str] = set()
        self._changing = anyio.Lock()
        """So that no record comes back that was taken away meanwhile: its container would go."""

    @asynccontextmanager
    async def carrying_out(self, name: str, volumes: Sequence[str] = ()) -> AsyncIterator[str]:
        """The mark that what is made must bear in ``ORDER_LABEL``.

        Where the block fails, or the agent is killed in it, container and volumes go again; what
        was there before does not bear the mark, and stays.

        Args:
            name: of the container; empty where volumes are made for something else.
            volumes: that it asks for, by their names.

        Raises:
            StoreUnavailable: the order cannot be written down, or that it is done; nothing stands.
        """
        order = OpenOrder(
            mark=self._clock.new_id(), name=name, volumes=tuple(volumes), at=self._clock.now()
        )
        # Before it is written down, so that nobody takes it for one that was cut off.
        self._at_work.add(order.mark)
        try:
            await self._leave_to(order)
            await self._records.put(order)
            yield order.mark
            await self._forget(order.mark)
        except BaseException as fault:
            told = isinstance(fault, AgentError) and not isinstance(fault, EngineUnavailable)
            with anyio.move_on_after(UNDO_SECONDS, shield=True):
                await self._undo(order, may_come=not told, mounted=not name)
            raise
        finally:
            self._at_work.discard(order.mark)

    async def clear(self, *, restores: bool = False) -> None:
        """Undoes what was cut off, in this life of the agent or an earlier one.

        What cannot be undone now is left to the next time.

        Args:
            restores: volumes that were made to be restored, instead of containers; only once
                nothing of the agent's own mounts them any more.

        Raises:
            StoreUnavailable: nobody knows what was.
        """
        for order in await self._records.list():
            if order.mark in self._at_work or restores is bool(order.name):
                continue
            # It may have been done since they were listed; then its record has gone.
            if await self._records.get(order.mark) is not None:
                late = self._clock.now() - order.at > LATE
                await self._undo(order, may_come=not late)

    async def _leave_to(self, newer: OpenOrder) -> None:
        """Volumes that a newer order asks for are its own, and may soon hold something."""
        if not newer.volumes:
            return
        async with self._changing:
            for order in await self._records.list():
                rest = tuple(name for name in order.volumes if name not in newer.volumes)
                if rest != order.volumes:
                    await self._records.put(msgspec.structs.replace(order, volumes=rest))

    async def _forget(self, mark: str) -> None:
        async with self._changing:
            await self._records.remove(mark)

    async def _undo(self, order: OpenOrder, *, may_come: bool, mounted: bool = False) -> None:
        """Removes what was made; the order is forgotten when nothing of it is to be removed later.

        Args:
            order: what was cut off.
            may_come: whether the Engine may still bring something of it.
            mounted: whether the agent itself may still mount its volumes; else those that are
                mounted are somebody's by now.
        """
        try:
            removed = await self._removed(order)
            if order.name and not removed and may_come:
                # It would bring its volumes with it.
                return
            known = await self._records.get(order.mark)
            for volume in known.volumes if known is not None else ():
                gone = await self._volume_gone(volume, order.mark)
                may_come = may_come or (mounted and gone is None)
                removed = removed or (gone is True and not order.name)
            if removed:
                kind, name = ("container", order.name) if order.name else ("volume", *order.volumes)
                self._log.warning(f"{kind} that was not done is cleared away", name=name)
            elif may_come:
                return
            await self._forget(order.mark)
        except AgentError as fault:
            self._log.info(
                "what was not done is not cleared away",
                container=order.name,
                volumes=",".join(order.volumes),
                reason=fault.detail,
            )

    async def _removed(self, order: OpenOrder) -> bool:
        """Whether there was a container to remove."""
        if not order.name:
            return False
        try:
            found = await self._lookup.inspect(order.name)
        except ResourceNotFound:
            return False
        if found.labels.get(ORDER_LABEL) != order.mark:
            return False
        await self._changes.remove(found.id, force=True, volumes=True)
        return True

    async def _volume_gone(self, name: str, mark: str) -> bool | None:
        """Whether it was removed; False where there was none to remove, None if it is mounted."""
        try:
            if (await self._volumes.inspect(name)).labels.get(ORDER_LABEL) != mark:
                return False
            await self._volumes.remove(name)
        except ResourceNotFound:
            return False
        except ResourceConflict:
            return None
        return True

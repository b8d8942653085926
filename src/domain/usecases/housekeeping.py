"""Clears away what nobody needs any more: old records, unused bundles, unused images."""

from datetime import timedelta

import msgspec

from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.runtime import Engine
from domain.ports.store import Store
from domain.usecases.audit import AuditTrail
from domain.usecases.builds import Builds
from domain.usecases.library import Library
from domain.usecases.open_orders import OpenOrders
from domain.usecases.space import Space
from domain.usecases.timekeeping import Timekeeping

KEEP_OPERATIONS = 10_000
"""How many ended operations are remembered at most."""

KEEP_EVENT_BYTES = 64 * 1024 * 1024
"""How much of what operations printed is remembered at most, the newest first."""

KEEP_ENTRIES = 1_000
"""How many entries of one environment's timeline are remembered at most."""


class HousekeepingRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long things stay that nobody uses."""

    operation_seconds: float
    bundle_seconds: float
    image_seconds: float


class Housekeeping:
    """Runs now and then."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        audit: AuditTrail,
        builds: Builds,
        timekeeping: Timekeeping,
        orders: OpenOrders,
        clock: Clock,
        log: Log,
        rules: HousekeepingRules,
    ) -> None:
        self._store = store
        self._engine = engine
        self._audit = audit
        self._builds = builds
        self._timekeeping = timekeeping
        self._orders = orders
        self._clock = clock
        self._log = log
        self._rules = rules
        self._cache_cleared = False

    async def tick(self, library: Library, space: Space) -> None:
        """Clears away what is old enough, and more while a disk is short."""
        # Else a clock that was just set would make everything old at once.
        await self._timekeeping.settle()
        await self._orders.clear()
        old = self._clock.now() - timedelta(seconds=self._rules.operation_seconds)
        await self._store.operations.prune(
            KEEP_OPERATIONS, before=old, event_bytes=KEEP_EVENT_BYTES
        )
        await self._store.timeline.prune(before=old, keep=KEEP_ENTRIES)
        await self._audit.prune()
        for record in await self._store.environments.list():
            if not record.deployed and record.updated_at < old:
                await self._store.environments.remove(record.name)
        await library.collect(unused_seconds=self._rules.bundle_seconds)
        await self._builds.collect(unused_seconds=self._rules.image_seconds)
        await self._store.compact()
        if await space.make_room() is None:
            self._cache_cleared = False

    async def reclaim(self) -> bool:
        """Makes room: first the image that was unused for longest, then the cache of builds.

        Says whether it found anything.
        """
        if await self._builds.collect_oldest():
            return True
        if self._cache_cleared:
            return False
        # Once, until there is room again: it is soon empty, and slow to look through.
        self._cache_cleared = True
        freed = await self._engine.prune_build_cache()
        self._log.info("build cache cleared, as a disk is short", freed_bytes=freed)
        return freed > 0

"""The cache of an in-memory builder."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from adapters.memory.engine import MemoryEngine
from domain.build_cache import CacheEntry, PrunedCache, prunable

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryBuildCache:
    """Twin of ``DockerBuildCache``.

    Args:
        engine: holds the cache.
        now: the time of day.
    """

    def __init__(self, engine: MemoryEngine, now: Callable[[], datetime] = lambda: _FIRST) -> None:
        self._engine = engine
        self._now = now

    async def entries(self) -> Sequence[CacheEntry]:
        """All that is kept, sorted by identifier."""
        await self._engine.answer("list the cache of builds")
        return sorted(self._engine.build_cache.values(), key=lambda entry: entry.id)

    async def prune(self, *, all_unused: bool, unused_seconds: float | None = None) -> PrunedCache:
        """Removes what no build uses now."""
        age = None if unused_seconds is None else timedelta(seconds=unused_seconds)
        before = None if age is None else self._now() - age
        gone: list[CacheEntry] = []

        def remove() -> None:
            entries = sorted(self._engine.build_cache.values(), key=lambda entry: entry.id)
            gone.extend(prunable(entries, all_unused=all_unused, before=before))
            for entry in gone:
                del self._engine.build_cache[entry.id]

        await self._engine.answer("prune the cache of builds", remove)
        return PrunedCache(
            ids=tuple(entry.id for entry in gone),
            reclaimed_bytes=sum(entry.size_bytes for entry in gone),
        )

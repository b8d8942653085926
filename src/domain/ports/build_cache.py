"""What builds left to be quicker the next time.

All may raise ``EngineUnavailable`` when the Engine does not answer in time, and ``EngineRefused``
when it answers with an error of its own.
"""

from collections.abc import Sequence
from typing import Protocol

from domain.build_cache import CacheEntry, PrunedCache


class BuildCache(Protocol):
    """The builder's cache."""

    async def entries(self) -> Sequence[CacheEntry]:
        """All that is kept, sorted by identifier."""
        ...

    async def prune(self, *, all_unused: bool, unused_seconds: float | None = None) -> PrunedCache:
        """Removes what no build uses now; later builds take longer for it.

        Args:
            all_unused: also what images have, too, and the builder's own.
            unused_seconds: only what was not used for so long. The builder counts what a build has
                just made and not yet used as old, so that it may go, too.
        """
        ...

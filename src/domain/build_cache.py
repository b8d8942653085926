"""What builds left to be quicker the next time."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

_NEEDED_BY_BUILDER = frozenset({"internal", "frontend"})
"""Kinds that go only when all is to go."""


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a build that is kept."""

    id: str
    parents: tuple[str, ...] = ()
    """Entries that this one stands on."""
    kind: str = "regular"
    description: str = ""
    in_use: bool = False
    shared: bool = False
    """Whether images have its content, too, so that its removal frees nothing."""
    size_bytes: int = 0
    used_at: datetime | None = None
    """When it was last used, or made."""


class PrunedCache(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that went."""

    ids: tuple[str, ...]
    reclaimed_bytes: int


def prunable(
    entries: Sequence[CacheEntry], *, all_unused: bool, before: datetime | None = None
) -> Sequence[CacheEntry]:
    """The entries that a pruning takes, in the order they came.

    One that another stands on stays with that one.

    Args:
        entries: all there are.
        all_unused: also those whose content images have, and the builder's own.
        before: only those that were not used since.
    """
    going = {one.id: one for one in entries if _unneeded(one, all_unused, before)}
    while staying := {
        parent
        for one in entries
        if one.id not in going
        for parent in one.parents
        if parent in going
    }:
        for each in staying:
            del going[each]
    return list(going.values())


def _unneeded(entry: CacheEntry, all_unused: bool, before: datetime | None) -> bool:
    if entry.in_use:
        return False
    if not all_unused and (entry.shared or entry.kind in _NEEDED_BY_BUILDER):
        return False
    return before is None or (entry.used_at is not None and entry.used_at < before)

"""Clears away what nobody needs, of all kinds at once, or tells what would go."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import anyio
import msgspec

from domain.errors import AgentError, RequestUnreadable
from domain.usecases.operations import Operations


class PruneKind(StrEnum):
    """What can be cleared away."""

    CONTAINERS = "containers"
    NETWORKS = "networks"
    VOLUMES = "volumes"
    IMAGES = "images"
    BUILD_CACHE = "build-cache"


UNLESS_NAMED = frozenset({PruneKind.VOLUMES})
"""What goes only where somebody says so: data cannot be made anew."""


class SystemPruneWish(msgspec.Struct, frozen=True, kw_only=True):
    """What shall go."""

    kinds: frozenset[PruneKind] = frozenset()
    """Empty for all but those that must be named."""
    dry_run: bool = False
    all_unused: bool = False
    """Also images and volumes that have names, and build cache whose content images have."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of them. Build cache has none, and stays where some are asked
    for."""
    before: datetime | None = None
    """Only what was made before; of build cache, what was not used since."""


class PrunedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that went, or would go."""

    id: str
    name: str = ""
    size_bytes: int = 0


class KeptItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that could not go."""

    id: str
    name: str
    reason: str


class KindPruned(msgspec.Struct, frozen=True, kw_only=True):
    """What went of one kind, or would go."""

    kind: PruneKind
    items: tuple[PrunedItem, ...] = ()
    kept: tuple[KeptItem, ...] = ()
    reclaimed_bytes: int = 0
    """Less than the sum of the items where they share something, or others have it, too."""
    fault: str = ""
    """Why it was left in the middle."""


class SystemPruned(msgspec.Struct, frozen=True, kw_only=True):
    """What went of all kinds, or would go."""

    dry_run: bool
    kinds: tuple[KindPruned, ...]
    reclaimed_bytes: int


class PrunableKind(Protocol):
    """Clears away one kind; never what belongs to an environment, the agent or a running change."""

    kind: PruneKind

    async def prune(self, wish: SystemPruneWish, gone: Collection[str]) -> KindPruned:
        """Removes what is wished for, or tells what would go.

        Args:
            wish: what shall go.
            gone: identifiers of containers that went just now, or would have gone by now: what only
                they use is not used.

        Raises:
            EngineUnavailable: the Engine does not answer.
            EngineRefused: it answers with an error.
        """
        ...


class SystemPruning:
    """Clears away one kind after another.

    Args:
        kinds: in this order: what a container used can go after it, and build cache before images,
            so that what both have is counted once and a dry run can tell all that goes.
        operations: know whether the agent works.
    """

    def __init__(self, kinds: Sequence[PrunableKind], operations: Operations) -> None:
        self._kinds = kinds
        self._operations = operations
        self._one_at_a_time = anyio.Lock()

    async def prune(self, wish: SystemPruneWish) -> SystemPruned:
        """Removes what is wished for, or tells what would go.

        Where the Engine fails in the middle, the kind that it failed at says so, and those after it
        are left alone.

        Raises:
            RequestUnreadable: a kind was named that this agent does not clear away.
            NotAccepting: the agent is starting or stopping.
            EngineUnavailable: the Engine does not answer, and nothing has gone.
            EngineRefused: it answers with an error, and nothing has gone.
        """
        self._operations.require_open()
        chosen = self._chosen(wish.kinds)
        async with self._one_at_a_time:
            done: list[KindPruned] = []
            for kind in chosen:
                try:
                    done.append(await kind.prune(wish, _containers(done)))
                except AgentError as fault:
                    if wish.dry_run or not any(each.items for each in done):
                        raise
                    done.append(KindPruned(kind=kind.kind, fault=fault.detail))
                    break
        return SystemPruned(
            dry_run=wish.dry_run,
            kinds=tuple(done),
            reclaimed_bytes=sum(each.reclaimed_bytes for each in done),
        )

    def _chosen(self, named: Collection[PruneKind]) -> Sequence[PrunableKind]:
        known = {kind.kind for kind in self._kinds}
        if unknown := sorted(set(named) - known):
            raise RequestUnreadable(
                f"This agent does not prune {', '.join(unknown)}.",
                hint=f"It does prune {', '.join(sorted(known))}.",
            )
        wanted = named or known - UNLESS_NAMED
        return [kind for kind in self._kinds if kind.kind in wanted]


def _containers(done: Sequence[KindPruned]) -> frozenset[str]:
    found = [each.items for each in done if each.kind is PruneKind.CONTAINERS]
    return frozenset(item.id for items in found for item in items)

"""Containers, networks, volumes, images and build cache as kinds of what can be cleared away."""

from collections.abc import Collection

from domain.build_cache import CacheEntry, prunable
from domain.ports.build_cache import BuildCache
from domain.ports.clock import Clock
from domain.usecases.container_pruning import ContainerPruning, PruneWish
from domain.usecases.image_pruning import ImagePruning
from domain.usecases.network_pruning import NetworkPruneWish, NetworkPruning
from domain.usecases.system_pruning import (
    KeptItem,
    KindPruned,
    PrunedItem,
    PruneKind,
    SystemPruneWish,
)
from domain.usecases.volume_pruning import VolumePruneWish, VolumePruning

_LONGEST_DESCRIPTION = 200


class PrunableContainers:
    """Containers that have stopped."""

    kind = PruneKind.CONTAINERS

    def __init__(self, pruning: ContainerPruning) -> None:
        self._pruning = pruning

    async def prune(
        self,
        wish: SystemPruneWish,
        gone: Collection[str],  # noqa: ARG002 - they come first
    ) -> KindPruned:
        """Removes those that belong to no environment."""
        done = await self._pruning.prune(
            PruneWish(labels=wish.labels, before=wish.before, dry_run=wish.dry_run)
        )
        return KindPruned(
            kind=self.kind,
            items=tuple(
                PrunedItem(id=one.id, name=one.name, size_bytes=one.size_bytes)
                for one in done.containers
            ),
            kept=tuple(KeptItem(id=k.id, name=k.name, reason=k.reason) for k in done.kept),
            reclaimed_bytes=done.space_reclaimed_bytes,
        )


class PrunableNetworks:
    """Networks that nobody is in."""

    kind = PruneKind.NETWORKS

    def __init__(self, pruning: NetworkPruning) -> None:
        self._pruning = pruning

    async def prune(self, wish: SystemPruneWish, gone: Collection[str]) -> KindPruned:
        """Removes those that no container is in and no environment owns."""
        done = await self._pruning.prune(
            NetworkPruneWish(labels=wish.labels, before=wish.before, dry_run=wish.dry_run),
            without=gone,
        )
        return KindPruned(
            kind=self.kind,
            items=tuple(PrunedItem(id=one.id, name=one.name) for one in done.networks),
            kept=tuple(KeptItem(id=k.id, name=k.name, reason=k.reason) for k in done.kept),
        )


class PrunableVolumes:
    """Volumes whose name Docker made up, or all that nobody mounts."""

    kind = PruneKind.VOLUMES

    def __init__(self, pruning: VolumePruning) -> None:
        self._pruning = pruning

    async def prune(self, wish: SystemPruneWish, gone: Collection[str]) -> KindPruned:
        """Removes those that no container mounts and no environment owns."""
        done = await self._pruning.prune(
            VolumePruneWish(
                all_unused=wish.all_unused,
                labels=wish.labels,
                before=wish.before,
                dry_run=wish.dry_run,
            ),
            without=gone,
        )
        return KindPruned(
            kind=self.kind,
            items=tuple(
                PrunedItem(id=one.name, name=one.name, size_bytes=one.size_bytes)
                for one in done.volumes
            ),
            kept=tuple(KeptItem(id=k.name, name=k.name, reason=k.reason) for k in done.kept),
            reclaimed_bytes=done.space_reclaimed_bytes,
        )


class PrunableImages:
    """Images without a name, or all that nobody uses."""

    kind = PruneKind.IMAGES

    def __init__(self, pruning: ImagePruning) -> None:
        self._pruning = pruning

    async def prune(self, wish: SystemPruneWish, gone: Collection[str]) -> KindPruned:
        """Removes those that no container, environment or running change needs."""
        work = self._pruning.plan if wish.dry_run else self._pruning.prune
        done = await work(
            all_unused=wish.all_unused, labels=wish.labels, before=wish.before, without=gone
        )
        return KindPruned(
            kind=self.kind,
            items=tuple(
                PrunedItem(id=i.id, name=", ".join(i.repo_tags), size_bytes=i.size_bytes)
                for i in done.images
            ),
            reclaimed_bytes=done.reclaimed_bytes,
        )


class PrunableBuildCache:
    """What builds left to be quicker the next time."""

    kind = PruneKind.BUILD_CACHE

    def __init__(self, cache: BuildCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    async def prune(
        self,
        wish: SystemPruneWish,
        gone: Collection[str],  # noqa: ARG002 - no container uses it
    ) -> KindPruned:
        """Removes what no build uses now; nothing where labels are asked for, as it has none."""
        if wish.labels:
            return KindPruned(kind=self.kind)
        entries = {entry.id: entry for entry in await self._cache.entries()}
        if wish.dry_run:
            going = prunable(list(entries.values()), all_unused=wish.all_unused, before=wish.before)
            return self._pruned([entry.id for entry in going], entries)
        seconds = None
        if wish.before is not None:
            seconds = max(0.0, (self._clock.now() - wish.before).total_seconds())
        done = await self._cache.prune(all_unused=wish.all_unused, unused_seconds=seconds)
        return self._pruned(done.ids, entries)

    def _pruned(self, ids: Collection[str], entries: dict[str, CacheEntry]) -> KindPruned:
        gone = [entries.get(each, CacheEntry(id=each)) for each in sorted(ids)]
        return KindPruned(
            kind=self.kind,
            items=tuple(_item(entry) for entry in gone),
            # The Engine counts what images keep, too.
            reclaimed_bytes=sum(entry.size_bytes for entry in gone if not entry.shared),
        )


def _item(entry: CacheEntry) -> PrunedItem:
    name = entry.description[:_LONGEST_DESCRIPTION]
    return PrunedItem(id=entry.id, name=name, size_bytes=entry.size_bytes)

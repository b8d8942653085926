"""Clears away containers that have stopped and belong to no environment."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from domain.arrangement import ENVIRONMENT_LABEL
from domain.containers import HELPER_LABEL, PROJECT_LABEL, Container, ContainerState
from domain.errors import ResourceConflict, ResourceNotFound
from domain.ports.clock import Clock
from domain.ports.container_changes import ContainerChanges
from domain.ports.container_details import ContainerLookup
from domain.ports.store import Environments
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_list import labelled
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations

_STOPPED = frozenset({ContainerState.CREATED, ContainerState.EXITED, ContainerState.DEAD})

_RIPE_AFTER = timedelta(minutes=5)
"""One that was made just now, and has not run, may be about to."""


class PruneWish(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the stopped containers shall go."""

    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of them."""
    before: datetime | None = None
    """Only those that were made before."""
    dry_run: bool = False


class PrunedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container that went, or would go."""

    id: str
    name: str
    image: str
    state: ContainerState
    size_bytes: int
    """Of its own layer."""


class KeptContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container that could not go."""

    id: str
    name: str
    reason: str


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What a pruning did, or would do."""

    dry_run: bool
    containers: tuple[PrunedContainer, ...]
    kept: tuple[KeptContainer, ...]
    space_reclaimed_bytes: int


class ContainerPruning:
    """Removes stopped containers one by one, never one that runs by now."""

    def __init__(
        self,
        *,
        access: ContainerAccess,
        changes: ContainerChanges,
        lookup: ContainerLookup,
        environments: Environments,
        operations: Operations,
        inventory: InventoryWatch,
        clock: Clock,
    ) -> None:
        self._access = access
        self._changes = changes
        self._lookup = lookup
        self._environments = environments
        self._operations = operations
        self._inventory = inventory
        self._clock = clock

    async def prune(self, wish: PruneWish) -> Pruned:
        """Removes what is wished for, or tells what would go.

        Raises:
            EngineUnavailable: the Engine does not answer.
            NotAccepting: the agent is starting or stopping, so that what belongs to environments
                is not known for sure.
        """
        self._operations.require_open()
        candidates = await self._candidates(wish)
        sizes = await self._lookup.sizes() if candidates else {}
        kept: list[KeptContainer] = []
        gone: list[Container] = []
        for container in candidates:
            reason = "" if wish.dry_run else await self._remove(container)
            if reason:
                kept.append(KeptContainer(id=container.id, name=container.name, reason=reason))
            else:
                gone.append(container)
        if not wish.dry_run:
            await self._inventory.refresh()
        return _pruned(wish, gone, kept, sizes)

    async def _candidates(self, wish: PruneWish) -> Sequence[Container]:
        picture = await self._inventory.refresh()
        ripe = self._clock.now() - _RIPE_AFTER
        known = {str(record.name) for record in await self._environments.list()}
        return [
            container
            for container in picture.containers
            if container.state in _STOPPED
            and (container.state is not ContainerState.CREATED or _older(container, ripe))
            and not self._access.is_own(container.id)
            and HELPER_LABEL not in container.labels
            and not _of_environment(container, known)
            and all(labelled(container.labels, text) for text in wish.labels)
            and _older(container, wish.before)
        ]

    async def _remove(self, container: Container) -> str:
        """Why it could not be removed; empty where it could."""
        try:
            await self._changes.remove(container.id, force=False, volumes=False)
        except ResourceNotFound:
            return ""
        except ResourceConflict as fault:
            return fault.message
        return ""


def _of_environment(container: Container, known: set[str]) -> bool:
    """Whether it belongs to one that is known, or bears the label of any: deploys are under way."""
    return ENVIRONMENT_LABEL in container.labels or container.labels.get(PROJECT_LABEL) in known


def _older(container: Container, before: datetime | None) -> bool:
    if before is None:
        return True
    return container.created_at is not None and container.created_at < before


def _pruned(
    wish: PruneWish,
    gone: Sequence[Container],
    kept: Sequence[KeptContainer],
    sizes: Mapping[str, int],
) -> Pruned:
    containers = tuple(
        PrunedContainer(
            id=container.id,
            name=container.name,
            image=container.image,
            state=container.state,
            size_bytes=sizes.get(container.id, 0),
        )
        for container in gone
    )
    return Pruned(
        dry_run=wish.dry_run,
        containers=containers,
        kept=tuple(kept),
        space_reclaimed_bytes=sum(container.size_bytes for container in containers),
    )

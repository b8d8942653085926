"""Clears away volumes that nobody mounts and that belong to no environment."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from domain.arrangement import ENVIRONMENT_LABEL
from domain.containers import PROJECT_LABEL
from domain.engine_volumes import EngineVolume
from domain.errors import ResourceConflict, ResourceNotFound
from domain.ports.engine_volumes import EngineVolumes
from domain.ports.store import Environments
from domain.usecases.operations import Operations
from domain.usecases.volumes import HostVolumes, OwnedVolume, VolumeFilter


class VolumePruneWish(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the unused volumes shall go."""

    all_unused: bool = False
    """Also those that somebody gave a name; else only those whose name Docker made up."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of them."""
    before: datetime | None = None
    """Only those that were made before."""
    dry_run: bool = False


class PrunedVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that went, or would go."""

    name: str
    size_bytes: int
    """Of what it held; 0 where the Engine cannot tell."""


class KeptVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that could not go."""

    name: str
    reason: str


class PrunedVolumes(msgspec.Struct, frozen=True, kw_only=True):
    """What a pruning did, or would do."""

    dry_run: bool
    volumes: tuple[PrunedVolume, ...]
    """By name."""
    kept: tuple[KeptVolume, ...]
    space_reclaimed_bytes: int


class VolumePruning:
    """Removes unused volumes one by one, never one that somebody mounts by now."""

    def __init__(
        self,
        *,
        host_volumes: HostVolumes,
        volumes: EngineVolumes,
        environments: Environments,
        operations: Operations,
    ) -> None:
        self._host_volumes = host_volumes
        self._volumes = volumes
        self._environments = environments
        self._operations = operations

    async def prune(self, wish: VolumePruneWish, *, without: Collection[str] = ()) -> PrunedVolumes:
        """Removes what is wished for, or tells what would go.

        Args:
            wish: what shall go.
            without: identifiers of containers that went just now, or would have gone by now: what
                only they mount is not used.

        Raises:
            EngineUnavailable: the Engine does not answer.
            NotAccepting: the agent is starting or stopping, so that what belongs to environments
                is not known for sure.
        """
        self._operations.require_open()
        candidates = await self._candidates(wish, without)
        sizes = await self._volumes.sizes() if candidates else {}
        kept: list[KeptVolume] = []
        gone: list[PrunedVolume] = []
        for volume in candidates:
            reason = "" if wish.dry_run else await self._remove(volume)
            if reason:
                kept.append(KeptVolume(name=volume.name, reason=reason))
            else:
                size = sizes.get(volume.name, 0)
                gone.append(PrunedVolume(name=volume.name, size_bytes=size))
        return PrunedVolumes(
            dry_run=wish.dry_run,
            volumes=tuple(gone),
            kept=tuple(kept),
            space_reclaimed_bytes=sum(volume.size_bytes for volume in gone),
        )

    async def _candidates(
        self, wish: VolumePruneWish, without: Collection[str]
    ) -> Sequence[EngineVolume]:
        known = {str(record.name) for record in await self._environments.list()}
        return [
            found.volume
            for found in await self._host_volumes.list(VolumeFilter(labels=wish.labels))
            if all(user.id in without for user in found.users)
            and (wish.all_unused or found.volume.anonymous)
            and not _of_environment(found, known)
            and _older(found.volume, wish.before)
        ]

    async def _remove(self, volume: EngineVolume) -> str:
        """Why it could not be removed; empty where it could."""
        try:
            await self._volumes.remove(volume.name)
        except ResourceNotFound:
            return ""
        except ResourceConflict as fault:
            return fault.message
        return ""


def _of_environment(found: OwnedVolume, known: set[str]) -> bool:
    """Whether it belongs to one that is known, or bears the label of any: deploys are under way."""
    labels = found.volume.labels
    return ENVIRONMENT_LABEL in labels or labels.get(PROJECT_LABEL) in known


def _older(volume: EngineVolume, before: datetime | None) -> bool:
    if before is None:
        return True
    return volume.created_at is not None and volume.created_at < before

"""Clears away networks that nobody is in and that belong to no environment."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.containers import PROJECT_LABEL
from domain.engine_networks import EngineNetwork
from domain.errors import ResourceConflict, ResourceNotFound
from domain.ports.engine_networks import EngineNetworks
from domain.ports.store import Environments
from domain.usecases.networks import HostNetworks, NetworkFilter
from domain.usecases.operations import Operations


class NetworkPruneWish(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the unused networks shall go."""

    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of them."""
    before: datetime | None = None
    """Only those that were made before."""
    dry_run: bool = False


class PrunedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network that went, or would go."""

    id: str
    name: str
    driver: str


class KeptNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network that could not go."""

    id: str
    name: str
    reason: str


class PrunedNetworks(msgspec.Struct, frozen=True, kw_only=True):
    """What a pruning did, or would do."""

    dry_run: bool
    networks: tuple[PrunedNetwork, ...]
    """By name."""
    kept: tuple[KeptNetwork, ...]


class NetworkPruning:
    """Removes unused networks one by one, never one that somebody has joined by now.

    A stopped container counts as in its networks, as it could not start again without them. What
    the agent made for itself stays.
    """

    def __init__(
        self,
        *,
        host_networks: HostNetworks,
        networks: EngineNetworks,
        environments: Environments,
        operations: Operations,
    ) -> None:
        self._host_networks = host_networks
        self._networks = networks
        self._environments = environments
        self._operations = operations

    async def prune(
        self, wish: NetworkPruneWish, *, without: Collection[str] = ()
    ) -> PrunedNetworks:
        """Removes what is wished for, or tells what would go.

        Args:
            wish: what shall go.
            without: identifiers of containers that went just now, or would have gone by now: what
                only they are in is not used.

        Raises:
            EngineUnavailable: the Engine does not answer.
            NotAccepting: the agent is starting or stopping, so that what belongs to environments
                is not known for sure.
        """
        self._operations.require_open()
        kept: list[KeptNetwork] = []
        gone: list[PrunedNetwork] = []
        for network in await self._candidates(wish, without):
            reason = "" if wish.dry_run else await self._remove(network)
            if reason:
                kept.append(KeptNetwork(id=network.id, name=network.name, reason=reason))
            else:
                gone.append(PrunedNetwork(id=network.id, name=network.name, driver=network.driver))
        return PrunedNetworks(dry_run=wish.dry_run, networks=tuple(gone), kept=tuple(kept))

    async def _candidates(
        self, wish: NetworkPruneWish, without: Collection[str]
    ) -> Sequence[EngineNetwork]:
        unused = await self._host_networks.list(
            NetworkFilter(labels=wish.labels, unused=True), without=without
        )
        known = {str(record.name) for record in await self._environments.list()}
        return [
            one.network
            for one in unused
            if not one.network.predefined
            and not one.network.labels.keys() & {ENVIRONMENT_LABEL, WORKSPACE_LABEL}
            and one.network.labels.get(PROJECT_LABEL) not in known
            and _older(one.network, wish.before)
        ]

    async def _remove(self, network: EngineNetwork) -> str:
        """Why it could not be removed; empty where it could."""
        try:
            await self._networks.remove(network.id)
        except ResourceNotFound:
            return ""
        except ResourceConflict as fault:
            return fault.message
        return ""


def _older(network: EngineNetwork, before: datetime | None) -> bool:
    if before is None:
        return True
    return network.created_at is not None and network.created_at < before

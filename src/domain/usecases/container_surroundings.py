"""The networks and volumes that single containers are joined to."""

import hashlib
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network

import anyio
import msgspec

from domain.arrangement import WORKSPACE_LABEL
from domain.compose_policy import PolicyRules
from domain.container_orders import (
    ALONE,
    ORDER_LABEL,
    ContainerOrder,
    MountKind,
    MountOrder,
    NetworkOrder,
)
from domain.engine_volumes import VolumeOrder
from domain.errors import ResourceConflict, ResourceNotFound
from domain.findings import Finding
from domain.ports.container_surroundings import (
    ContainerSurroundings,
    JoinableNetwork,
    MountableVolume,
)
from domain.ports.engine_volumes import EngineVolumes
from domain.references import name_or_id
from domain.usecases.addresses import Addresses
from domain.usecases.ownership import Ownership
from domain.usecases.protection import Protection

_ROOM = 253
"""For how many containers a network has room at most whose addresses the agent chooses."""

_LEAST_ROOM = 13
_PART_OF_POOL = 16
_NOT_FOR_CONTAINERS = 3


class Surroundings:
    """Gives single containers a network apart, and judges those that they name.

    Those that name none share one network of the pool. Its containers cannot reach each other; the
    firewall keeps them from the host and from environments, as it does all of the pool.

    Args:
        workspace: the folder of the agent, by which agents on one Engine tell their things apart.
        own_container: the agent's own; None where it runs in none.
    """

    def __init__(
        self,
        *,
        surroundings: ContainerSurroundings,
        volumes: EngineVolumes,
        addresses: Addresses,
        ownership: Ownership,
        protection: Protection,
        rules: PolicyRules,
        workspace: str,
        own_container: str | None,
    ) -> None:
        self._surroundings = surroundings
        self._volumes = volumes
        self._own_container = own_container
        self._addresses = addresses
        self._ownership = ownership
        self._protection = protection
        self._rules = rules
        self._workspace = workspace
        self._one_at_a_time = anyio.Lock()
        marks = f"{workspace}\n{rules.pool}".encode()
        # No environment's network is named in upper case.
        self.apart = f"Containers-{hashlib.sha256(marks).hexdigest()[:12]}"
        """The name of the network of those that name none."""

    async def require_apart(self) -> None:
        """Returns when that network stands.

        Raises:
            NetworkPoolExhausted: there are no addresses for it.
            EngineUnavailable: the Engine does not answer.
        """
        async with self._one_at_a_time:
            if await self._surroundings.network(self.apart) is None:
                labels = {WORKSPACE_LABEL: self._workspace}
                make = partial(self._make, labels)
                await self._addresses.spare(room(self._rules.pool), make)
                self._protection.look_soon()

    async def _make(self, labels: dict[str, str], subnet: str) -> None:
        await self._surroundings.make_network(self.apart, subnet, labels)

    async def joined(self, order: ContainerOrder) -> ContainerOrder:
        """The same order with the network apart where it names none, which stands by then."""
        if order.networks:
            return order
        await self.require_apart()
        return msgspec.structs.replace(order, networks=(NetworkOrder(name=self.apart),))

    async def provide_volumes(self, order: ContainerOrder, mark: str) -> None:
        """Returns when the volumes stand that an order names; those that were not there are marked.

        The Engine would make them, too, but nobody could tell afterwards for whom.

        Raises:
            EngineUnavailable: the Engine does not answer.
        """
        for name in order.named_volumes:
            if await self._surroundings.volume(name_or_id("volume", name)) is None:
                await self._volumes.create(VolumeOrder(name=name, labels={ORDER_LABEL: mark}))

    async def judge(self, order: ContainerOrder, *, force: bool) -> tuple[Finding, ...]:
        """What is wrong about the networks and volumes that an order names.

        Args:
            order: names them.
            force: whoever asks knows that they belong to an environment.

        Raises:
            InvalidReference: a name is none.
            ResourceNotFound: a network is not there.
            ResourceOwned: one belongs to an environment, and nobody said so.
            ResourceConflict: a volume holds the agent's own records and keys.
        """
        findings: list[Finding] = []
        for index, network in enumerate(order.networks):
            if _is_name(network):
                findings += await self._network(f"networks[{index}]", network.name, force=force)
        for index, mount in enumerate(order.volumes):
            if mount.type is MountKind.VOLUME and mount.source:
                findings += await self._volume(f"volumes[{index}]", mount, force=force)
        return tuple(findings)

    async def _network(self, where: str, name: str, *, force: bool) -> Iterator[Finding]:
        found = await self._surroundings.network(name_or_id("network", name))
        if found is None:
            raise ResourceNotFound("network", name)
        await self._ownership.require_free("network", found.name, found.labels, force=force)
        owned = await self._ownership.owner(found.labels) is not None
        if owned or self._rules.trusted:
            return iter(())
        return unprotected(where, found, self._rules.pool)

    async def _volume(self, where: str, mount: MountOrder, *, force: bool) -> Iterator[Finding]:
        found = await self._surroundings.volume(name_or_id("volume", mount.source))
        if found is None:
            return iter(())
        users = (await self._volumes.users()).get(found.name, ())
        if self._own_container in {user.id for user in users}:
            raise ResourceConflict(
                f"Volume {found.name!r} holds the agent's own records and keys; no other container "
                "may mount it."
            )
        await self._ownership.require_free("volume", found.name, found.labels, force=force)
        return iter(()) if found.plain or self._rules.trusted else _elsewhere(where, found)


def unprotected(
    where: str, network: JoinableNetwork, pool: IPv4Network | None
) -> Iterator[Finding]:
    """A finding if the firewall does not keep what is in a network from the host.

    Args:
        where: it was named.
        network: the network.
        pool: addresses whose networks the firewall knows.
    """
    within = pool is not None and all(_within(one, pool) for one in network.subnets)
    if network.driver != "bridge" or not network.subnets or not within:
        yield Finding(
            where=where,
            what=network.name,
            why=f"It is no bridge network with addresses of {pool} (NETWORK_POOL), so nothing "
            "keeps its containers from the host's own services.",
            instead="Leave it away, or make a network with addresses of the pool.",
        )


def room(pool: IPv4Network | None) -> tuple[int, int]:
    """For how many containers a network has room whose addresses the agent chooses: a part of the
    pool, not all of it, or where that is not to be had, as many as are worth a network.
    """
    part = (pool.num_addresses if pool else 0) // _PART_OF_POOL - _NOT_FOR_CONTAINERS
    return max(_LEAST_ROOM, min(_ROOM, part)), _LEAST_ROOM


def _is_name(network: NetworkOrder) -> bool:
    """Whether it is a name, and no mode, which the policy judges."""
    modes = {ALONE, "host", "bridge", "default"}
    return network.name not in modes and ":" not in network.name


def _within(subnet: str, pool: IPv4Network) -> bool:
    try:
        return IPv4Network(subnet).subnet_of(pool)
    except ValueError:
        return False


def _elsewhere(where: str, volume: MountableVolume) -> Iterator[Finding]:
    yield Finding(
        where=where,
        what=volume.name,
        why="This volume has a driver or options that may lead to any folder of the host.",
        instead="Take a plain volume.",
    )

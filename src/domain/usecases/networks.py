"""The host's networks: shown, made and removed, within what this host allows."""

from collections.abc import Collection, Sequence
from typing import Any

import anyio
import msgspec

from domain.compose_policy import PolicyRules, judge_network
from domain.engine_networks import EngineNetwork, NetworkDetails, NetworkOrder
from domain.errors import PolicyRefused, ResourceConflict
from domain.findings import Finding
from domain.names import EnvironmentName
from domain.ports.engine_networks import EngineNetworks
from domain.references import name_or_id
from domain.usecases.addresses import Addresses
from domain.usecases.container_list import labelled
from domain.usecases.container_surroundings import room
from domain.usecases.ownership import Ownership
from domain.usecases.protection import Protection

_NETWORK = "network"


class OwnedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network, and the environment that it belongs to."""

    network: EngineNetwork
    environment: EnvironmentName | None = None
    unused: bool | None = None
    """Whether no container is in it, stopped ones counted; None where nobody looked."""


class NetworkFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which networks are wanted; what is None or empty lets all through."""

    name: str = ""
    """Part of a name."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of which a network must have."""
    driver: str = ""
    environment: str = ""
    unused: bool | None = None

    def takes(self, found: OwnedNetwork) -> bool:
        """Whether it lets a network through."""
        network = found.network
        return (
            self.name in network.name
            and all(labelled(network.labels, label) for label in self.labels)
            and self.driver in {"", network.driver}
            and self.environment in {"", found.environment}
            and self.unused in {None, found.unused}
        )


class HostNetworks:
    """Shows, makes and removes networks; those of environments only if somebody insists.

    Args:
        rules: what this host allows.
    """

    def __init__(
        self,
        *,
        networks: EngineNetworks,
        addresses: Addresses,
        ownership: Ownership,
        protection: Protection,
        rules: PolicyRules,
    ) -> None:
        self._networks = networks
        self._addresses = addresses
        self._ownership = ownership
        self._protection = protection
        self._rules = rules
        self._one_at_a_time = anyio.Lock()

    async def list(
        self, wanted: NetworkFilter, *, without: Collection[str] = ()
    ) -> Sequence[OwnedNetwork]:
        """Those that a filter lets through, sorted by name and then identifier.

        Args:
            wanted: the filter.
            without: identifiers of containers that do not count as in any.

        Raises:
            EngineUnavailable: the Engine does not answer.
        """
        asked = wanted.unused is not None
        in_use = await self._networks.in_use(without=without) if asked else None
        found = [await self._owned(one, in_use) for one in await self._networks.list()]
        return [network for network in found if wanted.takes(network)]

    async def _owned(
        self, network: EngineNetwork, in_use: frozenset[str] | None = None
    ) -> OwnedNetwork:
        return OwnedNetwork(
            network=network,
            environment=await self._ownership.owner(network.labels),
            unused=None if in_use is None else not {network.id, network.name} & in_use,
        )

    async def inspect(self, reference: str) -> tuple[OwnedNetwork, NetworkDetails]:
        """One, and the containers in it.

        Raises:
            InvalidReference: the text can name none.
            ResourceNotFound: there is none.
            ResourceAmbiguous: there are several.
        """
        details = await self._networks.inspect(name_or_id(_NETWORK, reference))
        return await self._owned(details.network), details

    async def changeable(self, reference: str, *, force: bool) -> OwnedNetwork:
        """One that may be changed.

        Raises:
            ResourceNotFound: there is none.
            ResourceOwned: it belongs to an environment, and nobody said so.
            ResourceConflict: Docker itself needs it.
        """
        owned, details = await self.inspect(reference)
        network = details.network
        if network.predefined:
            raise ResourceConflict(f"Network {network.name!r} is Docker's own.")
        await self._ownership.require_free(_NETWORK, network.name, network.labels, force=force)
        return owned

    async def create(self, order: NetworkOrder) -> tuple[OwnedNetwork, NetworkDetails]:
        """Makes one; its addresses are the agent's own where the order names none.

        Raises:
            RequestUnreadable: no network can be so.
            PolicyRefused: it asks for what this host does not allow.
            NetworkPoolExhausted: the agent has no addresses left.
            ResourceConflict: there is one of that name, or of those addresses.
        """
        name_or_id(_NETWORK, order.name)
        order.check()
        self._judge(order)
        async with self._one_at_a_time:
            # The Engine itself takes two networks of one name.
            if any(network.name == order.name for network in await self._networks.list()):
                raise ResourceConflict(f"There is a network {order.name!r} already.")
            made = await self._make(order)
        self._protection.look_soon()
        return await self.inspect(made)

    async def _make(self, order: NetworkOrder) -> str:
        if order.subnet:
            await self._addresses.require_free({"subnet": order.subnet})
            return await self._networks.create(order)
        made: list[str] = []

        async def make(subnet: str) -> None:
            given = msgspec.structs.replace(order, subnet=subnet)
            made.append(await self._networks.create(given))

        await self._addresses.spare(room(self._rules.pool), make)
        return made[0]

    def _judge(self, order: NetworkOrder) -> None:
        body: dict[str, Any] = {"driver": order.driver, "labels": order.labels}
        if order.options:
            body["driver_opts"] = order.options
        if order.subnet:
            body["ipam"] = {"config": [{"subnet": order.subnet}]}
        findings = judge_network(order.name, body, self._rules)
        if findings:
            raise PolicyRefused(tuple(map(_in_the_orders_words, findings)), asker="network")

    async def remove(self, reference: str, *, force: bool) -> None:
        """Removes one that nobody is in.

        Raises:
            ResourceOwned: it belongs to an environment.
            ResourceConflict: containers are in it, or Docker itself needs it.
        """
        owned = await self.changeable(reference, force=force)
        await self._networks.remove(owned.network.id)


def _in_the_orders_words(finding: Finding) -> Finding:
    where = finding.where.replace("ipam.config[0].subnet", "subnet")
    return msgspec.structs.replace(finding, where=where.replace("driver_opts", "options"))

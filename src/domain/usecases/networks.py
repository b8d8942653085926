"""The host's networks: shown, made, joined and removed, within what this host allows."""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.compose_policy import PolicyRules, judge
from domain.engine_networks import Attachment, EngineNetwork, NetworkDetails, NetworkOrder
from domain.errors import (
    PolicyRefused,
    RequestUnreadable,
    ResourceConflict,
    ResourceNotFound,
)
from domain.names import EnvironmentName
from domain.ports.engine_networks import EngineNetworks
from domain.references import name_or_id
from domain.usecases.addresses import Addresses
from domain.usecases.ownership import Ownership

SIZES = (253, 61, 13)
"""For how many containers a network has room whose addresses the agent chooses; the first that the
pool has."""

_NETWORK = "network"


class OwnedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network, and the environment that it belongs to."""

    network: EngineNetwork
    environment: EnvironmentName | None = None


class HostNetworks:
    """Changes networks; those of environments, and of Docker's own, only if somebody insists.

    Args:
        rules: what this host allows.
    """

    def __init__(
        self,
        *,
        networks: EngineNetworks,
        addresses: Addresses,
        ownership: Ownership,
        rules: PolicyRules,
    ) -> None:
        self._networks = networks
        self._addresses = addresses
        self._ownership = ownership
        self._rules = rules

    async def list(self) -> Sequence[OwnedNetwork]:
        """All, sorted by name and then identifier.

        Raises:
            EngineUnavailable: the Engine does not answer.
        """
        return [await self._owned(network) for network in await self._networks.list()]

    async def _owned(self, network: EngineNetwork) -> OwnedNetwork:
        owner = await self._ownership.owner(network.labels)
        return OwnedNetwork(network=network, environment=owner)

    async def inspect(self, reference: str) -> tuple[OwnedNetwork, NetworkDetails]:
        """One, and the running containers in it.

        Raises:
            InvalidReference: the text can name none.
            ResourceNotFound: there is none.
            ResourceAmbiguous: there are several.
        """
        details = await self._networks.inspect(name_or_id(_NETWORK, reference))
        return await self._owned(details.network), details

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
        # The Engine itself takes two networks of one name.
        if any(network.name == order.name for network in await self._networks.list()):
            raise ResourceConflict(f"There is a network {order.name!r} already.")
        made: list[str] = []

        async def make(subnet: str) -> None:
            given = msgspec.structs.replace(order, subnet=subnet)
            made.append(await self._networks.create(given))

        if order.subnet:
            await self._addresses.require_free({"subnet": order.subnet})
            await make(order.subnet)
        else:
            await self._addresses.spare(SIZES, make)
        return await self.inspect(made[0])

    def _judge(self, order: NetworkOrder) -> None:
        body: dict[str, Any] = {"driver": order.driver, "labels": order.labels}
        if order.subnet:
            body["ipam"] = {"config": [{"subnet": order.subnet}]}
        document = {"services": {}, "networks": {order.name: body}}
        findings = judge(document, self._rules, folder="")
        if findings:
            raise PolicyRefused(findings, asker="network")

    async def connect(self, reference: str, attachment: Attachment, *, force: bool) -> None:
        """Lets a container join.

        Raises:
            ResourceOwned: the network belongs to an environment.
            ResourceNotFound: there is no such network or container.
            ResourceConflict: it has joined already, or the address is taken.
        """
        network = await self._changeable(reference, force=force)
        name_or_id("container", attachment.container)
        for alias in attachment.aliases:
            if not alias.isascii() or not alias.replace("-", "").replace("_", "").isalnum():
                raise RequestUnreadable(f"{alias[:80]!r} cannot be an alias.")
        await self._networks.connect(network.id, attachment)

    async def disconnect(
        self, reference: str, container: str, *, cut_off: bool, force: bool
    ) -> None:
        """Takes a container out.

        Args:
            reference: the network.
            container: its name or identifier.
            cut_off: also one that the Engine does not know any more.
            force: also out of an environment's network.

        Raises:
            ResourceOwned: the network belongs to an environment.
            ResourceNotFound: there is no such network or container.
            ResourceConflict: it is not in the network.
        """
        network = await self._changeable(reference, force=force)
        await self._networks.disconnect(
            network.id, name_or_id("container", container), force=cut_off
        )

    async def remove(self, reference: str, *, force: bool) -> None:
        """Removes one that nobody is in.

        Raises:
            ResourceOwned: it belongs to an environment.
            ResourceConflict: containers are in it, or Docker itself needs it.
        """
        network = await self._changeable(reference, force=force)
        await self._networks.remove(network.id)

    async def _changeable(self, reference: str, *, force: bool) -> EngineNetwork:
        owned, details = await self.inspect(reference)
        if details.network.predefined:
            raise ResourceConflict(f"Network {details.network.name!r} is Docker's own.")
        await self._ownership.require_free(
            _NETWORK, details.network.name, owned.network.labels, force=force
        )
        return details.network

    async def prune(self, *, dry_run: bool) -> Sequence[EngineNetwork]:
        """Removes networks that nobody is in and that belong to no environment; which went.

        Stopped containers count as in theirs.
        """
        in_use = await self._networks.in_use()
        unused = [
            owned.network
            for owned in await self.list()
            if owned.environment is None
            and not owned.network.predefined
            and not {owned.network.id, owned.network.name} & in_use
        ]
        if dry_run:
            return unused
        return [network for network in unused if await self._remove_unused(network)]

    async def _remove_unused(self, network: EngineNetwork) -> bool:
        try:
            await self._networks.remove(network.id)
        except (ResourceConflict, ResourceNotFound):
            # Somebody joined or removed it meanwhile.
            return False
        return True

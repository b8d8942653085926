"""Containers join networks of the host, and leave them."""

from collections.abc import Iterable

from domain.compose_policy import PolicyRules
from domain.engine_networks import Attachment, EngineNetwork
from domain.errors import PolicyRefused, ResourceNotFound
from domain.ports.container_surroundings import JoinableNetwork
from domain.ports.engine_networks import EngineNetworks
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_surroundings import unprotected
from domain.usecases.networks import HostNetworks


class NetworkJoining:
    """Lets containers join networks and leave them; what belongs to environments only if somebody
    insists, and never past what keeps containers from the host.

    Args:
        rules: what this host allows.
    """

    def __init__(
        self,
        *,
        host_networks: HostNetworks,
        networks: EngineNetworks,
        access: ContainerAccess,
        rules: PolicyRules,
    ) -> None:
        self._host_networks = host_networks
        self._networks = networks
        self._access = access
        self._rules = rules

    async def connect(self, reference: str, attachment: Attachment, *, force: bool) -> None:
        """Lets a container join.

        Args:
            reference: the network.
            attachment: who joins, and how.
            force: also where the network or the container belongs to an environment.

        Raises:
            RequestUnreadable: it cannot join so.
            ResourceNotFound: there is no such network or container.
            ResourceOwned: one of both belongs to an environment, and nobody said so.
            PolicyRefused: nothing keeps what is in the network from the host.
            ResourceConflict: it has joined already, or the address is taken.
        """
        attachment.check()
        owned = await self._host_networks.changeable(reference, force=force)
        container = await self._access.interruptible(attachment.container, force=force)
        network = owned.network
        if owned.environment is None and not self._rules.trusted:
            self._require_protection(network)
        attachment.check_address(network)
        await self._networks.connect(network.id, attachment.of(container.id))

    def _require_protection(self, network: EngineNetwork) -> None:
        joinable = JoinableNetwork(
            name=network.name, driver=network.driver, subnets=tuple(_subnets(network))
        )
        if findings := tuple(unprotected("network", joinable, self._rules.pool)):
            raise PolicyRefused(findings, asker="attachment")

    async def disconnect(
        self, reference: str, container: str, *, cut_off: bool, force: bool
    ) -> None:
        """Takes a container out.

        Args:
            reference: the network.
            container: its name or identifier.
            cut_off: also one that the Engine does not know any more.
            force: also where the network or the container belongs to an environment.

        Raises:
            ResourceOwned: one of both belongs to an environment, and nobody said so.
            ResourceNotFound: there is no such network or container.
            ResourceConflict: it is not in the network.
        """
        owned = await self._host_networks.changeable(reference, force=force)
        try:
            container = (await self._access.interruptible(container, force=force)).id
        except ResourceNotFound:
            if not cut_off:
                raise
        await self._networks.disconnect(owned.network.id, container, force=cut_off)


def _subnets(network: EngineNetwork) -> Iterable[str]:
    return (one.subnet for one in network.ranges)

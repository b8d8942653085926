"""The Engine's networks.

All may raise ``EngineUnavailable`` when the Engine does not answer in time, and ``EngineRefused``
when it answers with an error of its own. References are names, or beginnings of identifiers.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from domain.engine_networks import Attachment, EngineNetwork, NetworkDetails, NetworkOrder


class EngineNetworks(Protocol):
    """All networks of the host, Docker's own too."""

    async def list(self) -> Sequence[EngineNetwork]:
        """All, sorted by name and then identifier."""
        ...

    async def inspect(self, reference: str) -> NetworkDetails:
        """One network, and the containers in it.

        Raises:
            ResourceNotFound: there is none.
            ResourceAmbiguous: there are several.
        """
        ...

    async def in_use(self, *, without: Collection[str] = ()) -> frozenset[str]:
        """Names and identifiers of the networks that any container is in, stopped ones too.

        Args:
            without: identifiers of containers that do not count.
        """
        ...

    async def create(self, order: NetworkOrder) -> str:
        """Makes a network; its identifier.

        Raises:
            ResourceConflict: there is one of that name, or of those addresses.
            RequestUnreadable: no network can be so.
        """
        ...

    async def connect(self, network_id: str, attachment: Attachment) -> None:
        """Lets a container join.

        Raises:
            ResourceNotFound: there is no such container.
            ResourceConflict: it has joined already, or the address is taken.
            RequestUnreadable: it cannot join with that address.
        """
        ...

    async def disconnect(self, network_id: str, container: str, *, force: bool) -> None:
        """Takes a container out.

        Raises:
            ResourceNotFound: there is no such container.
            ResourceConflict: it is not in the network.
        """
        ...

    async def remove(self, network_id: str) -> None:
        """Removes a network.

        Raises:
            ResourceNotFound: it is gone.
            ResourceConflict: containers are in it.
        """
        ...

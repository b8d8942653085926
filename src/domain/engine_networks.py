"""Networks as the Engine shows them, and as somebody asks for them."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Network

import msgspec

from domain.errors import RequestUnreadable

BRIDGE = "bridge"
"""The driver of networks that stay on one host."""

PREDEFINED = frozenset({"bridge", "host", "none"})
"""Networks that Docker itself needs."""


class NetworkRange(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of a network."""

    subnet: str
    gateway: str = ""


class EngineNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """One network."""

    id: str
    name: str
    driver: str
    scope: str = "local"
    internal: bool = False
    """Whether it has no way out."""
    attachable: bool = False
    ipv6: bool = False
    ranges: tuple[NetworkRange, ...] = ()
    labels: Mapping[str, str] = {}
    created_at: datetime | None = None

    @property
    def predefined(self) -> bool:
        """Whether Docker itself needs it."""
        return self.name in PREDEFINED


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A running container's place in a network."""

    container_id: str
    container: str
    """Its name."""
    ipv4_address: str = ""
    """With the length of its prefix."""
    mac_address: str = ""


class NetworkDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A network, and who is attached to it."""

    network: EngineNetwork
    endpoints: tuple[Endpoint, ...] = ()
    """Of running containers, sorted by name."""


class NetworkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A network that shall be."""

    name: str
    driver: str = BRIDGE
    subnet: str = ""
    """Empty for one of the agent's own pool."""
    gateway: str = ""
    internal: bool = False
    labels: Mapping[str, str] = {}

    def check(self) -> None:
        """Refuses addresses that no network can have.

        Raises:
            RequestUnreadable: it has some.
        """
        if not self.subnet:
            if self.gateway:
                raise RequestUnreadable("A gateway needs a subnet that it lies in.")
            return
        try:
            network = IPv4Network(self.subnet)
        except ValueError as fault:
            raise RequestUnreadable(
                f"{self.subnet[:80]!r} is no range of IPv4 addresses.", hint="Say 10.9.0.0/24."
            ) from fault
        if network.prefixlen > 30 or network.prefixlen < 8:
            raise RequestUnreadable("A subnet must be from /8 to /30.")
        if self.gateway and self.gateway not in map(str, (network[1], *network.hosts())):
            raise RequestUnreadable(f"Gateway {self.gateway[:80]!r} does not lie in {network}.")


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """How a container joins a network."""

    container: str
    """Its name or identifier."""
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    """Empty for any that is free."""

"""Networks as the Engine shows them, and as somebody asks for them."""

import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network

import msgspec

from domain.errors import RequestUnreadable

BRIDGE = "bridge"
"""The driver of networks that stay on one host."""

PREDEFINED = frozenset({"bridge", "host", "none"})
"""Networks that Docker itself needs."""

_MOST_ALIASES = 32
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", re.ASCII)


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
    options: Mapping[str, str] = {}
    """What its driver was told."""
    created_at: datetime | None = None

    @property
    def predefined(self) -> bool:
        """Whether Docker itself needs it."""
        return self.name in PREDEFINED


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A container's place in a network."""

    container_id: str
    container: str
    """Its name."""
    running: bool = True
    """One that has stopped is in its networks again when it starts, and has no addresses yet."""
    ipv4_address: str = ""
    """With the length of its prefix."""
    mac_address: str = ""


class NetworkDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A network, and who is attached to it."""

    network: EngineNetwork
    endpoints: tuple[Endpoint, ...] = ()
    """Of all its containers, sorted by name."""


class NetworkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A network that shall be."""

    name: str
    driver: str = BRIDGE
    subnet: str = ""
    """Empty for one of the agent's own pool."""
    gateway: str = ""
    internal: bool = False
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    """For its driver."""

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

    def of(self, container_id: str) -> "Attachment":
        """The same of one container for sure, whatever its name means by then."""
        return msgspec.structs.replace(self, container=container_id)

    def check(self) -> None:
        """Refuses aliases and addresses that are none.

        Raises:
            RequestUnreadable: it has some.
        """
        if len(self.aliases) > _MOST_ALIASES:
            raise RequestUnreadable(f"More than {_MOST_ALIASES} aliases.")
        for alias in self.aliases:
            if not _ALIAS.fullmatch(alias):
                raise RequestUnreadable(f"{alias[:80]!r} cannot be an alias.")
        if self.ipv4_address:
            self._address()

    def check_address(self, network: EngineNetwork) -> None:
        """Refuses an address that a network does not have.

        Raises:
            RequestUnreadable: it does not.
        """
        ranges = [one.subnet for one in network.ranges if ":" not in one.subnet]
        if self.ipv4_address and not any(
            self._address() in IPv4Network(subnet, strict=False) for subnet in ranges
        ):
            raise RequestUnreadable(
                f"Address {self.ipv4_address} is none of network {network.name!r}.",
                hint=f"It has {', '.join(ranges) or 'none'}.",
            )

    def _address(self) -> IPv4Address:
        try:
            return IPv4Address(self.ipv4_address)
        except ValueError as fault:
            raise RequestUnreadable(
                f"{self.ipv4_address[:80]!r} is no IPv4 address.", hint="Say 10.213.0.5."
            ) from fault

"""The host's routes, name servers and manager, from the files of Linux."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import anyio
import anyio.to_thread

from domain.shortage import shortage, shortages_told

LOOKUP_SECONDS = 3.0
"""How long the manager's name may take to be looked up."""

_ENGINE_INTERFACES = ("docker", "br-", "veth", "lo")


class LinuxHostNetwork:
    """What the host's routes and resolver say.

    Args:
        manager: the manager's host name or address; empty for none.
        routes: the kernel's table of routes.
        resolver: the list of name servers.
    """

    def __init__(
        self,
        manager: str,
        *,
        routes: Path = Path("/proc/net/route"),
        resolver: Path = Path("/etc/resolv.conf"),
    ) -> None:
        self._manager = manager
        self._routes = routes
        self._resolver = resolver
        self._limiter = anyio.CapacityLimiter(2)

    async def needed(self) -> Sequence[str]:
        """IPv4 ranges, single addresses as ``/32``, sorted."""
        with shortages_told():
            found = await anyio.to_thread.run_sync(self._read, limiter=self._limiter)
            with anyio.move_on_after(LOOKUP_SECONDS):
                found |= await self._manager_addresses()
        return sorted(str(network) for network in found)

    def _read(self) -> set[IPv4Network]:
        try:
            return {*_routed(self._routes.read_text()), *_servers(self._resolver.read_text())}
        except OSError as fault:
            if shortage(fault) is not None:
                # Whoever asks must not take it for a host that needs nothing.
                raise
            return set()

    async def _manager_addresses(self) -> set[IPv4Network]:
        if not self._manager:
            return set()
        with suppress(OSError, UnicodeError):
            # Through the event loop, whose threads for that nobody waits for in the end.
            found = await anyio.getaddrinfo(self._manager, None, family=socket.AF_INET)
            return {IPv4Network(str(address[0])) for *_, address in found}
        return set()


def _routed(text: str) -> Iterator[IPv4Network]:
    """Networks and gateways of ``/proc/net/route``, whose numbers are in the host's byte order."""
    for line in text.splitlines()[1:]:
        interface, destination, gateway, *_, mask = line.split()[:8]
        if interface.startswith(_ENGINE_INTERFACES):
            continue
        if int(gateway, 16):
            yield IPv4Network(_address(gateway))
        if int(destination, 16):
            yield IPv4Network((_address(destination), str(_address(mask))), strict=False)


def _address(number: str) -> IPv4Address:
    return IPv4Address(struct.pack("=L", int(number, 16)))


def _servers(text: str) -> Iterator[IPv4Network]:
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            with suppress(ValueError):
                server = IPv4Address(words[1])
                if not server.is_loopback:
                    yield IPv4Network(server)

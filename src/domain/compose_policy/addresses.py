"""Checks of ports, addresses and shared namespaces."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from domain.compose_policy.checks import Check, Scope, as_number, shown
from domain.findings import Finding

_SERVICE_MODE = re.compile(r"service:(.+)", re.DOTALL)


def published(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows ports of the host within the range, but the agent's own; none leaves it to Docker."""
    if value in (None, ""):
        return
    first, dash, last = str(value).partition("-")
    ends = [as_number(first), as_number(last if dash else first)]
    allowed, own = scope.rules.host_ports, scope.rules.own_port
    if ends[0] is None or ends[1] is None or not ends[0] <= ends[1]:
        yield Finding(where=where, what=shown(value), why="It is no port and no range of ports.")
    elif ends[0] <= own <= ends[1]:
        yield _own_port(where, value)
    elif ends != [0, 0] and not (allowed.first <= ends[0] and ends[1] <= allowed.last):
        yield Finding(
            where=where,
            what=shown(value),
            why=f"On this host the ports {allowed} may be published.",
            instead="Take one of these, or leave the host's port away and let Docker choose.",
        )


def not_own_port(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Refuses the agent's own port."""
    first, dash, last = str(value).partition("-")
    ends = [as_number(first), as_number(last if dash else first)]
    if ends[0] is not None and ends[1] is not None and ends[0] <= scope.rules.own_port <= ends[1]:
        yield _own_port(where, value)


def _own_port(where: str, value: object) -> Finding:
    return Finding(
        where=where,
        what=shown(value),
        why="This port of the host is the agent's own.",
        instead="Publish another one.",
    )


def address(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows IP addresses, and none."""
    try:
        if value not in (None, ""):
            ip_address(str(value).strip("[]"))
    except ValueError:
        yield Finding(where=where, what=shown(value), why="An IP address belongs here.")


def subnet(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows private ranges that none of this host's other networks can need."""
    try:
        found = ip_network(str(value), strict=False)
    except ValueError:
        yield Finding(where=where, what=shown(value), why="A range of addresses belongs here.")
        return
    if not isinstance(found, IPv4Network):
        return
    pool = scope.rules.pool
    if not found.is_private or found.is_loopback or found.is_link_local or found.prefixlen < 16:
        yield Finding(
            where=where,
            what=shown(value),
            why="The host itself would no more reach what has these addresses elsewhere.",
            instead="Take a private range of at most /16, such as 172.30.0.0/24, or none.",
        )
    elif pool is not None and found.overlaps(pool):
        yield taken_range(where, value, str(pool))


def free_of_pool(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Refuses ranges out of the agent's pool."""
    try:
        found = ip_network(str(value), strict=False)
    except ValueError:
        return
    pool = scope.rules.pool
    if pool is not None and isinstance(found, IPv4Network) and found.overlaps(pool):
        yield taken_range(where, value, str(pool))


def taken_range(where: str, value: object, by: str) -> Finding:
    """The finding that a range of addresses belongs to somebody else."""
    return Finding(
        where=where,
        what=shown(value),
        why=f"Addresses of {by} are used by this host already.",
        instead="Take another private range, such as 172.30.0.0/24, or none.",
    )


def host_entry(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows ``name=address``, but not the name of the host's own gateway."""
    _, _, target = str(value).replace("=", ":", 1).partition(":")
    try:
        ip_address(target.strip("[]"))
    except ValueError:
        yield Finding(
            where=where,
            what=shown(value),
            why="A name may stand for an address only; host-gateway would be the host itself.",
            instead="Write name=address, or reach other services by their names.",
        )


def joined(kind: str, *words: str) -> Check:
    """Allows ``service:NAME`` with a service of the bundle, and these words."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
        found = _SERVICE_MODE.fullmatch(str(value))
        if value in (None, "", *words) or (found and found[1] in scope.services):
            return
        yield Finding(
            where=where,
            what=shown(value),
            why=f"It would share the {kind} of the host or of a foreign container.",
            instead="Take it away; service:NAME may name a service of the same bundle.",
        )

    return check

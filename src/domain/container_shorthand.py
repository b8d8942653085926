"""Ports, mounts, devices and restart policies in the short forms of Docker's command line."""

import re

from domain.container_orders import (
    DeviceOrder,
    MountKind,
    MountOrder,
    PortOrder,
    RestartName,
    RestartPolicy,
)
from domain.errors import RequestUnreadable

_PORT = re.compile(
    r"(?:(?:(?P<address>\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?(?P<host>[0-9]{0,5}(?:-[0-9]{1,5})?):)?"
    r"(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?(?:/(?P<protocol>[a-z]+))?"
)
_MOST_PORTS = 1000
_RESTART = re.compile(r"(?P<name>no|always|unless-stopped|on-failure)(?::(?P<tries>[0-9]{1,9}))?")
_ACCESS = {"": False, "rw": False, "ro": True}


def port_orders(text: str) -> tuple[PortOrder, ...]:
    """Ports from ``80``, ``8080:80``, ``127.0.0.1:8080:80/tcp``, or ``8000-8002:90-92``.

    A range of the host's for one port means any of them; for a range as long, each its own.

    Raises:
        RequestUnreadable: it is none.
    """
    found = _PORT.fullmatch(text)
    if found is None:
        raise RequestUnreadable(
            f"{text[:80]!r} is no port.",
            hint="Write container_port, host_port:container_port or address:host_port:"
            "container_port, with /udp behind it if need be; a port may be a range: 8000-8002.",
        )
    inside = _span(text, found["first"], found["last"])
    return tuple(
        PortOrder(
            container_port=port,
            protocol=found["protocol"] or "tcp",
            host_address=(found["address"] or "").strip("[]"),
            host_port=host_port,
        )
        for port, host_port in zip(
            inside, _host_ports(text, found["host"] or "", len(inside)), strict=True
        )
    )


def _host_ports(text: str, host: str, count: int) -> list[str]:
    """The host's port for each of so many of the container's."""
    if count == 1 or not host:
        return [host] * count
    first, _, last = host.partition("-")
    ports = _span(text, first, last)
    if len(ports) != count:
        raise RequestUnreadable(f"{text[:80]!r} has {len(ports)} ports of the host for {count}.")
    return [str(port) for port in ports]


def _span(text: str, first: str, last: str | None) -> range:
    ports = range(int(first or 0), int(last or first or 0) + 1)
    if not 0 < len(ports) <= _MOST_PORTS:
        raise RequestUnreadable(f"{text[:80]!r} is no range of at most {_MOST_PORTS} ports.")
    return ports


def mount_order(text: str) -> MountOrder:
    """A mount from ``data:/var/lib/data``, ``/srv/labs:/labs:ro`` or ``/cache``.

    Raises:
        RequestUnreadable: it is none.
    """
    parts = text.split(":")
    source, target, access = ("", *parts, "")[:3] if len(parts) == 1 else (*parts, "")[:3]
    if len(parts) > 3 or not target or access not in _ACCESS:
        raise RequestUnreadable(
            f"{text[:80]!r} is no mount.",
            hint="Write volume:/place or /folder/of/the/host:/place, with :ro behind it or not.",
        )
    return MountOrder(
        type=MountKind.BIND if source.startswith("/") else MountKind.VOLUME,
        source=source,
        target=target,
        read_only=_ACCESS[access],
    )


def device_order(text: str) -> DeviceOrder:
    """A device from ``/dev/net/tun`` or ``/dev/net/tun:/dev/tun:rw``.

    Raises:
        RequestUnreadable: it is none.
    """
    path, _, rest = text.partition(":")
    inside, _, permissions = rest.partition(":")
    if not path or not re.fullmatch(r"[rwm]{0,3}", permissions):
        raise RequestUnreadable(
            f"{text[:80]!r} is no device.",
            hint="Write /dev/name, with :/dev/name/inside and :rwm behind it if need be.",
        )
    return DeviceOrder(
        path_on_host=path,
        path_in_container=inside or path,
        cgroup_permissions=permissions or "rwm",
    )


def restart_policy(text: str) -> RestartPolicy:
    """A restart policy from ``no``, ``unless-stopped`` or ``on-failure:5``.

    Raises:
        RequestUnreadable: it is none.
    """
    found = _RESTART.fullmatch(text)
    if found is None or (found["tries"] and found["name"] != RestartName.ON_FAILURE):
        raise RequestUnreadable(
            f"{text[:80]!r} is no restart policy.",
            hint="Write no, always, unless-stopped or on-failure, and behind the last how many "
            "tries: on-failure:5.",
        )
    return RestartPolicy(
        name=RestartName(found["name"]), maximum_retry_count=int(found["tries"] or 0)
    )

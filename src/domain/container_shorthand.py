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
    r"(?P<container>[0-9]{1,5})(?:/(?P<protocol>[a-z]+))?"
)
_RESTART = re.compile(r"(?P<name>no|always|unless-stopped|on-failure)(?::(?P<tries>[0-9]{1,9}))?")
_ACCESS = {"": False, "rw": False, "ro": True}


def port_order(text: str) -> PortOrder:
    """A port from ``80``, ``8080:80``, ``127.0.0.1:8080:80/tcp``.

    Raises:
        RequestUnreadable: it is none.
    """
    found = _PORT.fullmatch(text)
    if found is None:
        raise RequestUnreadable(
            f"{text[:80]!r} is no port.",
            hint="Write container_port, host_port:container_port or address:host_port:"
            "container_port, with /udp behind it if need be.",
        )
    return PortOrder(
        container_port=int(found["container"]),
        protocol=found["protocol"] or "tcp",
        host_address=(found["address"] or "").strip("[]"),
        host_port=found["host"] or "",
    )


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
    if found is None:
        raise RequestUnreadable(
            f"{text[:80]!r} is no restart policy.",
            hint="Write no, always, unless-stopped or on-failure, and behind the last how many "
            "tries: on-failure:5.",
        )
    return RestartPolicy(
        name=RestartName(found["name"]), maximum_retry_count=int(found["tries"] or 0)
    )

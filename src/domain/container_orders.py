"""A single container as somebody asks for it, and how the policy for bundles reads it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from domain.errors import RequestUnreadable
from domain.findings import Finding
from domain.limits import ContainerLimits

CPUS_LABEL = "container-host-agent.cpus"
"""On containers that the agent made one by one: how many CPUs they may use."""

MEMORY_LABEL = "container-host-agent.memory-bytes"
"""The same for their memory."""

ORDER_LABEL = "container-host-agent.order"
"""The request that a container was made by, so that one that was cut off is cleared away."""

ALONE = "none"
"""In place of a network: the container is in none."""

_SHARED_MODES = frozenset({"host", "bridge", "default"})
_NO_LIMIT = -1
_MOST_TEXTS = 1000
_LISTS = (
    *("command", "entrypoint", "ports", "volumes", "networks", "devices"),
    *("extra_hosts", "dns", "dns_search", "dns_options", "ulimits", "sysctls", "group_add"),
)


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """That a container is being made, or a volume restored that is made for it.

    It is written down before anything is done.
    """

    mark: str
    """What the container bears in ``ORDER_LABEL``, and the volumes that are made for it."""
    name: str
    """Of the container; empty where a volume is restored."""
    volumes: tuple[str, ...] = ()
    """Names of the volumes that it asks for, be they there or not."""
    at: datetime


class MountKind(StrEnum):
    """What is mounted, in Docker's own words."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


class RestartName(StrEnum):
    """When a container is started again, in Docker's own words."""

    NO = "no"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"
    ON_FAILURE = "on-failure"


class PortOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the container that the host shall serve."""

    container_port: int
    protocol: str = "tcp"
    host_address: str = ""
    """Empty for all of the host's."""
    host_port: str = ""
    """A port or a range of them, of which Docker chooses one; empty leaves it to the agent."""


class MountOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is mounted into the container."""

    type: MountKind
    source: str = ""
    """A volume's name, or a folder of the host; empty for a volume without a name."""
    target: str
    read_only: bool = False
    size_bytes: int | None = None
    """Of a tmpfs."""


class NetworkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A network that the container joins."""

    name: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""


class DeviceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the host."""

    path_on_host: str
    path_in_container: str
    cgroup_permissions: str = "rwm"


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When the container is started again."""

    name: RestartName = RestartName.NO
    maximum_retry_count: int = 0
    """Of ``on-failure``; 0 for any number."""


class Ulimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of each of its processes; -1 for none."""

    soft: int
    hard: int


class HealthcheckOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How it is found out whether the container works; None leaves it to the image."""

    test: tuple[str, ...] = ()
    """``NONE``, or ``CMD`` or ``CMD-SHELL`` and what is run; empty for the image's."""
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    start_period_seconds: float | None = None
    retries: int | None = None


class ContainerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A single container; what is None or empty is left to its image or to Docker."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = {}
    ports: tuple[PortOrder, ...] = ()
    volumes: tuple[MountOrder, ...] = ()
    networks: tuple[NetworkOrder, ...] = ()
    labels: Mapping[str, str] = {}
    limits: ContainerLimits = ContainerLimits()
    restart_policy: RestartPolicy = RestartPolicy()
    healthcheck: HealthcheckOrder | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    devices: tuple[DeviceOrder, ...] = ()
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    init: bool | None = None
    tty: bool = False
    open_stdin: bool = False
    read_only: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    """Seconds."""
    extra_hosts: tuple[str, ...] = ()
    """Names for addresses: ``db:10.9.0.2``."""
    dns: tuple[str, ...] = ()
    """Addresses of the servers that it asks for names."""
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    ulimits: Mapping[str, Ulimit] = {}
    sysctls: Mapping[str, str] = {}
    shm_size_bytes: int | None = None
    group_add: tuple[str, ...] = ()
    """Groups of its user, beside those that the image gives it."""

    @property
    def named_volumes(self) -> tuple[str, ...]:
        """Names of the volumes that it asks for."""
        return tuple(m.source for m in self.volumes if m.type is MountKind.VOLUME and m.source)

    @property
    def alone(self) -> bool:
        """Whether it is in no network."""
        return any(network.name == ALONE for network in self.networks)

    def check(self) -> None:
        """Refuses what no container can be.

        Raises:
            RequestUnreadable: it is.
        """
        if self.alone and len(self.networks) > 1:
            raise RequestUnreadable("A container that is in no network (none) cannot be in others.")
        for name in self.env:
            if not name or "=" in name:
                raise RequestUnreadable(f"{name[:80]!r} cannot name a variable.")
        for field in _LISTS:
            if len(getattr(self, field) or ()) > _MOST_TEXTS:
                raise RequestUnreadable(f"{field} has more than {_MOST_TEXTS} entries.")
        if any(m.size_bytes is not None and m.type is not MountKind.TMPFS for m in self.volumes):
            raise RequestUnreadable("Only a tmpfs has a size.", hint="Say type: tmpfs with it.")
        for name, limit in self.ulimits.items():
            if limit.hard != _NO_LIMIT and not 0 <= limit.soft <= limit.hard:
                raise RequestUnreadable(f"ulimits.{name[:80]}: soft must not exceed hard.")
        if any("\0" in text for text in _texts(msgspec.to_builtins(self))):
            raise RequestUnreadable("There is a NUL character in the request.")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from (*_texts(name), *_texts(entry))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def service_body(order: ContainerOrder) -> Mapping[str, Any]:
    """The same as a service of a resolved Compose model, which the policy judges.

    Whatever reaches the Engine of an order stands here: a field that is left out is not judged.
    """
    body: dict[str, Any] = {
        "image": order.image,
        "command": _listed(order.command),
        "entrypoint": _listed(order.entrypoint),
        "environment": dict(order.env),
        "ports": [_port(port) for port in order.ports],
        "volumes": [_mount(mount) for mount in order.volumes],
        "labels": dict(order.labels),
        "restart": _restart(order.restart_policy),
        "healthcheck": _healthcheck(order.healthcheck),
        "cap_add": list(order.cap_add),
        "cap_drop": list(order.cap_drop),
        "security_opt": list(order.security_opt),
        "devices": [_device(device) for device in order.devices],
        "user": order.user,
        "working_dir": order.working_dir,
        "hostname": order.hostname,
        "init": order.init,
        "tty": order.tty,
        "stdin_open": order.open_stdin,
        "read_only": order.read_only,
        "stop_signal": order.stop_signal,
        "stop_grace_period": None if order.stop_timeout is None else f"{order.stop_timeout}s",
        "extra_hosts": list(order.extra_hosts),
        "dns": list(order.dns),
        "dns_search": list(order.dns_search),
        "dns_opt": list(order.dns_options),
        "ulimits": {name: msgspec.structs.asdict(one) for name, one in order.ulimits.items()},
        "sysctls": dict(order.sysctls),
        "shm_size": None if order.shm_size_bytes is None else str(order.shm_size_bytes),
        "group_add": list(order.group_add),
    }
    return {**body, **_networks(order.networks)}


def _listed(texts: Sequence[str] | None) -> list[str] | None:
    return None if texts is None else list(texts)


def _port(port: PortOrder) -> Mapping[str, Any]:
    return {
        "mode": "ingress",
        "target": port.container_port,
        "published": port.host_port,
        "host_ip": port.host_address,
        "protocol": port.protocol,
    }


def _mount(mount: MountOrder) -> Mapping[str, Any]:
    body: dict[str, Any] = {
        "type": mount.type.value,
        "source": mount.source,
        "target": mount.target,
        "read_only": mount.read_only,
    }
    if mount.type is MountKind.TMPFS:
        body["tmpfs"] = {"size": mount.size_bytes}
    return body


def _device(device: DeviceOrder) -> Mapping[str, Any]:
    return {
        "source": device.path_on_host,
        "target": device.path_in_container,
        "permissions": device.cgroup_permissions,
    }


def _restart(policy: RestartPolicy) -> str:
    tries = policy.maximum_retry_count
    return f"{policy.name}:{tries}" if tries else policy.name.value


def _healthcheck(asked: HealthcheckOrder | None) -> Mapping[str, Any] | None:
    if asked is None:
        return None
    times = {
        "interval": asked.interval_seconds,
        "timeout": asked.timeout_seconds,
        "start_period": asked.start_period_seconds,
    }
    return {
        "test": list(asked.test),
        "retries": asked.retries,
        **{name: None if value is None else f"{value:f}s" for name, value in times.items()},
    }


def _networks(networks: Sequence[NetworkOrder]) -> Mapping[str, Any]:
    """Networks, or a mode where a network's name means one to Docker."""
    modes = [n.name for n in networks if n.name in _SHARED_MODES or ":" in n.name]
    if modes or any(network.name == ALONE for network in networks):
        return {"network_mode": modes[0] if modes else ALONE}
    return {
        "networks": {
            network.name: {
                "aliases": list(network.aliases),
                "ipv4_address": network.ipv4_address,
            }
            for network in networks
        }
    }


_FIELDS = {
    "environment": "env",
    "restart": "restart_policy",
    "network_mode": "networks",
    "stdin_open": "open_stdin",
    "stop_grace_period": "stop_timeout",
    "dns_opt": "dns_options",
}


_APART = "Leave it away for a network apart, or name a network with addresses of the pool."


def in_the_orders_words(finding: Finding, name: str) -> Finding:
    """A finding about a service as one about the order that it was made of."""
    where = finding.where.removeprefix(f"services.{name}").removeprefix(".") or "name"
    field = where.split(".")[0].split("[")[0]
    told = _FIELDS.get(field, field) + where.removeprefix(field)
    instead = _APART if field == "network_mode" else finding.instead
    return msgspec.structs.replace(finding, where=told, instead=instead)

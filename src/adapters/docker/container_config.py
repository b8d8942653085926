"""An order for a container in the Engine's own terms."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.container_orders import (
    ContainerOrder,
    HealthcheckOrder,
    MountKind,
    MountOrder,
    NetworkOrder,
    PortOrder,
)
from domain.limits import HeldLimits

_NANOSECONDS = 1_000_000_000

_Json = dict[str, Any]


def configuration(order: ContainerOrder, limits: HeldLimits) -> _Json:
    """The body of the Engine's call that makes a container, in the first of its networks.

    Older Engines take one network only; the others are joined afterwards.
    """
    body: _Json = {
        "Image": order.image,
        "Env": [f"{name}={value}" for name, value in order.env.items()],
        "Labels": dict(order.labels),
        "User": order.user,
        "WorkingDir": order.working_dir,
        "Hostname": order.hostname,
        "Tty": order.tty,
        "OpenStdin": order.open_stdin,
        "ExposedPorts": {_port(port): {} for port in order.ports},
        "HostConfig": _host_config(order, limits),
        "NetworkingConfig": {
            "EndpointsConfig": {n.name: endpoint(n) for n in order.networks[:1] if not order.alone}
        },
    }
    if order.command is not None:
        body["Cmd"] = list(order.command)
    if order.entrypoint is not None:
        # An empty list would mean the image's.
        body["Entrypoint"] = list(order.entrypoint) or [""]
    if order.healthcheck is not None:
        body["Healthcheck"] = _healthcheck(order.healthcheck)
    if order.stop_signal:
        body["StopSignal"] = order.stop_signal
    if order.stop_timeout is not None:
        body["StopTimeout"] = order.stop_timeout
    return body


def endpoint(network: NetworkOrder) -> _Json:
    """How a container is in a network."""
    body: _Json = {"Aliases": list(network.aliases)}
    if network.ipv4_address:
        body["IPAMConfig"] = {"IPv4Address": network.ipv4_address}
    return body


def _host_config(order: ContainerOrder, limits: HeldLimits) -> _Json:
    return {
        "NetworkMode": order.networks[0].name if order.networks else "none",
        "PortBindings": _bindings(order.ports),
        "Mounts": [_mount(mount) for mount in order.volumes],
        "RestartPolicy": {
            "Name": order.restart_policy.name.value,
            "MaximumRetryCount": order.restart_policy.maximum_retry_count,
        },
        "CapAdd": list(order.cap_add),
        "CapDrop": list(order.cap_drop),
        "SecurityOpt": list(order.security_opt),
        "Devices": [
            {
                "PathOnHost": device.path_on_host,
                "PathInContainer": device.path_in_container,
                "CgroupPermissions": device.cgroup_permissions,
            }
            for device in order.devices
        ],
        "ReadonlyRootfs": order.read_only,
        "Init": bool(order.init),
        "ExtraHosts": list(order.extra_hosts),
        "Dns": list(order.dns),
        "DnsSearch": list(order.dns_search),
        "DnsOptions": list(order.dns_options),
        "Ulimits": [
            {"Name": name, "Soft": limit.soft, "Hard": limit.hard}
            for name, limit in order.ulimits.items()
        ],
        "Sysctls": dict(order.sysctls),
        # Nothing leaves it to the Engine.
        "ShmSize": order.shm_size_bytes or 0,
        "GroupAdd": list(order.group_add),
        **_limits(limits),
    }


def _limits(limits: HeldLimits) -> _Json:
    return {
        "NanoCpus": round(limits.cpus * _NANOSECONDS),
        "Memory": limits.memory_bytes,
        # The same as the memory: no swap beyond it.
        "MemorySwap": limits.memory_bytes,
        "PidsLimit": limits.pids,
        "LogConfig": {
            # Docker's usual one keeps text only: it changes bytes that are no UTF-8.
            "Type": "local",
            "Config": {"max-size": str(max(1, limits.log_bytes // 2)), "max-file": "2"},
        },
    }


def _port(port: PortOrder) -> str:
    return f"{port.container_port}/{port.protocol}"


def _bindings(ports: Sequence[PortOrder]) -> Mapping[str, list[_Json]]:
    found: dict[str, list[_Json]] = {}
    for port in ports:
        binding = {"HostIp": port.host_address, "HostPort": port.host_port}
        found.setdefault(_port(port), []).append(binding)
    return found


def _mount(mount: MountOrder) -> _Json:
    body: _Json = {"Type": mount.type.value, "Target": mount.target, "ReadOnly": mount.read_only}
    if mount.source and mount.type is not MountKind.TMPFS:
        body["Source"] = mount.source
    if mount.type is MountKind.TMPFS and mount.size_bytes is not None:
        body["TmpfsOptions"] = {"SizeBytes": mount.size_bytes}
    return body


def _healthcheck(asked: HealthcheckOrder) -> _Json:
    times = {
        "Interval": asked.interval_seconds,
        "Timeout": asked.timeout_seconds,
        "StartPeriod": asked.start_period_seconds,
    }
    body: _Json = {
        name: round(value * _NANOSECONDS) for name, value in times.items() if value is not None
    }
    if asked.test:
        body["Test"] = list(asked.test)
    if asked.retries is not None:
        body["Retries"] = asked.retries
    return body

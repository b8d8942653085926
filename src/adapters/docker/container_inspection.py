"""What the Engine says of one container, in our words."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.docker.moments import moment
from domain.container_details import (
    ContainerDetails,
    ContainerHealth,
    DetailedLimits,
    DetailedState,
    HealthProbe,
    LogConfiguration,
    MountPoint,
    NetworkAttachment,
)
from domain.container_orders import (
    DeviceOrder,
    HealthcheckOrder,
    PortOrder,
    RestartName,
    RestartPolicy,
    Ulimit,
)
from domain.containers import ContainerState, PublishedPort

_STATES = {state.value: state for state in ContainerState}
_RESTARTS = {name.value: name for name in RestartName}
_ENDED = {ContainerState.EXITED, ContainerState.DEAD, ContainerState.REMOVING}
_NANOSECONDS = 1_000_000_000

# What docker-py gives is the Engine's JSON as it came.
_Json = Mapping[str, Any]


def details(body: _Json) -> ContainerDetails:
    """One container, from the answer to an inspection."""
    config: _Json = body.get("Config") or {}
    host: _Json = body.get("HostConfig") or {}
    network: _Json = body.get("NetworkSettings") or {}
    return ContainerDetails(
        id=body["Id"],
        name=str(body.get("Name", "")).removeprefix("/"),
        created_at=moment(body.get("Created")),
        image=config.get("Image", ""),
        image_id=body.get("Image", ""),
        state=_state(body.get("State") or {}),
        restart_count=body.get("RestartCount", 0),
        command=tuple(config.get("Cmd") or ()),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        env=dict(_pair(text) for text in config.get("Env") or ()),
        labels=config.get("Labels") or {},
        user=config.get("User", ""),
        working_dir=config.get("WorkingDir", ""),
        hostname=config.get("Hostname", ""),
        tty=bool(config.get("Tty")),
        open_stdin=bool(config.get("OpenStdin")),
        stop_signal=config.get("StopSignal", ""),
        stop_timeout=config.get("StopTimeout"),
        privileged=bool(host.get("Privileged")),
        read_only=bool(host.get("ReadonlyRootfs")),
        init=bool(host.get("Init")),
        network_mode=host.get("NetworkMode", ""),
        cap_add=tuple(host.get("CapAdd") or ()),
        cap_drop=tuple(host.get("CapDrop") or ()),
        security_opt=tuple(host.get("SecurityOpt") or ()),
        devices=tuple(_device(row) for row in host.get("Devices") or ()),
        restart_policy=_restart_policy(host.get("RestartPolicy") or {}),
        auto_remove=bool(host.get("AutoRemove")),
        healthcheck=_healthcheck(config.get("Healthcheck") or {}),
        extra_hosts=tuple(host.get("ExtraHosts") or ()),
        dns=tuple(host.get("Dns") or ()),
        dns_search=tuple(host.get("DnsSearch") or ()),
        dns_options=tuple(host.get("DnsOptions") or ()),
        ulimits={row["Name"]: _ulimit(row) for row in host.get("Ulimits") or ()},
        sysctls=host.get("Sysctls") or {},
        shm_size_bytes=host.get("ShmSize") or None,
        group_add=tuple(host.get("GroupAdd") or ()),
        limits=_limits(host),
        log_config=_log_config(host.get("LogConfig") or {}),
        mounts=tuple(_mount(row) for row in body.get("Mounts") or ()),
        networks=_networks(network.get("Networks") or {}),
        port_bindings=tuple(_bindings(host.get("PortBindings") or {})),
        ports=tuple(_published(network.get("Ports") or {})),
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _state(body: _Json) -> DetailedState:
    status = _STATES.get(body.get("Status", ""), ContainerState.UNKNOWN)
    finished_at = moment(body.get("FinishedAt"))
    return DetailedState(
        status=status,
        pid=body.get("Pid") or None,
        exit_code=body.get("ExitCode") if status in _ENDED and finished_at else None,
        error=body.get("Error", ""),
        oom_killed=bool(body.get("OOMKilled")),
        started_at=moment(body.get("StartedAt")),
        finished_at=finished_at,
        health=_health(body.get("Health") or {}),
    )


def _health(body: _Json) -> ContainerHealth | None:
    if body.get("Status") in {None, "", "none"}:
        return None
    return ContainerHealth(
        status=body["Status"],
        failing_streak=body.get("FailingStreak", 0),
        probes=tuple(
            HealthProbe(
                started_at=moment(row.get("Start")),
                finished_at=moment(row.get("End")),
                exit_code=row.get("ExitCode", 0),
                output=row.get("Output", ""),
            )
            for row in body.get("Log") or ()
        ),
    )


def _healthcheck(body: _Json) -> HealthcheckOrder | None:
    test = tuple(body.get("Test") or ())
    if test[:1] in {(), ("NONE",)}:
        return None
    return HealthcheckOrder(
        test=test,
        interval_seconds=_seconds(body, "Interval"),
        timeout_seconds=_seconds(body, "Timeout"),
        start_period_seconds=_seconds(body, "StartPeriod"),
        retries=body.get("Retries") or None,
    )


def _seconds(body: _Json, name: str) -> float | None:
    """None where Docker's own time holds."""
    return body.get(name, 0) / _NANOSECONDS or None


def _ulimit(row: _Json) -> Ulimit:
    return Ulimit(soft=row.get("Soft", 0), hard=row.get("Hard", 0))


def _device(row: _Json) -> DeviceOrder:
    return DeviceOrder(
        path_on_host=row.get("PathOnHost", ""),
        path_in_container=row.get("PathInContainer", ""),
        cgroup_permissions=row.get("CgroupPermissions", ""),
    )


def _restart_policy(body: _Json) -> RestartPolicy:
    return RestartPolicy(
        name=_RESTARTS.get(body.get("Name", ""), RestartName.NO),
        maximum_retry_count=body.get("MaximumRetryCount", 0),
    )


def _limits(host: _Json) -> DetailedLimits:
    nanoseconds, pids = host.get("NanoCpus") or 0, host.get("PidsLimit") or 0
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    cpus = nanoseconds / _NANOSECONDS if nanoseconds else quota / period
    return DetailedLimits(
        cpus=cpus if cpus > 0 else None,
        memory_bytes=host.get("Memory") or None,
        memory_and_swap_bytes=max(host.get("MemorySwap") or 0, 0) or None,
        pids=pids if pids > 0 else None,
    )


def _log_config(body: _Json) -> LogConfiguration:
    return LogConfiguration(type=body.get("Type", ""), config=body.get("Config") or {})


def _mount(row: _Json) -> MountPoint:
    return MountPoint(
        type=row.get("Type", ""),
        name=row.get("Name", ""),
        source=row.get("Source", ""),
        destination=row.get("Destination", ""),
        read_only=not row.get("RW", True),
        driver=row.get("Driver", ""),
    )


def _networks(rows: Mapping[str, _Json]) -> tuple[NetworkAttachment, ...]:
    return tuple(
        NetworkAttachment(
            name=name,
            network_id=row.get("NetworkID", ""),
            ip_address=row.get("IPAddress", ""),
            gateway=row.get("Gateway", ""),
            mac_address=row.get("MacAddress", ""),
            aliases=tuple(row.get("Aliases") or ()),
        )
        for name, row in sorted(rows.items())
    )


def _bindings(rows: Mapping[str, Sequence[_Json] | None]) -> Sequence[PortOrder]:
    return [
        PortOrder(
            container_port=int(key.partition("/")[0]),
            protocol=key.partition("/")[2] or "tcp",
            host_address=row.get("HostIp", ""),
            host_port=row.get("HostPort", ""),
        )
        for key, bound in sorted(rows.items())
        for row in bound or ()
    ]


def _published(rows: Mapping[str, Sequence[_Json] | None]) -> Sequence[PublishedPort]:
    found = [
        PublishedPort(
            container_port=port.container_port,
            protocol=port.protocol,
            host_address=port.host_address,
            host_port=int(port.host_port),
        )
        for port in _bindings(rows)
        if port.host_port
    ]
    return sorted(found, key=lambda port: (port.container_port, port.protocol, port.host_address))

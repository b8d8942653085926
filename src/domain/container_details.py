"""One container as the Engine tells of it, in Docker's words."""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.container_orders import (
    DeviceOrder,
    HealthcheckOrder,
    PortOrder,
    RestartPolicy,
    Ulimit,
)
from domain.containers import ContainerState, PublishedPort


class HealthProbe(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a healthcheck ran."""

    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int
    output: str
    """What it printed, as far as the Engine keeps it."""


class ContainerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What healthchecks found."""

    status: str
    """``starting``, ``healthy`` or ``unhealthy``."""
    failing_streak: int = 0
    probes: tuple[HealthProbe, ...] = ()
    """The last ones, oldest first."""


class DetailedState(msgspec.Struct, frozen=True, kw_only=True):
    """How a container fares."""

    status: ContainerState
    pid: int | None = None
    """Of its first process, on the host; None while it does not run."""
    exit_code: int | None = None
    """None before it has ended for the first time, and while it runs."""
    error: str = ""
    """Why the Engine could not start it."""
    oom_killed: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    health: ContainerHealth | None = None
    """None where nobody checks."""

    @property
    def running(self) -> bool:
        """Whether it runs, paused or about to start again included."""
        return self.status in {
            ContainerState.RUNNING,
            ContainerState.PAUSED,
            ContainerState.RESTARTING,
        }


class DetailedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a container may use; None where it has no limit of its own."""

    cpus: float | None = None
    memory_bytes: int | None = None
    memory_and_swap_bytes: int | None = None
    pids: int | None = None


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is mounted into a container."""

    type: str
    name: str = ""
    """Of a volume."""
    source: str
    """Its place on the host."""
    destination: str
    read_only: bool = False
    driver: str = ""


class NetworkAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A network that a container is in."""

    name: str
    network_id: str = ""
    ip_address: str = ""
    """Empty while it does not run."""
    gateway: str = ""
    mac_address: str = ""
    aliases: tuple[str, ...] = ()


class LogConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """How a container's output is kept."""

    type: str
    config: Mapping[str, str]


class ContainerDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One container, whole."""

    id: str
    name: str
    created_at: datetime | None
    image: str
    """As it was named when the container was created."""
    image_id: str
    state: DetailedState
    restart_count: int = 0
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str]
    """Variables, those of the image included."""
    labels: Mapping[str, str]
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    tty: bool = False
    open_stdin: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    """Seconds."""
    privileged: bool = False
    read_only: bool = False
    init: bool = False
    network_mode: str = ""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    devices: tuple[DeviceOrder, ...] = ()
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    """Whether it goes as soon as it ends."""
    healthcheck: HealthcheckOrder | None = None
    """How it is found out whether it works, be it its own or its image's."""
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    ulimits: Mapping[str, Ulimit] = {}
    sysctls: Mapping[str, str] = {}
    shm_size_bytes: int | None = None
    group_add: tuple[str, ...] = ()
    limits: DetailedLimits = DetailedLimits()
    log_config: LogConfiguration
    mounts: tuple[MountPoint, ...] = ()
    networks: tuple[NetworkAttachment, ...] = ()
    port_bindings: tuple[PortOrder, ...] = ()
    """The ports that it asks for."""
    ports: tuple[PublishedPort, ...] = ()
    """Those that the host serves for it now."""

    @property
    def health(self) -> str | None:
        """What its healthcheck says; None where there is none."""
        return None if self.state.health is None else self.state.health.status


class ProcessColumn(StrEnum):
    """What may be told of a process, in the words of ``ps``."""

    PID = "pid"
    PPID = "ppid"
    USER = "user"
    UID = "uid"
    GROUP = "group"
    STATE = "stat"
    NICE = "ni"
    THREADS = "nlwp"
    CPU = "pcpu"
    MEMORY = "pmem"
    RESIDENT = "rss"
    VIRTUAL = "vsz"
    TERMINAL = "tty"
    ELAPSED = "etime"
    TIME = "time"
    ARGUMENTS = "args"


def told_columns(asked: Collection[ProcessColumn]) -> tuple[ProcessColumn, ...]:
    """Columns in the order in which they can be told apart.

    The number comes first, as Docker knows a container's processes by it; the command last, as
    there are spaces in it.
    """
    between = [c for c in asked if c not in {ProcessColumn.PID, ProcessColumn.ARGUMENTS}]
    last = [ProcessColumn.ARGUMENTS] if ProcessColumn.ARGUMENTS in asked else []
    return (ProcessColumn.PID, *dict.fromkeys(between), *last)


class ProcessTable(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of a container, as the host's ``ps`` tells of them."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]
    """One row a process, in the order of the titles."""


class ChangeKind(StrEnum):
    """What happened to a file."""

    MODIFIED = "modified"
    ADDED = "added"
    DELETED = "deleted"


class FileChange(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One difference between a container's file system and its image."""

    path: str
    kind: ChangeKind

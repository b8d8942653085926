"""What callers ask for single containers, as JSON."""

import shlex
from collections.abc import Mapping

import msgspec

from domain.container_orders import (
    ContainerOrder,
    HealthcheckOrder,
    MountKind,
    MountOrder,
    NetworkOrder,
    PortOrder,
    RestartName,
    RestartPolicy,
    Ulimit,
)
from domain.container_shorthand import device_order, mount_order, port_orders, restart_policy
from domain.errors import RequestUnreadable
from domain.quantities import seconds
from entrypoints.http.environment_requests import Duration, LimitsRequest, Size, size_bytes

Words = str | list[str]
"""A program and its arguments, one by one or as a shell would split them."""


class PortRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port that the host serves."""

    container_port: int
    protocol: str = "tcp"
    host_port: int | str | None = None
    """A port, or a range such as `8000-8010`; without it one is chosen."""
    host_address: str = ""

    def parsed(self) -> PortOrder:
        """The port in the agent's own words."""
        return PortOrder(
            container_port=self.container_port,
            protocol=self.protocol,
            host_address=self.host_address,
            host_port="" if self.host_port is None else str(self.host_port),
        )


class VolumeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is mounted."""

    type: MountKind = MountKind.VOLUME
    source: str = ""
    """A volume's name, or a folder of the host; empty for a volume without a name."""
    target: str
    read_only: bool = False
    size: Size | None = None
    """Of a tmpfs."""

    def parsed(self) -> MountOrder:
        """The mount in the agent's own words."""
        return MountOrder(
            type=self.type,
            source=self.source,
            target=self.target,
            read_only=self.read_only,
            size_bytes=size_bytes(self.size),
        )


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network that the container joins."""

    name: str
    aliases: list[str] = []
    ipv4_address: str = ""

    def parsed(self) -> NetworkOrder:
        """The network in the agent's own words."""
        return NetworkOrder(
            name=self.name, aliases=tuple(self.aliases), ipv4_address=self.ipv4_address
        )


class RestartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the container is started again."""

    name: RestartName = RestartName.NO
    maximum_retry_count: int = 0


class UlimitRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit of each of its processes; -1 for none."""

    soft: int
    hard: int


class HealthcheckRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is found out whether the container works."""

    test: Words = []
    """A command line for the container's shell; or `["CMD", …]`, `["CMD-SHELL", …]`, `["NONE"]`."""
    interval: Duration | None = None
    timeout: Duration | None = None
    start_period: Duration | None = None
    retries: int | None = None

    def parsed(self) -> HealthcheckOrder:
        """The healthcheck in the agent's own words."""
        test = ["CMD-SHELL", self.test] if isinstance(self.test, str) else self.test
        return HealthcheckOrder(
            test=tuple(test),
            interval_seconds=_duration(self.interval),
            timeout_seconds=_duration(self.timeout),
            start_period_seconds=_duration(self.start_period),
            retries=self.retries,
        )


class ContainerRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container that shall be; whatever is left out is its image's or Docker's own."""

    name: str = ""
    """Made up where there is none."""
    image: str
    """Name with tag or digest; pulled where it is not at hand."""
    command: Words | None = None
    """What it runs, as a list of words or as a shell would split them."""
    entrypoint: Words | None = None
    """What stands before the command."""
    env: Mapping[str, str] | list[str] = {}
    """Variables, beside those of the image: by name, or `["NAME=value"]`."""
    ports: list[str | PortRequest] = []
    """`8080:80`, `127.0.0.1:8080:80/udp`, `8000-8002:90-92`, or fields; `80` lets a port
    of the host be chosen."""
    volumes: list[str | VolumeRequest] = []
    """`data:/var/lib/data`, `/folder:/place:ro`, or with fields."""
    networks: list[str | NetworkRequest] = []
    """`none` for no network at all; empty for the one where containers cannot reach each other."""
    labels: Mapping[str, str] | list[str] = {}
    """By key, or `["key=value"]`."""
    limits: LimitsRequest = LimitsRequest()
    """CPUs, memory, processes and log; the host's own where nothing is said."""
    restart_policy: str | RestartRequest = "no"
    """`no`, `always`, `unless-stopped`, `on-failure`; `on-failure:5` tries five times at most."""
    healthcheck: HealthcheckRequest | None = None
    """How it is found out whether it works; left out, the image's."""
    cap_add: list[str] = []
    """Capabilities beside the usual ones: `NET_ADMIN`."""
    cap_drop: list[str] = []
    devices: list[str] = []
    """Devices of the host: `/dev/net/tun`."""
    user: str = ""
    """A name or number of the image, perhaps with a group: `1000:1000`."""
    working_dir: str = ""
    hostname: str = ""
    init: bool | None = None
    """Whether a first process reaps others; as a rule it does."""
    tty: bool = False
    """Whether it has a terminal."""
    open_stdin: bool = False
    """Whether its input stays open."""
    read_only: bool = False
    """Whether its files cannot be changed, but for what is mounted."""
    stop_signal: str = ""
    """What tells it to end."""
    stop_timeout: int | None = None
    """Seconds."""
    extra_hosts: list[str] = []
    """Names for addresses: `db:10.9.0.2`."""
    dns: list[str] = []
    """Addresses of the servers that it asks for names; the host's own where there are none."""
    dns_search: list[str] = []
    """Domains in which names are looked for."""
    dns_options: list[str] = []
    """Options for its resolver: `ndots:2`."""
    ulimits: Mapping[str, int | UlimitRequest] = {}
    """Limits of each process: `{"nofile": 1024}`, or with `soft` and `hard`; -1 for none."""
    sysctls: Mapping[str, str | int] = {}
    """Kernel parameters of its own: `{"net.ipv4.ip_forward": "1"}`."""
    shm_size: Size | None = None
    """Of `/dev/shm`, out of its memory; 64 MiB as a rule."""
    group_add: list[str] = []
    """Groups of its user, beside those that the image gives it."""

    def parsed(self) -> ContainerOrder:
        """The container in the agent's own words.

        Raises:
            RequestUnreadable: something in it is not what it should be.
        """
        return ContainerOrder(
            name=self.name,
            image=self.image,
            command=_words("command", self.command),
            entrypoint=_words("entrypoint", self.entrypoint),
            env=_pairs("env", self.env),
            ports=tuple(order for port in self.ports for order in _ports(port)),
            volumes=tuple(
                mount_order(v) if isinstance(v, str) else v.parsed() for v in self.volumes
            ),
            networks=tuple(
                NetworkOrder(name=n) if isinstance(n, str) else n.parsed() for n in self.networks
            ),
            labels=_pairs("labels", self.labels),
            limits=self.limits.parsed(),
            restart_policy=self._restart_policy(),
            healthcheck=self.healthcheck.parsed() if self.healthcheck is not None else None,
            cap_add=tuple(self.cap_add),
            cap_drop=tuple(self.cap_drop),
            devices=tuple(device_order(device) for device in self.devices),
            user=self.user,
            working_dir=self.working_dir,
            hostname=self.hostname,
            init=self.init,
            tty=self.tty,
            open_stdin=self.open_stdin,
            read_only=self.read_only,
            stop_signal=self.stop_signal,
            stop_timeout=self.stop_timeout,
            extra_hosts=tuple(_host_entry(entry) for entry in self.extra_hosts),
            dns=tuple(self.dns),
            dns_search=tuple(self.dns_search),
            dns_options=tuple(self.dns_options),
            ulimits={name: _ulimit(limit) for name, limit in self.ulimits.items()},
            sysctls={name: str(value) for name, value in self.sysctls.items()},
            shm_size_bytes=size_bytes(self.shm_size),
            group_add=tuple(self.group_add),
        )

    def _restart_policy(self) -> RestartPolicy:
        asked = self.restart_policy
        if isinstance(asked, str):
            return restart_policy(asked)
        return RestartPolicy(name=asked.name, maximum_retry_count=asked.maximum_retry_count)


EXAMPLE = {
    "name": "web-101",
    "image": "nginx:1.27",
    "env": {"COURSE": "web-101"},
    "ports": ["8080:80", {"container_port": 443, "host_address": "127.0.0.1"}],
    "volumes": ["web-101-data:/usr/share/nginx/html:ro"],
    "labels": {"course": "web-101"},
    "limits": {"cpus": 0.5, "memory": "256m", "pids": 100, "log": "10m"},
    "restart_policy": "unless-stopped",
    "healthcheck": {"test": "wget -q -O /dev/null localhost", "interval": "10s"},
}
"""A request, for the OpenAPI document."""


def _words(field: str, words: Words | None) -> tuple[str, ...] | None:
    if words is None:
        return None
    try:
        return tuple(shlex.split(words) if isinstance(words, str) else words)
    except ValueError as fault:
        raise RequestUnreadable(
            f"{field} cannot be split into words: {fault}.", hint="Give it as a list."
        ) from fault


def _pairs(field: str, asked: Mapping[str, str] | list[str]) -> Mapping[str, str]:
    """Names and values, as they were given or out of texts such as ``NAME=value``."""
    if isinstance(asked, Mapping):
        return asked
    for text in asked:
        if field == "env" and "=" not in text:
            raise RequestUnreadable(
                f"{text[:80]!r} gives no value to a variable.", hint="Write NAME=value."
            )
    return {name: value for name, _, value in (text.partition("=") for text in asked)}


def _host_entry(text: str) -> str:
    """A name for an address, which older Engines want with a colon between them."""
    name, equals, address = text.partition("=")
    return f"{name}:{address}" if equals and ":" not in name else text


def _ulimit(asked: int | UlimitRequest) -> Ulimit:
    if isinstance(asked, int):
        return Ulimit(soft=asked, hard=asked)
    return Ulimit(soft=asked.soft, hard=asked.hard)


def _ports(asked: str | PortRequest) -> tuple[PortOrder, ...]:
    return port_orders(asked) if isinstance(asked, str) else (asked.parsed(),)


def _duration(value: Duration | None) -> float | None:
    return seconds(value) if isinstance(value, str) else value

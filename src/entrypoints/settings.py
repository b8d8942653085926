"""The agent's settings: environment variables, all faults found at once.

``SETTINGS`` is the one list of them; parsing, the README's table and ``.env.example`` are held to
it by tests.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import urlsplit

import msgspec

from domain.compose_policy import DEFAULT_CAPABILITIES, DEFAULT_DEVICES, PortRange
from domain.compose_policy.values import normal_path
from domain.errors import RequestUnreadable
from domain.quantities import byte_size, seconds

MIB = 1024 * 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator has set; one field for each variable, in lower case."""

    jwt_secret: str
    docker_socket: str
    manager_url: str
    host_id: str
    server_key: str
    heartbeat_interval: float
    heartbeat_without_engine: str
    api_host: str
    api_port: int
    max_containers: int
    max_cpu_percent: float
    max_memory_percent: float
    log_level: str
    environment: str
    workspace_dir: str
    state_dir: str
    monitoring_auth: bool
    runtime: str
    agent_image: str
    compose_policy: str
    allowed_capabilities: frozenset[str]
    allowed_devices: frozenset[str]
    allowed_bind_roots: tuple[str, ...]
    allowed_registries: frozenset[str]
    host_ports: PortRange
    new_privileges: bool
    max_body_bytes: int
    max_bundle_bytes: int
    max_unpacked_bytes: int
    max_bundle_entries: int
    max_bundle_ratio: int
    max_image_bytes: int
    max_volume_bytes: int
    max_builds: int
    max_starts: int
    max_execs: int
    network_pool: IPv4Network
    firewall: str
    container_cpus: float
    container_memory: int
    container_pids: int
    container_log: int
    max_container_cpus: float
    max_container_memory: int
    max_container_pids: int
    max_container_log: int
    max_committed_cpu_percent: float
    max_committed_memory_percent: float
    min_free_percent: float
    default_ttl: float
    max_ttl: float
    expiry_warning: float
    bundle_ttl: float
    image_ttl: float
    operation_ttl: float
    audit_ttl: float
    deploy_timeout: float
    build_timeout: float
    resolve_timeout: float
    start_timeout: float
    stop_timeout: float
    pull_timeout: float
    exec_idle: float
    stop_grace: int
    engine_timeout: float
    engine_change_timeout: float
    shutdown_timeout: float

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be logged."""
        return tuple(secret for secret in (self.jwt_secret, self.server_key) if secret)


class SettingsRefused(Exception):
    """The settings are wrong; ``faults`` names each variable and what is the matter with it."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


Parse = Callable[[str], Any]
"""Gives a value from its text; raises ``ValueError`` with the reason."""


@dataclass(frozen=True)
class Setting:
    """One environment variable."""

    name: str
    default: str
    parse: Parse
    meaning: str
    """For people, as the README shows it."""


def _text(value: str) -> str:
    return value


def _number(least: float, most: float) -> Parse:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"must be a number, not {value!r}") from None
        if not least <= number <= most:
            raise ValueError(f"must be from {least:g} to {most:g}, not {value}")
        return number

    return parse


def _integer(least: int, most: int) -> Parse:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII):
            raise ValueError(f"must be a whole number, not {value!r}")
        if not least <= int(value) <= most:
            raise ValueError(f"must be from {least} to {most}, not {value}")
        return int(value)

    return parse


def _one_of(*choices: str) -> Parse:
    def parse(value: str) -> str:
        for choice in choices:
            if value.lower() == choice.lower():
                return choice
        raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")

    return parse


def _switch(value: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in words:
        raise ValueError(f"must be true or false, not {value!r}")
    return words[value.lower()]


def _manager_url(value: str) -> str:
    if not value:
        return ""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address such as https://manager.example.com")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password")
    _ = parts.port  # a port that is none raises ValueError
    return value.rstrip("/")


def _docker_socket(value: str) -> str:
    if value.startswith("/"):
        return f"unix://{value}"
    if not re.match(r"(unix:///|tcp://.)", value):
        raise ValueError("must be unix:///path/to/docker.sock or tcp://host:port")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"must be an absolute path, not {value!r}")
    return "/" + value.strip("/")


def _size(least: int) -> Parse:
    def parse(value: str) -> int:
        try:
            size = byte_size(value)
        except RequestUnreadable as fault:
            raise ValueError(f"must be a size such as 512m or 1g, not {value!r}") from fault
        if size < least:
            raise ValueError(f"must be at least {least} bytes, not {value}")
        return size

    return parse


def _duration(value: str) -> float:
    if value in {"0", "0s"}:
        return 0.0
    try:
        return seconds(value)
    except RequestUnreadable as fault:
        raise ValueError(f"must be a duration such as 90, 15m, 2h or 7d, not {value!r}") from fault


def _positive_duration(value: str) -> float:
    found = _duration(value)
    if not found:
        raise ValueError("must be more than 0")
    return found


def _network_pool(value: str) -> IPv4Network:
    try:
        pool = IPv4Network(value)
    except ValueError:
        raise ValueError(f"must be a range such as 10.213.0.0/16, not {value!r}") from None
    if not 8 <= pool.prefixlen <= 24:
        raise ValueError("must be a range from /8 to /24")
    return pool


def _list(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def _capabilities(value: str) -> frozenset[str]:
    names = {name.upper().removeprefix("CAP_") for name in _list(value)}
    for name in sorted(names):
        if not re.fullmatch(r"[A-Z][A-Z_]{2,30}", name) or name == "ALL":
            raise ValueError(f"must be names such as NET_ADMIN with commas between, not {name!r}")
    return frozenset(names)


def _devices(value: str) -> frozenset[str]:
    for path in _list(value):
        if normal_path(path) != path or not path.startswith("/dev/"):
            raise ValueError(f"must be devices such as /dev/net/tun, not {path!r}")
    return frozenset(_list(value))


def _bind_roots(value: str) -> tuple[str, ...]:
    for path in _list(value):
        if normal_path(path) != path or path == "/":
            raise ValueError(f"must be absolute paths of folders, not {path!r}")
    return tuple(_list(value))


def _registries(value: str) -> frozenset[str]:
    for host in _list(value):
        if not re.fullmatch(r"[A-Za-z0-9.\-\[\]:]{1,253}", host, re.ASCII):
            raise ValueError(f"must be host names with or without a port, not {host!r}")
    return frozenset(host.lower() for host in _list(value))


def _ports(value: str) -> PortRange:
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", value, re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65_535:
        raise ValueError(f"must be a range such as 20000-29999, not {value!r}")
    return PortRange(first, last)


def _identifier(value: str) -> str:
    # The manager wants a UUID and says so itself; deployments that pass a node's name still start.
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,128}", value, re.ASCII) or value in {".", ".."}:
        raise ValueError("must be the identifier that the manager gave at registration")
    return value


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "JWT_SECRET",
        "",
        _text,
        "The platform's signing secret. Without it only `SERVER_KEY` itself is accepted.",
    ),
    Setting(
        "DOCKER_SOCKET",
        "unix:///var/run/docker.sock",
        _docker_socket,
        "Address of the Docker Engine.",
    ),
    Setting(
        "MANAGER_URL",
        "",
        _manager_url,
        "Address of the manager. Without it the agent runs alone and sends no heartbeat.",
    ),
    Setting("HOST_ID", "", _identifier, "This host's identifier, from its registration."),
    Setting("SERVER_KEY", "", _text, "This host's key, from its registration."),
    Setting(
        "HEARTBEAT_INTERVAL", "10", _number(1, 3600), "Seconds from one heartbeat to the next."
    ),
    Setting(
        "HEARTBEAT_WITHOUT_ENGINE",
        "report",
        _one_of("report", "silent"),
        "While the Engine does not answer: `report` the host as full, or be `silent`.",
    ),
    Setting("API_HOST", "0.0.0.0", _text, "Address on which the API listens."),  # noqa: S104
    Setting("API_PORT", "8003", _integer(1, 65535), "Port on which the API listens."),
    Setting(
        "MAX_CONTAINERS",
        "10",
        _integer(1, 100_000),
        "Running containers on the host beyond which launches are refused.",
    ),
    Setting(
        "MAX_CPU_PERCENT",
        "80",
        _number(1, 100),
        "CPU use, averaged over a minute, beyond which launches are refused; 100 for no limit.",
    ),
    Setting(
        "MAX_MEMORY_PERCENT",
        "80",
        _number(1, 100),
        "Memory use beyond which launches are refused; 100 for no limit.",
    ),
    Setting(
        "LOG_LEVEL",
        "INFO",
        _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "What the log holds.",
    ),
    Setting(
        "ENVIRONMENT",
        "production",
        _one_of("production", "development"),
        "`production` logs JSON, `development` logs for a terminal.",
    ),
    Setting(
        "WORKSPACE_DIR",
        "/opt/containers",
        _absolute,
        "Folder of the environments' files; the same path inside and outside a container.",
    ),
    Setting("STATE_DIR", "/var/lib/container-host-agent", _absolute, "Folder of the records."),
    Setting(
        "MONITORING_AUTH",
        "false",
        _switch,
        "`true` asks for the key on `/metrics`, `/system/…`, `/docs` and `/openapi.json` too.",
    ),
    Setting(
        "RUNTIME",
        "docker",
        _one_of("docker", "memory"),
        "`docker`, or `memory` to try the agent without an Engine.",
    ),
    Setting(
        "AGENT_IMAGE",
        "",
        _text,
        "The agent's own image, where it runs as an ordinary user: files that containers own are "
        "removed, and volumes restored, through it.",
    ),
    Setting(
        "COMPOSE_POLICY",
        "lab",
        _one_of("lab", "trusted"),
        "What bundles may ask for: `lab` takes them for those of strangers and refuses what is not "
        "known to be safe, `trusted` refuses only what would break the agent itself.",
    ),
    Setting(
        "ALLOWED_CAPABILITIES",
        ",".join(sorted(DEFAULT_CAPABILITIES)),
        _capabilities,
        "Capabilities that containers may have; all others are dropped.",
    ),
    Setting(
        "ALLOWED_DEVICES",
        ",".join(sorted(DEFAULT_DEVICES)),
        _devices,
        "Devices of the host that containers may have.",
    ),
    Setting(
        "ALLOWED_BIND_ROOTS",
        "",
        _bind_roots,
        "Folders of the host, beside the bundle's own, that containers may mount.",
    ),
    Setting(
        "ALLOWED_REGISTRIES",
        "",
        _registries,
        "Registries, beside those with a public name, that images may come from: "
        "`registry.internal:5000`.",
    ),
    Setting(
        "HOST_PORTS", "1-65535", _ports, "Ports of the host that may be published, but the agent's."
    ),
    Setting(
        "NEW_PRIVILEGES",
        "false",
        _switch,
        "`true` lets programs in containers gain rights by setuid bits (`sudo`, `su`), as labs "
        "about that need.",
    ),
    Setting(
        "MAX_BODY_BYTES",
        str(512 * MIB),
        _integer(1024, 1 << 40),
        "Largest request that is read.",
    ),
    Setting(
        "MAX_BUNDLE_BYTES", str(1024 * MIB), _integer(1024, 1 << 40), "Largest archive of a bundle."
    ),
    Setting(
        "MAX_UNPACKED_BYTES",
        str(2048 * MIB),
        _integer(1024, 1 << 40),
        "Most that a bundle may hold when unpacked.",
    ),
    Setting("MAX_BUNDLE_ENTRIES", "10000", _integer(1, 1_000_000), "Most entries in a bundle."),
    Setting(
        "MAX_BUNDLE_RATIO",
        "200",
        _integer(1, 100_000),
        "Most that a bundle may grow by unpacking; looked at beyond 16 MiB.",
    ),
    Setting(
        "MAX_IMAGE_BYTES",
        "10737418240",
        _integer(1, 2**50),
        "Largest archive of images that is loaded, unpacked.",
    ),
    Setting(
        "MAX_VOLUME_BYTES",
        "10737418240",
        _integer(1, 2**50),
        "Largest archive that a volume is restored from, unpacked.",
    ),
    Setting("MAX_BUILDS", "4", _integer(1, 64), "How many launches build at once."),
    Setting("MAX_STARTS", "8", _integer(1, 256), "How many launches start containers at once."),
    Setting(
        "MAX_EXECS",
        "100",
        _integer(1, 1000),
        "How many commands run in containers at once, terminals among them.",
    ),
    Setting(
        "NETWORK_POOL",
        "10.213.0.0/16",
        _network_pool,
        "Addresses of environments' networks; nothing else on the host or in its reach may have "
        "them.",
    ),
    Setting(
        "FIREWALL",
        "auto",
        _one_of("auto", "off"),
        "`auto` keeps environments from the host's services and from each other's published ports "
        "where the agent may set rules; `off` leaves the packet filter alone.",
    ),
    Setting(
        "CONTAINER_CPUS",
        "1",
        _number(0.01, 1024),
        "CPUs that a container may use where neither request nor bundle says.",
    ),
    Setting("CONTAINER_MEMORY", "1g", _size(6 * MIB), "Memory, swap included, in the same case."),
    Setting("CONTAINER_PIDS", "512", _integer(1, 1 << 22), "Processes in the same case."),
    Setting("CONTAINER_LOG", "20m", _size(4096), "Output that is kept, in the same case."),
    Setting("MAX_CONTAINER_CPUS", "4", _number(0.01, 1024), "Most CPUs that may be asked for."),
    Setting("MAX_CONTAINER_MEMORY", "8g", _size(6 * MIB), "Most memory that may be asked for."),
    Setting(
        "MAX_CONTAINER_PIDS", "4096", _integer(1, 1 << 22), "Most processes that may be asked for."
    ),
    Setting("MAX_CONTAINER_LOG", "100m", _size(4096), "Most output that may be asked to be kept."),
    Setting(
        "MAX_COMMITTED_CPU_PERCENT",
        "10000",
        _number(1, 1_000_000),
        "How far the CPU limits of all containers together may go, in percent of the host's CPUs.",
    ),
    Setting(
        "MAX_COMMITTED_MEMORY_PERCENT",
        "1000",
        _number(1, 1_000_000),
        "The same of memory limits, in percent of the host's memory.",
    ),
    Setting(
        "MIN_FREE_PERCENT",
        "5",
        _number(0, 90),
        "Free space, in bytes and in inodes, on each disk below which unused images go and "
        "launches are refused.",
    ),
    Setting(
        "DEFAULT_TTL",
        "0",
        _duration,
        "Life of environments that `/api/v1` makes and the request says nothing; 0 for ever.",
    ),
    Setting(
        "MAX_TTL",
        "0",
        _duration,
        "Longest life of an environment made through `/api/v1`, extensions included; 0 for any.",
    ),
    Setting(
        "EXPIRY_WARNING", "5m", _duration, "How long before its end an environment is warned of it."
    ),
    Setting("BUNDLE_TTL", "7d", _duration, "How long an unused bundle is kept."),
    Setting("IMAGE_TTL", "7d", _duration, "How long an unused image is kept."),
    Setting(
        "OPERATION_TTL", "7d", _duration, "How long records of operations and timelines are kept."
    ),
    Setting(
        "AUDIT_TTL",
        "90d",
        _duration,
        "How long it is kept who asked for which change; 0 for the log only.",
    ),
    Setting(
        "DEPLOY_TIMEOUT",
        "570",
        _number(1, 86_400),
        "Seconds that a launch may take, waiting included; the manager gives up after 600.",
    ),
    Setting("BUILD_TIMEOUT", "540", _number(1, 86_400), "Seconds that its build may take."),
    Setting(
        "RESOLVE_TIMEOUT",
        "30",
        _number(1, 86_400),
        "Seconds that Compose may take to read a bundle's files.",
    ),
    Setting(
        "START_TIMEOUT",
        "300",
        _number(1, 86_400),
        "Seconds that Compose may take to start an environment, `depends_on` conditions included.",
    ),
    Setting(
        "STOP_TIMEOUT",
        "120",
        _number(1, 86_400),
        "Seconds that Compose may take to stop an environment; more than `STOP_GRACE`.",
    ),
    Setting(
        "PULL_TIMEOUT",
        "900",
        _number(1, 86_400),
        "Seconds that a pull may take which is asked for by itself.",
    ),
    Setting(
        "EXEC_IDLE",
        "30m",
        _positive_duration,
        "How long a terminal may be silent, both ways, before it is ended.",
    ),
    Setting(
        "STOP_GRACE",
        "3",
        _integer(0, 300),
        "Seconds that a container may take to stop before it is killed.",
    ),
    Setting(
        "ENGINE_TIMEOUT",
        "7",
        _number(0.1, 86_400),
        "Seconds that a question to the Docker Engine may take; the manager waits 10 for a list.",
    ),
    Setting(
        "ENGINE_CHANGE_TIMEOUT",
        "60",
        _number(0.1, 86_400),
        "Seconds that one change at the Docker Engine may take, such as removing a container.",
    ),
    Setting(
        "SHUTDOWN_TIMEOUT",
        "20",
        _number(0, 3600),
        "Seconds that operations may take to end when the agent is stopped; then they are undone.",
    ),
)
"""Every setting, in the order in which the documentation shows them."""


def read_settings(variables: Mapping[str, str]) -> Settings:
    """The settings that environment variables hold; empty ones count as not set.

    Raises:
        SettingsRefused: one or more are wrong.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for setting in SETTINGS:
        text = variables.get(setting.name, "").strip() or setting.default
        try:
            values[setting.name.lower()] = setting.parse(text)
        except ValueError as fault:
            faults.append(f"{setting.name} {fault}.")
    faults += _together(values)
    if faults:
        raise SettingsRefused(tuple(faults))
    return Settings(**values)


_PLACEHOLDERS = {
    "jwt_secret": "your_jwt_secret_key_minimum_32_characters",
    "host_id": "uuid_provided_during_registration",
    "server_key": "server_key_provided_during_registration",
}
"""What stands in ``.env.example``, known to everybody."""


def _together(values: Mapping[str, Any]) -> list[str]:
    """Faults that only show when several settings are looked at."""
    faults = [
        f"{name.upper()} is still what the example says; put your own there, or leave it empty."
        for name, text in _PLACEHOLDERS.items()
        if values.get(name) == text
    ]
    if values.get("manager_url"):
        faults += [
            f"{name.upper()} must be set, since MANAGER_URL is; register the host to get it."
            for name in ("host_id", "server_key")
            if values.get(name) == ""
        ]
    if any(ord(character) < 33 or ord(character) > 126 for character in values["server_key"]):
        faults.append("SERVER_KEY must be plain text without spaces, as the manager gave it.")
    faults += [
        f"{name.upper()} must not be more than MAX_{name.upper()}."
        for name in ("container_cpus", "container_memory", "container_pids", "container_log")
        if name in values and values[name] > values.get(f"max_{name}", values[name])
    ]
    if values.get("stop_grace", 0) >= values.get("stop_timeout", math.inf):
        faults.append("STOP_GRACE must be less than STOP_TIMEOUT.")
    if values.get("workspace_dir") and values.get("workspace_dir") == values.get("state_dir"):
        faults.append("STATE_DIR must be another folder than WORKSPACE_DIR.")
    return faults

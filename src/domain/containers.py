"""What the Engine runs, as the agent sees it."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import msgspec

PROJECT_LABEL = "com.docker.compose.project"
"""Compose marks with it what belongs to a project."""

SERVICE_LABEL = "com.docker.compose.service"

ERASER_LABEL = "container-host-agent.eraser"
"""The agent marks with it the containers in which it empties folders; the value says whose."""

HELPER_LABEL = "container-host-agent.helper"
"""The same of those through which it reads and writes volumes."""

REPLACES_LABEL = "com.docker.compose.replace"
"""Compose marks with it what it makes in the place of an earlier container."""

# The beginning of the earlier one's identifier, and its name, which it takes over in the end.
_STAND_IN = re.compile(r"[0-9a-f]{12}_(.+)")

_HEALTH = re.compile(r"\((healthy|unhealthy|health: starting)\)")
_EXIT_CODE = re.compile(r"Exited \((\d+)\)")


class ContainerState(StrEnum):
    """States of a container, in the Engine's own words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"


_RUNNING = frozenset({ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING})


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a container that the host serves."""

    container_port: int
    protocol: str
    host_address: str
    host_port: int


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container."""

    id: str
    """The Engine's full identifier."""
    name: str
    image: str
    """The image's name as the container was created from it."""
    image_id: str = ""
    """The image itself, whatever its name means by now; empty where that is not known."""
    state: ContainerState
    status: str = ""
    """The Engine's words for people, such as ``Up 3 minutes (healthy)``."""
    labels: Mapping[str, str] = {}
    created_at: datetime | None = None
    ports: tuple[PublishedPort, ...] = ()
    network_mode: str = ""
    """``host``, ``none``, ``container:`` and an identifier, or the network it was made in."""

    @property
    def service(self) -> str | None:
        """The service that it belongs to."""
        return self.labels.get(SERVICE_LABEL)

    @property
    def stands_in_for(self) -> str | None:
        """The name that it was to take over when Compose was cut off; None where it was not."""
        found = _STAND_IN.fullmatch(self.name) if REPLACES_LABEL in self.labels else None
        return found[1] if found else None

    @property
    def health(self) -> str | None:
        """``healthy``, ``unhealthy`` or ``starting``; None where nobody checks."""
        found = _HEALTH.search(self.status)
        return found[1].removeprefix("health: ") if found else None

    @property
    def exit_code(self) -> int | None:
        """Of one that has ended."""
        found = _EXIT_CODE.match(self.status)
        return int(found[1]) if found else None

    @property
    def project(self) -> str | None:
        """The Compose project it belongs to."""
        return self.labels.get(PROJECT_LABEL)

    @property
    def running(self) -> bool:
        """Whether it runs, as ``docker ps`` counts."""
        return self.state in _RUNNING

    @property
    def at_work(self) -> bool:
        """Whether there are processes of it, be they paused."""
        return self.state in {ContainerState.RUNNING, ContainerState.PAUSED}

    @property
    def well(self) -> bool:
        """Whether it is as its author would want it: at work, or ended without an error."""
        if self.state is ContainerState.RUNNING:
            return "(unhealthy)" not in self.status
        return self.state is ContainerState.EXITED and self.status.startswith("Exited (0)")


class ContainerAction(StrEnum):
    """What happened to a container, as far as the agent tells of it."""

    CREATED = "create"
    STARTED = "start"
    DIED = "die"
    STOPPED = "stop"
    """Somebody asked the Engine to stop it; ``DIED`` came before."""
    KILLED = "kill"
    """A signal was sent to it, which need not end it."""
    OUT_OF_MEMORY = "oom"
    HEALTH = "health_status"
    PAUSED = "pause"
    UNPAUSED = "unpause"
    RESTARTED = "restart"
    REMOVED = "destroy"


class ContainerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a container."""

    at: datetime
    action: ContainerAction
    container: str
    """Its name."""
    container_id: str
    project: str | None = None
    service: str | None = None
    exit_code: int | None = None
    """Of ``DIED``."""
    signal: str | None = None
    """Of ``KILLED``, as the Engine gives it: a number as text."""
    health: str | None = None
    """Of ``HEALTH``: ``healthy`` or ``unhealthy``."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a container printed."""

    at: datetime | None
    container: str
    """Its name."""
    service: str | None
    stream: str
    """``stdout``, ``stderr``, or ``agent`` for a remark of the agent's own."""
    text: str
    """Without its end; bytes that are no UTF-8 replaced, control characters made harmless."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image that was built for a Compose project."""

    id: str
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}


class Marked(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A network or volume that bears the label of an environment."""

    kind: str
    """``network`` or ``volume``."""
    name: str
    environment: str


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the Engine says of itself."""

    version: str
    api_version: str
    storage_driver: str
    root_dir: str
    """Where it keeps images and volumes, on the host."""
    host_name: str = ""
    operating_system: str = ""
    """Of the host, also where the agent itself runs in a container."""
    cgroup_version: str = ""


class Inventory(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The agent's picture of the containers at one moment, sorted by name."""

    containers: tuple[Container, ...] = ()
    seen_at: datetime | None = None
    """When the Engine last told; None before it ever has."""
    fault: str = ""
    """Why the Engine does not answer at present; empty while it does."""
    fault_since: datetime | None = None

    @property
    def engine_up(self) -> bool:
        """Whether the Engine answered when last asked."""
        return self.seen_at is not None and not self.fault

    @cached_property
    def running(self) -> tuple[Container, ...]:
        """The containers that run."""
        return tuple(container for container in self.containers if container.running)

    def of_project(self, project: str) -> tuple[Container, ...]:
        """The containers of one Compose project."""
        return self._projects.get(project, ())

    @cached_property
    def _projects(self) -> Mapping[str, tuple[Container, ...]]:
        found: dict[str, list[Container]] = {}
        for container in self.containers:
            if container.project is not None:
                found.setdefault(container.project, []).append(container)
        return {project: tuple(containers) for project, containers in found.items()}

"""Containers as they are shown."""

import base64
from collections.abc import Mapping
from datetime import datetime

import msgspec

from domain.container_details import ContainerDetails, FileChange
from domain.container_streams import OutputLine
from domain.containers import ContainerState, PublishedPort
from domain.usecases.container_list import Listed


class ContainerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One container, as the agent last saw it."""

    id: str
    name: str
    image: str
    image_id: str
    state: ContainerState
    status: str
    """In the Engine's words, such as `Up 3 minutes (healthy)`."""
    health: str | None
    exit_code: int | None
    """Of one that has ended."""
    created_at: datetime | None
    ports: tuple[PublishedPort, ...]
    labels: Mapping[str, str]
    environment: str | None
    """The environment that it belongs to."""
    service: str | None


class ContainerListView(msgspec.Struct, frozen=True, kw_only=True):
    """Containers, sorted by name."""

    containers: tuple[ContainerSummary, ...]
    total: int
    """How many there are, with those beyond `limit`."""


class SingleContainer(ContainerDetails, frozen=True, kw_only=True):
    """One container, whole, as the Engine tells of it now."""

    environment: str | None = None
    """The environment that it belongs to."""


class CreatedContainer(SingleContainer, frozen=True, kw_only=True):
    """A container that was made."""

    warnings: tuple[str, ...] = ()
    """What the Engine warns of, in its own words."""


class FileChanges(msgspec.Struct, frozen=True, kw_only=True):
    """How a container's files differ from its image's, sorted by path."""

    changes: tuple[FileChange, ...]
    total: int
    """How many there are, with those beyond `limit`."""


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line that a container printed, or a part of a very long one."""

    at: str | None = None
    """When, to the nanosecond (RFC 3339)."""
    stream: str
    """`stdout`, `stderr`, or `agent` for a remark of the agent's own."""
    text: str | None = None
    """Exactly as it was printed, where that is UTF-8."""
    base64: str | None = None
    """The bytes, where it is not."""
    partial: bool = False
    """The line goes on in the next record of the same stream."""


def summary(listed: Listed) -> ContainerSummary:
    """A container of a list."""
    container = listed.container
    return ContainerSummary(
        id=container.id,
        name=container.name,
        image=container.image,
        image_id=container.image_id,
        state=container.state,
        status=container.status,
        health=container.health,
        exit_code=container.exit_code,
        created_at=container.created_at,
        ports=container.ports,
        labels=container.labels,
        environment=listed.environment,
        service=container.service,
    )


def container_view(container: ContainerDetails, environment: str | None) -> SingleContainer:
    """One container, and the environment that it belongs to."""
    return SingleContainer(**msgspec.structs.asdict(container), environment=environment)


def log_record(line: OutputLine) -> LogRecord:
    """A line that was printed: as text, or as bytes where it is none."""
    at = line.at or None
    try:
        text = line.data.decode()
    except UnicodeDecodeError:
        coded = base64.b64encode(line.data).decode()
        return LogRecord(at=at, stream=line.stream, base64=coded, partial=line.partial)
    return LogRecord(at=at, stream=line.stream, text=text, partial=line.partial)

"""Environments as they are shown."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from domain.containers import Container, ContainerState, PublishedPort
from domain.environments import (
    Environment,
    EnvironmentState,
    Hold,
    Isolation,
    ServiceRecord,
)
from domain.limits import ContainerLimits, HeldLimits


class ContainerView(msgspec.Struct, frozen=True, kw_only=True):
    """One container of a service."""

    id: str
    name: str
    state: ContainerState
    status: str
    """In the Engine's words."""
    health: str | None
    exit_code: int | None
    created_at: datetime | None
    ports: tuple[PublishedPort, ...]


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """One service."""

    name: str
    image: str
    replicas: int
    limits: HeldLimits | None
    """Of each of its containers; null where an earlier agent deployed it."""
    containers: tuple[ContainerView, ...]


class EnvironmentView(msgspec.Struct, frozen=True, kw_only=True):
    """One environment."""

    name: str
    state: EnvironmentState
    reason: str
    """Why it is failed or degraded."""
    last_error: str
    """Why the last change failed, if it did."""
    operation: str | None
    """The last operation that changed it."""
    bundle: str | None
    labels: Mapping[str, str]
    isolation: Isolation
    limits: ContainerLimits
    """As they were asked for; each service shows what it has."""
    networks: Mapping[str, str]
    """Network → address range."""
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    hold: Hold | None
    adopted: bool
    """Deployed by an earlier agent."""
    services: tuple[ServiceView, ...]


def environment_view(record: Environment, containers: Sequence[Container]) -> EnvironmentView:
    """An environment, with its containers as they were last seen."""
    return EnvironmentView(
        name=record.name,
        state=record.observed(containers) if record.settled else record.state,
        reason=record.reason or _trouble(record, containers),
        last_error=record.last_error,
        operation=record.operation,
        bundle=record.bundle,
        labels=record.labels,
        isolation=record.isolation,
        limits=record.limits,
        networks=record.networks,
        created_at=record.created_at,
        updated_at=record.updated_at,
        expires_at=record.expires_at,
        hold=record.hold,
        adopted=record.adopted,
        services=_services(record, containers),
    )


def _trouble(record: Environment, containers: Sequence[Container]) -> str:
    """What is the matter with a degraded environment."""
    if not record.settled or not any(container.running for container in containers):
        return ""
    told = [f"{c.name}: {c.status or c.state}." for c in containers if not c.well]
    told += [f"{service}: containers are missing." for service in record.lacking(containers)]
    return " ".join(told)


def _services(record: Environment, containers: Sequence[Container]) -> tuple[ServiceView, ...]:
    known: dict[str, ServiceRecord | None] = {s.name: s for s in record.services}
    for container in containers:
        known.setdefault(container.service or container.name, None)
    return tuple(
        _service(name, service, [c for c in containers if (c.service or c.name) == name])
        for name, service in sorted(known.items())
    )


def _service(
    name: str, record: ServiceRecord | None, containers: Sequence[Container]
) -> ServiceView:
    return ServiceView(
        name=name,
        image=record.image if record else next((c.image for c in containers), ""),
        replicas=record.replicas if record else len(containers),
        limits=record.limits if record else None,
        containers=tuple(_container(container) for container in containers),
    )


def _container(container: Container) -> ContainerView:
    return ContainerView(
        id=container.id,
        name=container.name,
        state=container.state,
        status=container.status,
        health=container.health,
        exit_code=container.exit_code,
        created_at=container.created_at,
        ports=container.ports,
    )

"""Admission: what the host still has room for, and why not."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from domain.container_orders import CPUS_LABEL, MEMORY_LABEL
from domain.containers import Inventory
from domain.environments import Environment, ServiceRecord
from domain.errors import CapacityExceeded


class CapacityLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How far the host may be filled."""

    max_containers: int = 10
    """Running containers on the whole host, as the heartbeat counts them."""
    max_cpu_percent: float = 80.0
    max_memory_percent: float = 80.0
    max_committed_cpu_percent: float = 10_000.0
    """How far the CPU limits of all containers together may go beyond the host's CPUs."""
    max_committed_memory_percent: float = 1_000.0
    """The same of their memory limits."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment may use at most."""

    containers: int
    cpus: float = 0.0
    memory_bytes: int = 0

    def __add__(self, other: "Demand") -> "Demand":
        """Both together."""
        return Demand(
            containers=self.containers + other.containers,
            cpus=self.cpus + other.cpus,
            memory_bytes=self.memory_bytes + other.memory_bytes,
        )


NOTHING = Demand(containers=0)


def demand(environment: Environment) -> Demand:
    """What an environment may use at most, as far as its record tells."""
    return services_demand(environment.services)


def services_demand(services: Iterable[ServiceRecord]) -> Demand:
    """What services may use at most together."""
    return sum((_service_demand(service) for service in services), NOTHING)


def _service_demand(service: ServiceRecord) -> Demand:
    return Demand(
        containers=service.replicas,
        cpus=service.limits.cpus * service.replicas,
        memory_bytes=service.limits.memory_bytes * service.replicas,
    )


def promised(
    environments: Iterable[Environment],
    reserved: Mapping[str, Demand],
    *,
    without: str,
) -> Demand:
    """What all environments may use together, but one; stopped ones too, as they may start."""
    found: dict[str, Demand] = {r.name: demand(r) for r in environments if r.deployed}
    found.update(reserved)
    found.pop(without, None)
    return sum(found.values(), NOTHING)


def singles_demand(inventory: Inventory) -> Demand:
    """What containers that were made one by one may use together; stopped ones too."""
    return sum((_single_demand(c.labels) for c in inventory.containers), NOTHING)


def _single_demand(labels: Mapping[str, str]) -> Demand:
    try:
        cpus, memory = float(labels[CPUS_LABEL]), int(labels[MEMORY_LABEL])
    except (KeyError, ValueError):
        return NOTHING
    if not 0 <= cpus < math.inf or memory < 0:
        return NOTHING
    return Demand(containers=1, cpus=cpus, memory_bytes=memory)


def committed_containers(
    inventory: Inventory, reserved: Mapping[str, Demand], *, without: str
) -> int:
    """Containers that run or are about to, but those of one environment.

    A launch under way counts with what it reserved or what already runs of it, whichever is more.
    """
    running: dict[str | None, int] = {}
    for container in inventory.running:
        running[container.project] = running.get(container.project, 0) + 1
    for name, wanted in reserved.items():
        running[name] = max(running.get(name, 0), wanted.containers)
    running.pop(without, None)
    return sum(running.values())


def admit(
    limits: CapacityLimits,
    *,
    committed: int,
    asked: int,
    cpu_percent: float,
    memory_percent: float,
) -> None:
    """Lets a launch of ``asked`` containers pass, or says why not.

    Raises:
        CapacityExceeded: a limit would be passed.
    """
    if committed + asked > limits.max_containers:
        raise CapacityExceeded(
            f"The host runs or starts {committed} containers and may run "
            f"{limits.max_containers} (MAX_CONTAINERS); this launch needs {asked} more.",
            hint="Remove an environment, or launch on another host.",
            retry_after=30,
        )
    if cpu_percent > limits.max_cpu_percent:
        raise CapacityExceeded(
            f"The host's CPU is {cpu_percent:.0f} % busy, more than the "
            f"{limits.max_cpu_percent:g} % up to which it takes launches (MAX_CPU_PERCENT).",
            hint="Try again later, or launch on another host.",
            retry_after=30,
        )
    if memory_percent > limits.max_memory_percent:
        raise CapacityExceeded(
            f"The host's memory is {memory_percent:.0f} % used, more than the "
            f"{limits.max_memory_percent:g} % up to which it takes launches (MAX_MEMORY_PERCENT).",
            hint="Try again later, or launch on another host.",
            retry_after=30,
        )


def admit_promises(
    limits: CapacityLimits, *, promised: Demand, asked: Demand, cpus: int, memory_bytes: int
) -> None:
    """Lets a launch pass if all limits together stay within what the host may promise.

    Args:
        limits: how far that is.
        promised: to others.
        asked: by this launch.
        cpus: that the host has.
        memory_bytes: that the host has.

    Raises:
        CapacityExceeded: they would not.
    """
    total = promised + asked
    shares = (
        ("CPU", total.cpus / cpus, limits.max_committed_cpu_percent, "MAX_COMMITTED_CPU_PERCENT"),
        (
            "memory",
            total.memory_bytes / memory_bytes,
            limits.max_committed_memory_percent,
            "MAX_COMMITTED_MEMORY_PERCENT",
        ),
    )
    for kind, share, most, setting in shares:
        if share * 100 > most:
            raise CapacityExceeded(
                f"With this launch, containers could use {share * 100:.0f} % of the host's {kind}, "
                f"more than the {most:g} % that it may promise ({setting}).",
                hint="Ask for lower limits, remove an environment, or launch on another host.",
                retry_after=30,
            )

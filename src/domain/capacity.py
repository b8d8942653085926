"""Admission: what the host still has room for, and why not."""

from collections.abc import Mapping

import msgspec

from domain.containers import Inventory
from domain.errors import CapacityExceeded
from domain.names import EnvironmentName


class CapacityLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How far the host may be filled."""

    max_containers: int = 10
    """Running containers on the whole host, as the heartbeat counts them."""
    max_cpu_percent: float = 80.0
    max_memory_percent: float = 80.0


def committed_containers(
    inventory: Inventory, reserved: Mapping[EnvironmentName, int], *, without: EnvironmentName
) -> int:
    """Containers that run or are about to, but those of one environment.

    A launch under way counts with what it reserved or what already runs of it, whichever is more.
    """
    running: dict[str | None, int] = {}
    for container in inventory.running:
        running[container.project] = running.get(container.project, 0) + 1
    for name, count in reserved.items():
        running[name] = max(running.get(name, 0), count)
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

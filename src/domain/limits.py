"""Limits of single containers: what was asked for, what the host allows, what comes of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from domain.errors import RequestUnreadable
from domain.quantities import byte_size

MIN_MEMORY_BYTES = 6 * 1024 * 1024
"""The Engine refuses less."""


class ContainerLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of each container of an environment; None where nothing was asked for."""

    cpus: float | None = None
    """How many CPUs' worth of time it may use."""
    memory_bytes: int | None = None
    """Memory, swap included."""
    pids: int | None = None
    """How many processes and threads it may have."""
    log_bytes: int | None = None
    """How much of its output is kept."""


class HeldLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that a container is started with."""

    cpus: float
    memory_bytes: int
    pids: int
    log_bytes: int


class LimitRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows each container, and gives it where nobody asks."""

    defaults: HeldLimits
    most: HeldLimits

    def check(self, asked: ContainerLimits) -> None:
        """Refuses what cannot be given.

        Raises:
            RequestUnreadable: a limit is beyond the host's maximum, or makes no sense.
        """
        for name in ContainerLimits.__struct_fields__:
            value, most = getattr(asked, name), getattr(self.most, name)
            least = MIN_MEMORY_BYTES if name == "memory_bytes" else _LEAST[name]
            if value is not None and not least <= value <= most:
                asked_for = name.removesuffix("_bytes")
                raise RequestUnreadable(
                    f"limits.{asked_for} is {value}, and on this host it may be "
                    f"from {least} to {most} (MAX_CONTAINER_{asked_for.upper()})."
                )

    def held(self, asked: ContainerLimits, own: ContainerLimits, *, cpus: int) -> HeldLimits:
        """The limits of one container.

        What the bundle says of itself stands as long as it keeps within what was asked for, or,
        where nothing was, within the host's maximum.

        Args:
            asked: by the request.
            own: by the bundle.
            cpus: how many the host has; the Engine refuses more.
        """
        values: dict[str, Any] = {}
        for name in HeldLimits.__struct_fields__:
            ceiling = getattr(asked, name)
            wished = getattr(own, name)
            if wished is None:
                wished = getattr(self.defaults, name) if ceiling is None else ceiling
            most = getattr(self.most, name)
            values[name] = min(wished, most if ceiling is None else min(ceiling, most))
        values["cpus"] = min(values["cpus"], float(cpus))
        return HeldLimits(**values)


_LEAST = {"cpus": 0.01, "pids": 1, "log_bytes": 4096}


def own_limits(service: Mapping[str, Any]) -> ContainerLimits:
    """The limits that a resolved service sets itself."""
    resources = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    memory = _bytes(service.get("mem_limit")) or _bytes(resources.get("memory"))
    pids = _number(service.get("pids_limit")) or _number(resources.get("pids"))
    cpus = _number(service.get("cpus")) or _number(resources.get("cpus"))
    # What Compose would round to nothing would be no limit at all.
    return ContainerLimits(
        cpus=max(cpus, _LEAST["cpus"]) if cpus else None,
        memory_bytes=max(memory, MIN_MEMORY_BYTES) if memory else None,
        pids=max(1, int(pids)) if pids else None,
    )


def _number(value: object) -> float | None:
    """A number above nothing; anything else sets no limit, as for Compose."""
    try:
        number = float(str(value)) if value is not None else 0.0
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _bytes(value: object) -> int | None:
    try:
        return byte_size(str(value)) if value is not None else None
    except RequestUnreadable:
        return None

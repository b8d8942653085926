"""Who may launch: the host's limits, with what is under way counted in."""

from domain.capacity import CapacityLimits, admit, committed_containers
from domain.names import EnvironmentName
from domain.usecases.host import ADMISSION_WINDOW_SECONDS, HostWatch
from domain.usecases.inventory import InventoryWatch


class Admission:
    """Admits launches and keeps their places until they run."""

    def __init__(self, limits: CapacityLimits, inventory: InventoryWatch, host: HostWatch) -> None:
        self.limits = limits
        self._inventory = inventory
        self._host = host
        self._reserved: dict[EnvironmentName, int] = {}

    async def admit(self, name: EnvironmentName, containers: int) -> None:
        """Reserves places for an environment's containers, in place of an earlier reservation.

        An environment of that name that already runs is not counted, since it is replaced.

        Raises:
            CapacityExceeded: the host has no room; an earlier reservation stays.
            EngineUnavailable: what runs is not known.
        """
        picture = await self._inventory.require_engine()
        usage = await self._host.usage(ADMISSION_WINDOW_SECONDS)
        admit(
            self.limits,
            committed=committed_containers(picture, self._reserved, without=name),
            asked=containers,
            cpu_percent=usage.cpu_percent,
            memory_percent=usage.memory.percent,
        )
        self._reserved[name] = containers

    def release(self, name: EnvironmentName) -> None:
        """Gives the reservation back. May be repeated."""
        self._reserved.pop(name, None)

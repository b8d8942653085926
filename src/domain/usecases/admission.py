"""Who may launch: the host's limits, with what is under way counted in."""

from domain.capacity import (
    CapacityLimits,
    Demand,
    admit,
    admit_promises,
    committed_containers,
    promised,
    singles_demand,
)
from domain.ports.store import Environments
from domain.usecases.host import ADMISSION_WINDOW_SECONDS, HostWatch
from domain.usecases.inventory import InventoryWatch


class Admission:
    """Admits launches and keeps their places until they run."""

    def __init__(
        self,
        limits: CapacityLimits,
        environments: Environments,
        inventory: InventoryWatch,
        host: HostWatch,
    ) -> None:
        self.limits = limits
        self._environments = environments
        self._inventory = inventory
        self._host = host
        self._reserved: dict[str, Demand] = {}

    async def admit(self, name: str, demand: Demand) -> None:
        """Reserves places for an environment's containers, in place of an earlier reservation.

        An environment of that name that already runs is not counted, since it is replaced.

        Args:
            name: of the environment; for a container that is in none, of no environment at all.
            demand: what it may use.

        Raises:
            CapacityExceeded: the host has no room; an earlier reservation stays.
            EngineUnavailable: what runs is not known.
        """
        picture = await self._inventory.require_engine()
        usage = await self._host.usage(ADMISSION_WINDOW_SECONDS)
        identity = await self._host.identity()
        records = await self._environments.list()
        # Nothing is awaited from here to the reservation, so that two cannot take the same place.
        admit(
            self.limits,
            committed=committed_containers(picture, self._reserved, without=name),
            asked=demand.containers,
            cpu_percent=usage.cpu_percent,
            memory_percent=usage.memory.percent,
        )
        admit_promises(
            self.limits,
            promised=promised(records, self._reserved, without=name) + singles_demand(picture),
            asked=demand,
            cpus=identity.cpus,
            memory_bytes=identity.memory_bytes,
        )
        self._reserved[name] = demand

    async def host_cpus(self) -> int:
        """How many CPUs the host has."""
        return (await self._host.identity()).cpus

    def release(self, name: str) -> None:
        """Gives the reservation back. May be repeated."""
        self._reserved.pop(name, None)

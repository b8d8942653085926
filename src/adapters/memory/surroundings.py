"""Networks and volumes of the in-memory Engine that single containers are joined to."""

from collections.abc import Mapping
from functools import partial

from adapters.memory.engine import MemoryEngine
from domain.errors import ResourceConflict
from domain.ports.container_surroundings import JoinableNetwork, MountableVolume


class MemorySurroundings:
    """Twin of ``DockerSurroundings``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def network(self, name: str) -> JoinableNetwork | None:
        """The network of a name; None where there is none."""
        await self._engine.answer(f"look at network {name}")
        if name not in self._engine.networks:
            return None
        subnet = self._engine.subnets.get(name)
        return JoinableNetwork(
            name=name,
            driver="bridge",
            subnets=(subnet,) if subnet else (),
            labels=self._engine.labels.get(name, {}),
        )

    async def volume(self, name: str) -> MountableVolume | None:
        """The volume of a name; None where there is none."""
        await self._engine.answer(f"look at volume {name}")
        if name not in self._engine.volumes:
            return None
        return MountableVolume(
            name=name,
            driver="local",
            plain=name not in self._engine.volume_options,
            labels=self._engine.labels.get(name, {}),
        )

    async def make_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> None:
        """Makes a network."""
        change = partial(self._make_network, name, subnet, labels)
        await self._engine.answer(f"create network {name}", change)

    def _make_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> None:
        if name in self._engine.networks:
            raise ResourceConflict(
                f"The in-memory Engine refused it: network with name {name} already exists"
            )
        self._engine.create_network(name, "", subnet, dict(labels))

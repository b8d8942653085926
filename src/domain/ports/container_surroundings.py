"""What stands on the Engine that a container can be joined to: networks and volumes.

All may raise ``EngineUnavailable`` when the Engine does not answer in time, and ``EngineRefused``
when it answers with an error of its own.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec


class JoinableNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network that stands."""

    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}


class MountableVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that stands."""

    name: str
    driver: str
    plain: bool = True
    """Whether it lies on the host's disk where Docker put it, and not where options say."""
    labels: Mapping[str, str] = {}


class ContainerSurroundings(Protocol):
    """Networks and volumes that containers made one by one are joined to."""

    async def network(self, name: str) -> JoinableNetwork | None:
        """The network of a name, or whose identifier begins so; None where there is none.

        Raises:
            ResourceAmbiguous: several do.
        """
        ...

    async def volume(self, name: str) -> MountableVolume | None:
        """The volume of a name; None where there is none."""
        ...

    async def make_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> None:
        """Makes a network whose containers cannot reach each other.

        Raises:
            ResourceConflict: there is one of that name, or of those addresses.
        """
        ...

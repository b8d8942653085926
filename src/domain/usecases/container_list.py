"""Lists containers out of the agent's picture of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from domain.arrangement import ENVIRONMENT_LABEL
from domain.containers import PROJECT_LABEL, Container, ContainerState
from domain.ports.store import Environments
from domain.usecases.inventory import InventoryWatch


class ContainerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which containers are wanted; what is empty leaves none out."""

    states: frozenset[ContainerState] = frozenset()
    all: bool = False
    """Also those that do not run; a state that is asked for counts whatever this says."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of them."""
    environment: str = ""
    name: str = ""
    """A part of the name."""

    def takes(self, container: Container, owner: str | None) -> bool:
        """Whether a container is wanted.

        Args:
            container: which.
            owner: the environment that it belongs to.
        """
        wanted_state = container.state in self.states if self.states else self._runs(container)
        return (
            wanted_state
            and self.environment in {"", owner}
            and self.name in container.name
            and all(labelled(container.labels, text) for text in self.labels)
        )

    def _runs(self, container: Container) -> bool:
        return self.all or container.running


def labelled(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether there is a label ``key`` or ``key=value``."""
    key, sign, value = wanted.partition("=")
    return key in labels and (not sign or labels[key] == value)


class Listed(NamedTuple):
    """A container, and the environment that it belongs to."""

    container: Container
    environment: str | None


class ContainerList:
    """Knows the containers without asking the Engine."""

    def __init__(self, inventory: InventoryWatch, environments: Environments) -> None:
        self._inventory = inventory
        self._environments = environments

    async def find(self, wanted: ContainerFilter, *, fresh: bool = False) -> Sequence[Listed]:
        """The wanted containers, sorted by name and identifier.

        Args:
            wanted: which.
            fresh: ask the Engine now.

        Raises:
            EngineUnavailable: the Engine does not answer, or did not when last asked.
        """
        if fresh:
            picture = await self._inventory.refresh()
        else:
            picture = await self._inventory.require_engine()
        known = {record.name for record in await self._environments.list() if record.deployed}
        listed = (Listed(c, _owner(c, known)) for c in picture.containers)
        chosen = [entry for entry in listed if wanted.takes(*entry)]
        return sorted(chosen, key=lambda entry: (entry.container.name, entry.container.id))


def _owner(container: Container, known: Collection[str]) -> str | None:
    names = (container.labels.get(label) for label in (ENVIRONMENT_LABEL, PROJECT_LABEL))
    return next((name for name in names if name in known), None)

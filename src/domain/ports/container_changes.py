"""What can be done to one container.

All may raise ``EngineUnavailable`` when the Engine does not answer in time: what was asked for may
have been done, or be done yet. ``EngineRefused`` when it answers with an error of its own,
``ResourceNotFound`` where there is no such container, ``ResourceConflict`` where it cannot be done
to a container as it is now, and ``RequestUnreadable`` where it can be done to none.
"""

from collections.abc import Sequence
from typing import Protocol

from domain.container_orders import ContainerOrder
from domain.limits import HeldLimits


class ContainerChanges(Protocol):
    """Changes single containers; each is named by its name, or how its identifier begins.

    What is so already is no error, but to pause what is paused or to unpause what is not.
    """

    async def create(self, order: ContainerOrder, limits: HeldLimits) -> Sequence[str]:
        """Makes a container that does not run yet; what the Engine warns of.

        The order is taken as it is: whoever calls has judged it. Volumes that it names and that
        are not there are made.

        Raises:
            ResourceNotFound: its image is not at hand.
            ResourceConflict: its name is taken, or a network is not there.
        """
        ...

    async def start(self, reference: str) -> None:
        """Lets it run.

        Raises:
            ResourceConflict: a port is taken, or something that it needs is gone.
            RequestUnreadable: its program cannot be run.
        """
        ...

    async def stop(self, reference: str, grace_seconds: int | None = None) -> None:
        """Tells it to end, and kills it after the grace; returns when it has ended.

        Args:
            reference: which.
            grace_seconds: None for its own, which is ten where it has none.
        """
        ...

    async def restart(self, reference: str, grace_seconds: int | None = None) -> None:
        """Stops and starts it; starts it where it does not run."""
        ...

    async def kill(self, reference: str, signal: str) -> None:
        """Sends a signal to its first process, which need not end by it."""
        ...

    async def pause(self, reference: str) -> None:
        """Freezes its processes."""
        ...

    async def unpause(self, reference: str) -> None:
        """Lets its processes go on."""
        ...

    async def rename(self, reference: str, name: str) -> None:
        """Gives it another name.

        Raises:
            ResourceConflict: the name is taken.
        """
        ...

    async def remove(self, reference: str, *, force: bool, volumes: bool) -> None:
        """Takes it away.

        Args:
            reference: which.
            force: also while it runs.
            volumes: its volumes without a name go too.
        """
        ...

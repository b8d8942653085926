"""Removes folders, also those in which containers left files of other users."""

from collections.abc import Awaitable, Callable

from domain.errors import StorageFailed
from domain.ports.runtime import ProjectResources


class Clearing:
    """Retries a removal with the Engine's rights where the agent's own do not suffice."""

    def __init__(self, resources: ProjectResources) -> None:
        self._resources = resources

    async def run(self, removal: Callable[[], Awaitable[None]]) -> None:
        """Runs ``removal``, which may be repeated, and helps it once with each folder in its way.

        Raises:
            AgentError: it failed all the same.
        """
        helped: set[str] = set()
        while True:
            try:
                await removal()
            except StorageFailed as fault:
                if fault.blocked_by is None or fault.blocked_by in helped:
                    raise
                helped.add(fault.blocked_by)
                await self._resources.erase(fault.blocked_by)
            else:
                return

    async def end_left_over(self) -> int:
        """Ends what was left of removing folders, by a killed agent too; how many there were.

        Raises:
            AgentError: the Engine cannot be asked.
        """
        return await self._resources.end_erasers()

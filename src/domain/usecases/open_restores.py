"""What reading and writing volumes has left behind, brought in order by and by."""

import anyio

from domain.errors import AgentError
from domain.ports.log import Log
from domain.ports.volume_archives import VolumeArchives
from domain.usecases.open_orders import OpenOrders


class OpenRestores:
    """Finishes or undoes restores that nobody is at any more.

    The agent was killed, or its Engine was away when they were to be undone.
    """

    def __init__(self, *, archives: VolumeArchives, orders: OpenOrders, log: Log) -> None:
        self._archives = archives
        self._orders = orders
        self._log = log
        self._one_at_a_time = anyio.Lock()
        self._trouble = ""

    async def clear(self) -> None:
        """Brings volumes in order, and removes those that were made for what was cut off.

        What cannot be done now is told of in the log, and left to the next time.
        """
        async with self._one_at_a_time:
            try:
                await self._clear()
            except AgentError as fault:
                if fault.detail != self._trouble:
                    self._log.error("restores that were cut off not ended", reason=fault.detail)
                self._trouble = fault.detail
            else:
                self._trouble = ""

    async def _clear(self) -> None:
        if helpers := await self._archives.end_left_over():
            self._log.warning("restores that were cut off ended", containers=helpers)
        # Only now does nothing of the agent's own mount them.
        await self._orders.clear(restores=True)

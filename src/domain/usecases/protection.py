"""Keeps environments from the host's own services, as far as the host lets the agent do so."""

import anyio

from domain.ports.firewall import Firewall, FirewallState
from domain.ports.log import Log

PAUSE_SECONDS = 30.0
"""Pause between two looks, as other programs take rules away."""

_OFF = FirewallState(active=False, reason="FIREWALL is off: containers reach the host's services.")


class Protection:
    """Puts the packet filter's rules in place, and puts them back where others took them away."""

    def __init__(self, firewall: Firewall | None, pool: str, log: Log) -> None:
        self._firewall = firewall
        self._pool = pool
        self._log = log
        self.state = _OFF if firewall is None else FirewallState(active=False, reason="Not yet.")

        self._new_networks = anyio.Event()

    def look_soon(self) -> None:
        """Says that there are new networks, whose containers the rules do not know yet."""
        self._new_networks.set()

    async def run(self) -> None:
        """Looks now and then, and whenever there are new networks; many at once cost one look."""
        while self._firewall is not None:
            await self.tick()
            with anyio.move_on_after(PAUSE_SECONDS):
                await self._new_networks.wait()
            self._new_networks = anyio.Event()

    async def tick(self) -> None:
        """Looks whether the rules stand."""
        if self._firewall is None:
            return
        state = await self._firewall.protect(self._pool)
        if not state.active and state != self.state:
            self._log.warning("firewall not in place", reason=state.reason)
        self.state = state

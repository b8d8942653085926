"""The central manager."""

from typing import Protocol

from domain.heartbeat import HeartbeatAnswer, HeartbeatReport


class Manager(Protocol):
    """Takes this host's heartbeats."""

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Sends one heartbeat and says how the manager took it.

        Ends within the adapter's time limit and never raises for what the network or the manager
        does; that is what the answer is for. May be repeated.
        """
        ...

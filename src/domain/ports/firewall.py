"""The host's packet filter."""

from typing import Protocol

import msgspec


class FirewallState(msgspec.Struct, frozen=True, kw_only=True):
    """What is cut between environments and the host."""

    active: bool
    """Whether all the rules stand."""
    reason: str = ""
    """Why they do not, and what to do; empty while they do."""


class Firewall(Protocol):
    """Keeps containers from what Docker alone lets them reach.

    From addresses in the pool it cuts: every service of the host (so the agent's own port, and
    ports that other environments publish, which Docker's proxy serves on the host), and link-local
    addresses (metadata services of clouds). Answers to connections that the host itself opened to a
    container pass. Containers of networks outside the pool are none of its business.
    """

    async def protect(self, pool: str) -> FirewallState:
        """Puts the rules in place where they are not, and says whether they stand.

        Cheap where they stand already, so it is called every minute: other programs flush rules.
        Never raises for what the host refuses. May be repeated.

        Args:
            pool: the address range of all environments' networks, such as ``10.213.0.0/16``.
        """
        ...

    async def withdraw(self) -> str:
        """Takes the rules away, those of an earlier agent too. May be repeated; never raises.

        Returns:
            Why some may still stand, and what to do; empty once none do.
        """
        ...

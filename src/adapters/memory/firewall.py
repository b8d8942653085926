"""A packet filter that filters nothing."""

from ipaddress import IPv4Network

from domain.ports.firewall import FirewallState
from domain.ports.log import Log


class MemoryFirewall:
    """Twin of ``IptablesFirewall``.

    Args:
        log: told when rules are set, and when they had gone.
    """

    def __init__(self, log: Log | None = None) -> None:
        self._log = log
        self._asked = False
        self.pool = ""
        """From which addresses the host is kept; empty while no rules stand."""
        self.refusal = ""
        """Why the host lets nobody change rules, if it is to do so."""

    async def protect(self, pool: str) -> FirewallState:
        """Puts the rules in place where they are not, and says whether they stand."""
        try:
            IPv4Network(pool)
        except ValueError as fault:
            reason = f"The pool is no IPv4 range ({fault}): set NETWORK_POOL to one."
            return FirewallState(active=False, reason=reason)
        if self.refusal:
            return FirewallState(active=False, reason=self.refusal)
        self._tell()
        self.pool, self._asked = pool, True
        return FirewallState(active=True)

    async def withdraw(self) -> str:
        """Takes the rules away, those of an earlier agent too; why not, where the host refuses."""
        if self.refusal:
            return self.refusal
        self.vanish()
        self._asked = False
        return ""

    def vanish(self) -> None:
        """Takes the rules away as another program does."""
        self.pool = ""

    def _tell(self) -> None:
        if self._log is None:
            return
        if not self._asked:
            self._log.info("firewall rules set")
        elif not self.pool:
            self._log.warning("firewall rules had gone and are back")

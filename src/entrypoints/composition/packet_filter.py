"""The host's packet filter where no agent runs."""

from adapters.iptables_firewall import IptablesFirewall
from adapters.stdlib_log import StdlibLog
from domain.ports.firewall import Firewall


def packet_filter() -> Firewall:
    """The one in which agents on this host set their rules."""
    return IptablesFirewall(StdlibLog())

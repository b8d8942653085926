"""``container-host-agent withdraw``: leaves the host's packet filter as it was without an agent."""

import sys

import anyio
import click

from domain.ports.firewall import Firewall


def run_withdraw(firewall: Firewall) -> None:
    """Takes the rules away and says so; says why not, and exits with 1, where some may stand."""
    reason = anyio.run(firewall.withdraw)
    if reason:
        click.echo(f"Firewall rules may still stand: {reason}", err=True)
        sys.exit(1)
    click.echo("No firewall rules of an agent stand. One that runs sets them again.")

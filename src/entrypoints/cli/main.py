"""The command line: ``container-host-agent``."""

import os
import sys

import anyio
import click

from domain.errors import AgentError
from entrypoints.serve import serve
from entrypoints.settings import Settings, SettingsRefused, read_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="container-host-agent")
def main() -> None:
    """Deploys and watches labs on this Docker host."""


@main.command("serve")
def serve_command() -> None:
    """Run the agent with settings from environment variables."""
    settings = _settings()
    try:
        anyio.run(serve, settings)
    except AgentError as fault:
        click.echo(f"The agent cannot start: {fault.detail}", err=True)
        sys.exit(1)


def _settings() -> Settings:
    try:
        return read_settings(os.environ)
    except SettingsRefused as refusal:
        click.echo("The agent cannot start, its settings are wrong:", err=True)
        for fault in refusal.faults:
            click.echo(f"  {fault}", err=True)
        sys.exit(2)

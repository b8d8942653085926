"""The command line: ``container-host-agent``."""

import os
import secrets
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import anyio
import click
import httpx

from domain.errors import AgentError
from entrypoints.cli.check import run_check
from entrypoints.cli.demo.show import run_demo
from entrypoints.cli.withdraw import run_withdraw
from entrypoints.composition.packet_filter import packet_filter
from entrypoints.http.app import render_in_own_threads
from entrypoints.serve import serve
from entrypoints.settings import Settings, SettingsRefused, read_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="container-host-agent")
def main() -> None:
    """Deploys and watches labs on this Docker host."""


@main.command("serve")
def serve_command() -> None:
    """Run the agent with settings from environment variables."""
    _serve(os.environ)


@main.command("run")
def run_command() -> None:
    """Run the agent alone in the foreground, with a key of its own, to try it out."""
    folder = Path.cwd() / ".agent"
    key = secrets.token_urlsafe(24)
    variables = {
        "ENVIRONMENT": "development",
        "WORKSPACE_DIR": str(folder / "workspaces"),
        "STATE_DIR": str(folder / "state"),
        "HOST_ID": str(uuid.uuid4()),
        "SERVER_KEY": key,
        **os.environ,
    }
    port = variables.get("API_PORT", "8003")
    key = variables["SERVER_KEY"]
    click.echo(f"Development key: {key}\nTry:")
    click.echo(f"  curl http://localhost:{port}/health")
    click.echo(f"  curl http://localhost:{port}/system/resources")
    click.echo(f"  curl -H 'X-Server-Key: {key}' http://localhost:{port}/agent/containers")
    click.echo(f"  open http://localhost:{port}/docs in a browser\n")
    _serve(variables)


@main.command()
def demo() -> None:
    """Show the agent at work, with a manager and a sample lab."""
    run_demo()


@main.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--variable", "variables", multiple=True, metavar="NAME=VALUE", help="For ${…} in it."
)
@click.option("--policy", type=click.Choice(["lab", "trusted"]), help="In place of COMPOSE_POLICY.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def check(bundle: Path, variables: tuple[str, ...], policy: str | None, *, as_json: bool) -> None:
    """Say whether a bundle, a folder or an archive, would be deployed; exit with 1 if not.

    Settings are read as the agent reads them. Needs neither an agent nor a Docker Engine, only
    Compose.
    """
    named = {"COMPOSE_POLICY": policy} if policy else {}
    settings = _settings({**os.environ, **named})
    pairs = (variable.partition("=") for variable in variables)
    run_check(settings, bundle, {name: value for name, _, value in pairs}, as_json=as_json)


@main.command()
def withdraw() -> None:
    """Take the firewall rules away that an agent left on this host; exit with 1 if some may stay.

    They stay when the agent stops, since environments run on. Needs what setting them needs: root
    or NET_ADMIN, and iptables.
    """
    run_withdraw(packet_filter())


@main.command()
def healthcheck() -> None:
    """Exit with 0 if the agent on this machine is alive; for a container's healthcheck."""
    address = _own_address(os.environ)
    try:
        answer = httpx.get(f"http://{address}/health", timeout=5, trust_env=False)
    except httpx.HTTPError as fault:
        click.echo(f"The agent does not answer at {address}: {fault}", err=True)
        sys.exit(1)
    click.echo(answer.text)
    sys.exit(0 if answer.status_code == 200 else 1)


def _own_address(variables: Mapping[str, str]) -> str:
    """Where the agent of these settings answers whoever is on the same machine."""
    host = variables.get("API_HOST", "").strip() or "0.0.0.0"  # noqa: S104 - the default
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    port = variables.get("API_PORT", "").strip() or "8003"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _serve(variables: Mapping[str, str]) -> None:
    settings = _settings(variables)
    render_in_own_threads()
    try:
        anyio.run(serve, settings)
    except AgentError as fault:
        click.echo(f"The agent cannot start: {fault.detail}", err=True)
        sys.exit(1)
    except OSError as fault:
        where = f"{settings.api_host}:{settings.api_port}"
        click.echo(f"The agent cannot start: it cannot listen on {where}: {fault}", err=True)
        sys.exit(1)


def _settings(variables: Mapping[str, str]) -> Settings:
    try:
        return read_settings(variables)
    except SettingsRefused as refusal:
        click.echo("The settings are wrong:", err=True)
        for fault in refusal.faults:
            click.echo(f"  {fault}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

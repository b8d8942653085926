"""The demonstration itself: each step is done for real and shown as it happens."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import httpx

from entrypoints.cli.demo.base_image import base_image, remove_local_image
from entrypoints.cli.demo.processes import free_port, pause, running
from entrypoints.cli.demo.steps import HEARTBEAT_SECONDS, LAB_NAME, Steps, StepWentWrong

_START_SECONDS = 30.0


class Show:
    """Runs steps, counts them, and remembers the first that failed."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def step(self, title: str, work: Callable[[], str]) -> None:
        """Does one step and says what it showed."""
        began = time.monotonic()
        click.echo(f"• {title} … ", nl=False)
        told = work()
        self.shown.append(title)
        click.secho(f"{told} ({time.monotonic() - began:.1f} s)", fg="green")


def run_demo() -> None:
    """Shows the agent at work; exits with 1 if any step failed."""
    show = Show()
    with tempfile.TemporaryDirectory(prefix="agent-demo-") as folder:
        root = Path(folder)
        try:
            _play(show, root)
        except (StepWentWrong, httpx.HTTPError, OSError, click.ClickException) as fault:
            click.secho(f"failed: {fault}", fg="red")
            _show_log(root / "agent.log")
            click.echo(f"Shown before that: {', '.join(show.shown) or 'nothing'}.")
            sys.exit(1)
    click.echo(f"\nShown, all of it for real: {', '.join(show.shown)}.")


def _play(show: Show, root: Path) -> None:
    kept = ("PATH", "HOME", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    socket = os.environ.get("DOCKER_SOCKET", "unix:///var/run/docker.sock")
    client = {**environment, "DOCKER_HOST": socket}
    with_docker = _docker_answers(client)
    click.echo(
        f"Runtime: the Docker Engine at {socket}."
        if with_docker
        else "Runtime: in memory, since no Docker Engine with Compose answers."
    )
    image = base_image(client) if with_docker else "python"
    lab_port = free_port()
    runtime = "docker" if with_docker else "memory"
    settings = {**environment, "DOCKER_SOCKET": socket, "RUNTIME": runtime}
    try:
        with (
            _manager(environment, root) as manager,
            _agent(settings, manager, root) as agent,
        ):
            steps = Steps(agent, manager.host["server_key"], manager.beats)
            steps.play(show.step, _bundle(image, lab_port), lab_port if with_docker else None)
    finally:
        if with_docker:
            _clear_away(client)


def _docker_answers(environment: dict[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    for arguments in (["info"], ["compose", "version"]):
        try:
            answer = subprocess.run(  # noqa: S603 - arguments of our own
                ["docker", *arguments],  # noqa: S607 - found as everybody's is
                env=environment,
                capture_output=True,
                timeout=20,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        if answer.returncode != 0:
            return False
    return True


def _clear_away(environment: dict[str, str]) -> None:
    """Removes what a demonstration that failed half-way may have left."""
    subprocess.run(  # noqa: S603 - arguments of our own
        ["docker", "compose", "-p", LAB_NAME, "down", "-v", "-t", "0"],  # noqa: S607
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    remove_local_image(environment)


class _Manager:
    """The demonstration's manager, as its operator sees it."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.secret = secret
        self.http = httpx.Client(base_url=url, timeout=10)
        host = {"hostname": "demo", "ip": "127.0.0.1", "ssh_port": 22, "api_port": 8003}
        self.host = self.http.post("/hosts/", json={**host, "max_containers": 10}).json()

    def beats(self) -> list[dict[str, Any]]:
        """The heartbeats that came."""
        beats: list[dict[str, Any]] = self.http.get("/beats").json()["beats"]
        return beats


@contextmanager
def _manager(environment: dict[str, str], root: Path) -> Iterator[_Manager]:
    arguments = ["-m", "entrypoints.cli.demo.manager"]
    log = root / "manager.log"
    with running(arguments, environment, log, read_output=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        told = json.loads(process.stdout.readline() or "{}")
        if not told:
            raise StepWentWrong(f"the manager did not start: {log.read_text()}")
        manager = _Manager(f"http://127.0.0.1:{told['port']}", told["jwt_secret"])
        with closing(manager.http):
            yield manager


@contextmanager
def _agent(environment: dict[str, str], manager: _Manager, root: Path) -> Iterator[httpx.Client]:
    port = free_port()
    settings = {
        **environment,
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "MANAGER_URL": manager.url,
        "HOST_ID": manager.host["host_id"],
        "SERVER_KEY": manager.host["server_key"],
        "JWT_SECRET": manager.secret,
        "HEARTBEAT_INTERVAL": str(HEARTBEAT_SECONDS),
        "MAX_CONTAINERS": "1000",
        "MAX_CPU_PERCENT": "100",
        "MAX_MEMORY_PERCENT": "100",
        "WORKSPACE_DIR": str(root / "workspaces"),
        "STATE_DIR": str(root / "state"),
    }
    arguments = ["-m", "entrypoints.cli.main", "serve"]
    with (
        running(arguments, settings, root / "agent.log") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
    ):
        _wait_until_ready(client, process)
        yield client


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        pause(0.1)
    raise StepWentWrong("the agent did not become ready")


def _bundle(image: str, lab_port: int) -> bytes:
    lab = files("entrypoints.cli.demo").joinpath("lab")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("compose.yaml", "Dockerfile", "site/index.html"):
            archive.writestr(name, lab.joinpath(*name.split("/")).read_bytes())
        archive.writestr(".env", f"BASE_IMAGE={image}\nLAB_PORT={lab_port}\n")
    return buffer.getvalue()


def _show_log(log: Path) -> None:
    if log.exists():
        click.echo("The agent's log ends:")
        for line in log.read_text().splitlines()[-20:]:
            click.echo(f"  {line}")

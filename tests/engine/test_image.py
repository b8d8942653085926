"""The image and compose.yaml as an operator uses them; ``.ci/run`` builds the image first."""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from entrypoints.cli.demo.processes import free_port
from tests.support import engine
from tests.support.bundles import zip_bundle

IMAGE = os.environ.get("IMAGE_UNDER_TEST", "")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not IMAGE, reason="IMAGE_UNDER_TEST names no image to try"),
]

REPOSITORY = Path(__file__).parents[2]
PROJECT = "agent-image-test"
LAB = "image-test-lab"


class Deployment:
    """An agent brought up with compose.yaml."""

    def __init__(self, folder: Path, workspace: Path, port: int) -> None:
        self.folder = folder
        self.workspace = workspace
        self.url = f"http://127.0.0.1:{port}"

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Compose on it."""
        return subprocess.run(
            ["docker", "compose", "-p", PROJECT, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
def deployment(host: engine.Host, tmp_path: Path) -> Iterator[Deployment]:
    port = free_port()
    workspace = tmp_path / "workspaces"
    # As an earlier agent, run as root, left it.
    (workspace / "earlier").mkdir(parents=True)
    (workspace / "earlier" / "compose.yaml").write_text("services: {a: {image: busybox}}")
    shutil.copy(REPOSITORY / "compose.yaml", tmp_path)
    (tmp_path / ".env").write_text(
        f"API_PORT={port}\nWORKSPACE_DIR={workspace}\nSERVER_KEY=key-of-the-image-test\n"
        f"DOCKER_GID={Path('/var/run/docker.sock').stat().st_gid}\nMAX_CPU_PERCENT=100\n"
        f"MAX_CONTAINERS=1000\nAGENT_IMAGE={IMAGE}\n"
    )
    deployment = Deployment(tmp_path, workspace, port)
    host.projects.append(LAB)
    started = deployment.compose("up", "--detach", "--no-build")
    try:
        assert started.returncode == 0, started.stderr
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--timeout", "30")


async def _healthy(host: engine.Host) -> None:
    with anyio.fail_after(150):
        while True:
            state = host.client.inspect_container("container-host-agent")["State"]
            if state["Health"]["Status"] == "healthy":
                return
            await anyio.sleep(0.2)


async def test_it_becomes_healthy_with_few_rights_and_deploys_a_relative_bind(
    host: engine.Host, deployment: Deployment
) -> None:
    await _healthy(host)

    container = host.client.inspect_container("container-host-agent")
    assert container["Config"]["User"] == "10001:10001"
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert container["HostConfig"]["CapAdd"] is None
    assert container["HostConfig"]["LogConfig"]["Config"]["max-size"] == "10m"
    assert container["HostConfig"]["CpuShares"] > 1024
    assert deployment.workspace.stat().st_mode & 0o777 == 0o700

    port = free_port()
    body = {
        "name": LAB,
        "docker_zip_base64": base64.b64encode(_lab(port)).decode(),
        "vpn_conf_base64": base64.b64encode(b"client\n").decode(),
    }
    headers = {"X-Server-Key": "key-of-the-image-test"}
    async with httpx.AsyncClient(base_url=deployment.url, headers=headers, timeout=120) as http:
        launched = await http.post("/agent/containers", json=body)
        assert launched.status_code == 201, launched.text
        page = await http.get(f"http://127.0.0.1:{port}/index.html")
        assert page.text == "bound\n"
        assert (await http.get("/health")).json()["status"] == "ok"
        profile = await anyio.Path(deployment.workspace, LAB, "vpn.ovpn").stat()
        assert profile.st_mode & 0o777 == 0o600

        removed = await http.delete(f"/agent/containers/{LAB}")
        assert removed.status_code == 200, removed.text

    assert host.holds(LAB) == engine.NOTHING
    assert sorted(path.name for path in deployment.workspace.iterdir()) == [".agent", "earlier"]
    assert list((deployment.workspace / ".agent" / "removed").iterdir()) == []


def _lab(port: int) -> bytes:
    """A lab that serves a bound folder, and leaves root's files in it."""
    return zip_bundle(
        {
            "docker-compose.yml": (
                "services:\n"
                "  web:\n"
                "    build: .\n"
                f"    ports: ['127.0.0.1:{port}:80']\n"
                "    volumes: ['./site:/site']\n"
                "    healthcheck: {test: ['CMD', 'test', '-e', '/site/own/file'], interval: 1s}\n"
                "  after:\n"
                "    image: busybox\n"
                "    command: sleep 600\n"
                "    depends_on: {web: {condition: service_healthy}}\n"
            ),
            "Dockerfile": (
                "FROM busybox\nCOPY vpn.ovpn /vpn.ovpn\n"
                "CMD mkdir -p /site/own && echo x > /site/own/file && chmod 700 /site/own"
                " && exec httpd -f -p 80 -h /site\n"
            ),
            "site/index.html": "bound\n",
        }
    )

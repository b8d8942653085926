"""Labs as the platform has them today come up under the default policy, and work."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import httpx
import pytest

from entrypoints.cli.demo.processes import free_port
from tests.support import engine
from tests.support.agent_process import Process, agent_process
from tests.support.bundles import zip_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

VPN_LAB = """\
services:
  vpn:
    build: {{context: ., args: {{COURSE: "101"}}}}
    cap_add: [NET_ADMIN]
    devices: ["/dev/net/tun:/dev/net/tun"]
    restart: on-failure
    ports: ["{port}:80"]
    depends_on: {{db: {{condition: service_healthy}}}}
    volumes: ["data:/data", "./site:/site:ro", ".:/lab", "./site/index.html:/one.html:ro"]
    environment: {{GREETING: "${{GREETING}}"}}
    ulimits: {{nofile: 1024}}
    networks: {{lab: {{ipv4_address: 172.31.{third}.5}}}}
  db:
    image: busybox
    command: sleep 600
    user: "1000:1000"
    read_only: true
    tmpfs: ["/tmp:size=1m"]
    cap_drop: [ALL]
    healthcheck: {{test: [CMD, "true"], interval: 1s, timeout: 2s, retries: 30}}
    networks: [lab]
    secrets: [token]
volumes: {{data: }}
networks: {{lab: {{ipam: {{config: [{{subnet: 172.31.{third}.0/24}}]}}}}}}
secrets: {{token: {{file: ./token}}}}
"""
DOCKERFILE = """\
# a lower-case name
from busybox
ARG COURSE
COPY vpn.ovpn /etc/vpn.ovpn
RUN echo course $COURSE > /course && \\
    chmod 600 /etc/vpn.ovpn
CMD tunctl -t tun0 && ifconfig tun0 10.8.0.2 netmask 255.255.255.0 up && \\
    echo "$(cat /data/starts 2>/dev/null)x" > /data/starts && \\
    echo up $GREETING $(cat /course) $(cat /lab/site/index.html) $(cat /data/starts) && \\
    ping -c 1 db >/dev/null; ifconfig tun0; httpd -f -p 80 -h /site
"""


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def agent(tmp_path: Path, host: engine.Host) -> AsyncIterator[Process]:
    async with agent_process(tmp_path) as agent:
        yield agent


async def page(port: int) -> str:
    """What the lab serves, once it does."""
    async with httpx.AsyncClient(trust_env=False) as http:
        with anyio.fail_after(20):
            while True:
                try:
                    return (await http.get(f"http://127.0.0.1:{port}/index.html")).text
                except httpx.TransportError:
                    await anyio.sleep(0.1)


async def test_a_vpn_lab_brings_up_its_tunnel_and_keeps_its_data(
    agent: Process, host: engine.Host
) -> None:
    name, port = str(uuid4()), free_port()
    host.projects.append(name)
    files = {
        "docker-compose.yml": VPN_LAB.format(port=port, third=port % 250),
        "dockerfile": DOCKERFILE,
        "site/index.html": "welcome\n",
        "token": "t",
        ".env": "GREETING=hello\nCOMPOSE_PROJECT_NAME=ours\n",
    }

    answer = await agent.launch(name, zip_bundle(files))
    assert answer.status_code == 201, answer.text
    assert await page(port) == "welcome\n"
    first = host.client.logs(f"{name}-vpn-1").decode()
    restarted = await agent.http.post(f"/agent/containers/{name}/restart")
    assert restarted.status_code == 200, restarted.text
    assert await page(port) == "welcome\n"

    assert "up hello course 101 welcome x" in first
    assert "10.8.0.2" in first
    assert "up hello course 101 welcome xx" in host.client.logs(f"{name}-vpn-1").decode()
    rows = (await agent.http.get("/agent/containers")).json()
    assert {row["name"] for row in rows if name in row["name"]} == {f"{name}-vpn-1", f"{name}-db-1"}
    assert (await agent.http.delete(f"/agent/containers/{name}")).status_code == 200

"""The agent as a process of its own, on a real Engine."""

import base64
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import psutil

from entrypoints.cli.demo.processes import free_port

KEY = "key-of-a-test-agent"

SERVE = ("entrypoints.cli.main", "serve")

READY_SECONDS = 30.0
"""How long an agent may take until it is able to work."""


class Process:
    """One agent, running."""

    def __init__(self, process: anyio.abc.Process, http: httpx.AsyncClient, root: Path) -> None:
        self.process = process
        self.http = http
        self.root = root

    async def launch(self, name: str, archive: bytes, vpn: bytes = b"client\n") -> httpx.Response:
        """Asks for a launch."""
        body = {
            "name": name,
            "docker_zip_base64": base64.b64encode(archive).decode(),
            "vpn_conf_base64": base64.b64encode(vpn).decode(),
        }
        return await self.http.post("/agent/containers", json=body)

    async def restart(self, name: str) -> httpx.Response:
        """Asks for a restart."""
        return await self.http.post(f"/agent/containers/{name}/restart")

    async def remove(self, name: str) -> httpx.Response:
        """Asks for a removal."""
        return await self.http.delete(f"/agent/containers/{name}")

    async def deploy(self, name: str, archive: bytes, **fields: str) -> httpx.Response:
        """Deploys a bundle, in place of what stands under the name; does not wait for it."""
        path = f"/api/v1/environments/{name}"
        return await self.http.put(path, data=fields, files={"bundle": archive})

    async def change(self, name: str, what: str) -> httpx.Response:
        """Asks for a change, or for the removal; does not wait for it."""
        path = f"/api/v1/environments/{name}"
        if what == "delete":
            return await self.http.delete(path)
        return await self.http.post(f"{path}/{what}")

    async def consistency(self) -> Mapping[str, Any]:
        """What a look of this moment at records, Engine and disk finds."""
        answer = await self.http.get("/api/v1/system/consistency?fresh=true")
        assert answer.status_code == 200, answer.text
        report: Mapping[str, Any] = answer.json()
        return report

    async def idle(self, seconds: float) -> bool:
        """Whether nothing is under way any more within so long."""
        with anyio.move_on_after(seconds):
            while (await self.http.get("/health")).json()["operations"]:
                await anyio.sleep(0.05)
            return True
        return False

    async def ready(self, seconds: float = READY_SECONDS) -> None:
        """Returns when the agent is able to work."""
        with anyio.fail_after(seconds):
            while True:
                try:
                    if (await self.http.get("/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await anyio.sleep(0.05)

    async def kill(self) -> None:
        """Kills it, as the kernel does when memory is short; what it had started stays."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def gone(self) -> bool:
        """Whether it has ended, though nobody may have waited for it yet."""
        try:
            return psutil.Process(self.process.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def workspace(self) -> list[str]:
        """What lies in the workspace, the agent's own folders apart if they are empty."""
        found = [str(p.relative_to(self.root / "ws")) for p in (self.root / "ws").rglob("*")]
        folders = ("apart", "bundles", "library", "models", "operations", "removed")
        own = {".agent", *(f".agent/{folder}" for folder in folders)}
        return sorted(set(found) - own)


def some_pool() -> str:
    """Addresses for an agent: several share the Engine, and each must think that it is alone."""
    return f"10.{secrets.randbelow(20) + 220}.{secrets.randbelow(256)}.0/24"


@asynccontextmanager
async def agent_process(
    root: Path,
    *,
    program: Sequence[str] = SERVE,
    through: Sequence[str] = (),
    **variables: str,
) -> AsyncIterator[Process]:
    """An agent of its own process that is able to work, killed at the end if it still runs.

    Args:
        root: where its folders and its log are.
        program: the module that runs, and its arguments.
        through: a command that runs it.
        variables: settings beside those that every test needs.
    """
    async with starting_agent(root, variables, program=program, through=through) as agent:
        await agent.ready()
        yield agent


@asynccontextmanager
async def starting_agent(
    root: Path,
    variables: Mapping[str, str],
    *,
    program: Sequence[str] = SERVE,
    through: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """The same, at once."""
    port = free_port()
    with (root / "agent.log").open("ab") as log:
        process = await anyio.open_process(  # noqa: TID251 - the program that is tested
            [*through, sys.executable, "-m", *program],
            env=_environment(root, port, variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"X-Server-Key": KEY},
            timeout=120,
            trust_env=False,
        ) as http:
            yield Process(process, http, root)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.aclose()


def _environment(root: Path, port: int, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "SERVER_KEY": KEY,
        "JWT_SECRET": "the-platforms-secret-of-forty-characters",
        "WORKSPACE_DIR": str(root / "ws"),
        "STATE_DIR": str(root / "state"),
        "MAX_CONTAINERS": "1000",
        "MAX_CPU_PERCENT": "100",
        "STOP_GRACE": "0",
        "NETWORK_POOL": some_pool(),
        "FIREWALL": "off",
        **variables,
    }

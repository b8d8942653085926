"""A real agent in a process of its own, as it is deployed, on a free port."""

import base64
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from tests.support import engine

from benchmarks import Stopwatch
from benchmarks.kept_connection import Question, question
from entrypoints.cli.demo.processes import free_port, pause, running

_READY_SECONDS = 30
_SECONDS = 600
_CHUNK_BYTES = 1024 * 1024

# As many requests as a benchmark makes at once.
_LIMITS = httpx.Limits(max_connections=64)


class Agent:
    """An agent that runs."""

    def __init__(self, http: httpx.Client, process_id: int) -> None:
        self._http = http
        self._process_id = process_id

    def upload(self, bundle: bytes) -> str:
        """Uploads a bundle; its digest."""
        return str(self._asked("POST", "/api/v1/bundles", content=bundle).json()["digest"])

    def upload_file(self, path: Path) -> None:
        """Uploads a bundle from a file, a piece at a time."""
        headers = {"Content-Length": str(path.stat().st_size)}
        self._asked("POST", "/api/v1/bundles", content=_chunks(path), headers=headers)

    def deploy(self, name: str, digest: str) -> float:
        """Deploys an uploaded bundle; how long it took until it stood, in seconds."""
        watch = Stopwatch()
        answer = self._asked(
            "POST",
            "/api/v1/environments",
            json={"name": name, "bundle": digest},
            headers={"Prefer": "wait=300"},
        )
        if answer.status_code != 200:
            raise RuntimeError(f"{name} did not stand within 300 s.")
        return watch.seconds

    def launch(self, name: str, bundle: bytes) -> float:
        """Deploys a bundle as the manager does; how long it took, upload included, in seconds."""
        body = {
            "name": name,
            "docker_zip_base64": base64.b64encode(bundle).decode(),
            "vpn_conf_base64": base64.b64encode(b"client\n").decode(),
        }
        watch = Stopwatch()
        self._asked("POST", "/agent/containers", json=body)
        return watch.seconds

    def remove(self, *names: str) -> None:
        """Removes environments, side by side."""
        wait = {"Prefer": "wait=120"}

        def remove(name: str) -> None:
            self._asked("DELETE", f"/api/v1/environments/{name}", headers=wait)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(remove, names))

    @property
    def process_id(self) -> int:
        """Its process."""
        return self._process_id

    def serves(self, path: str) -> bool:
        """Whether it knows a path."""
        return self._http.get(path).status_code == 200

    def question(self, path: str) -> Question:
        """A question to it, on a connection that is kept."""
        url = self._http.base_url
        key = self._http.headers["X-Server-Key"]
        return question((url.host, url.port or 80), path, X_Server_Key=key)

    def memory_mb(self, which: str) -> float:
        """Resident memory in millions of bytes: ``VmRSS`` now, ``VmHWM`` the most since its start.

        What the commands that it runs use is not in it.
        """
        status = Path(f"/proc/{self._process_id}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields[which].split()[0]) * 1024 / 1e6

    def _asked(self, method: str, path: str, **content: object) -> httpx.Response:
        answer = self._http.request(method, path, **content)  # type: ignore[arg-type]
        if answer.is_error:
            raise RuntimeError(f"{method} {path} was answered {answer.status_code}: {answer.text}")
        return answer


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


@contextmanager
def agent(**variables: str) -> Iterator[Agent]:
    """An agent with folders of its own, told to end when the block is left.

    Args:
        variables: settings beyond those that every benchmark needs.
    """
    port, key = free_port(), secrets.token_hex(16)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environment = {**_environment(Path(folder), port, key), **variables}
        arguments = ["-m", "entrypoints.cli.main", "serve"]
        log = Path(folder, "agent.log")
        with (
            running(arguments, environment, log) as process,
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"X-Server-Key": key},
                timeout=_SECONDS,
                limits=_LIMITS,
                trust_env=False,
            ) as http,
        ):
            _wait_until_ready(http, log)
            yield Agent(http, process.pid)


def _environment(folder: Path, port: int, key: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DOCKER_SOCKET": engine.SOCKET,
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "SERVER_KEY": key,
        "WORKSPACE_DIR": str(folder / "workspaces"),
        "STATE_DIR": str(folder / "state"),
        "MAX_CONTAINERS": "1000",
        "MAX_CPU_PERCENT": "100",
        "MAX_MEMORY_PERCENT": "100",
        "NETWORK_POOL": "10.216.0.0/16",
        # Other agents' rules on this host are none of ours.
        "FIREWALL": "off",
    }


def _wait_until_ready(http: httpx.Client, log: Path) -> None:
    watch = Stopwatch()
    while watch.seconds < _READY_SECONDS:
        try:
            if http.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        pause(0.05)
    raise RuntimeError(f"The agent was not ready within {_READY_SECONDS} s:\n{log.read_text()}")

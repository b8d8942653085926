"""A real agent in a process of its own, as it is deployed, on a free port."""

import base64
import math
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
from tests.support import engine

from benchmarks import Stopwatch
from benchmarks.kept_connection import Question, question
from entrypoints.cli.demo.processes import free_port, pause, running

_READY_SECONDS = 60
_SECONDS = 600
_CHUNK_BYTES = 1024 * 1024

# As many requests as a benchmark makes at once.
_LIMITS = httpx.Limits(max_connections=250)


class Agent:
    """An agent that runs."""

    def __init__(
        self, http: httpx.Client, process: "subprocess.Popen[str]", folder: Path, watch: Stopwatch
    ) -> None:
        self.address = str(http.base_url)
        self.folder = folder
        self.ready_seconds = math.nan
        """From its start until it was able to work."""
        self._http = http
        self._process = process
        self._watch = watch

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

    def change(self, name: str, what: str) -> None:
        """Asks for a change of an environment, and does not wait for it."""
        self._asked("POST", f"/api/v1/environments/{name}/{what}")

    def replace(self, name: str, digest: str) -> None:
        """Asks for a deploy in place of what stands, and does not wait for it."""
        self._asked("PUT", f"/api/v1/environments/{name}", json={"bundle": digest})

    def states(self) -> Mapping[str, str]:
        """The environments' states."""
        shown = self._asked("GET", "/api/v1/environments?limit=1000").json()["environments"]
        return {environment["name"]: environment["state"] for environment in shown}

    def is_ready(self) -> bool:
        """Whether it is able to work."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        """Returns when it is able to work.

        Raises:
            RuntimeError: it is not within a while.
        """
        while not self.is_ready():
            if self._watch.seconds > _READY_SECONDS:
                raise RuntimeError(f"Not ready within {_READY_SECONDS} s:\n{self.log()}")
            pause(0.02)
        self.ready_seconds = self._watch.seconds

    def wait_until_idle(self) -> None:
        """Returns when nothing is under way."""
        while self._http.get("/health").json()["operations"]:
            pause(0.05)

    def kill(self) -> None:
        """Kills it; what it had started stays."""
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """The last that it wrote."""
        return (self.folder / "agent.log").read_text()[-4000:]

    def commands(self) -> Sequence[Sequence[str]]:
        """The commands that it runs just now."""
        found = []
        for child in psutil.Process(self._process.pid).children():
            with suppress(psutil.Error):
                found.append(child.cmdline())
        return [command for command in found if command]

    @property
    def process_id(self) -> int:
        """Its process."""
        return self._process.pid

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
        status = Path(f"/proc/{self._process.pid}/status").read_text()
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
    """An agent with folders of its own that is able to work, told to end when the block is left.

    Args:
        variables: settings beyond those that every benchmark needs.
    """
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        agent_in(Path(folder), **variables) as started,
    ):
        yield started


@contextmanager
def agent_in(folder: Path, **variables: str) -> Iterator[Agent]:
    """An agent with the folders that an earlier one may have had."""
    port, key = free_port(), secrets.token_hex(16)
    environment = {**_environment(folder, port, key), **variables}
    watch = Stopwatch()
    with (
        running(
            ["-m", "entrypoints.cli.main", "serve"], environment, folder / "agent.log"
        ) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"X-Server-Key": key},
            timeout=_SECONDS,
            limits=_LIMITS,
            trust_env=False,
        ) as http,
    ):
        started = Agent(http, process, folder, watch)
        started.wait_until_ready()
        yield started


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

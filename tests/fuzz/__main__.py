"""Puts made-up requests to every route of an agent on the in-memory runtime.

Nothing may come back that the OpenAPI document does not name, and no fault of the agent's own:
with a key, with a key and the names of what is there, and without a key.
``python -m tests.fuzz [EXAMPLES]``, made-up requests for each call and round.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from entrypoints.cli.demo.processes import free_port
from tests.support.bundles import zip_bundle

KEY = "fuzzing-key"
# Litestar answers OPTIONS by itself, for each handler alone. What is valid by a schema may still be
# refused: names that nobody has, bundles that are no archives.
_NOT_OURS = "allow_header_conformance,positive_data_acceptance"
LAB = zip_bundle({"compose.yaml": "services: {web: {build: .}}", "Dockerfile": "FROM scratch\n"})


@contextmanager
def _agent(folder: Path) -> Iterator[str]:
    """An agent's address, while it runs."""
    port = str(free_port())
    variables = {
        "PATH": os.environ["PATH"],
        "RUNTIME": "memory",
        "API_HOST": "127.0.0.1",
        "API_PORT": port,
        "WORKSPACE_DIR": str(folder / "workspaces"),
        "STATE_DIR": str(folder / "state"),
        "HOST_ID": "fuzzed",
        "SERVER_KEY": KEY,
        # What refuses for want of room says nothing of the API.
        "MAX_CONTAINERS": "100000",
        "MAX_CPU_PERCENT": "100",
        "MAX_MEMORY_PERCENT": "100",
        "MAX_COMMITTED_CPU_PERCENT": "1000000",
        "MAX_COMMITTED_MEMORY_PERCENT": "1000000",
        "MIN_FREE_PERCENT": "0",
    }
    command = [sys.executable, "-m", "entrypoints.cli.main", "serve"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(url: str) -> None:
    for _ in range(100):
        try:
            if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # noqa: TID251 - for another process
    raise TimeoutError("The agent did not become ready.")


def _known(url: str) -> dict[str, str]:
    """Parameters that name what is there."""
    with httpx.Client(base_url=url, headers={"X-Server-Key": KEY}, trust_env=False) as http:
        digest = http.post("/api/v1/bundles", content=LAB).json()["digest"]
        operation = http.put(
            "/api/v1/environments/lab", json={"bundle": digest}, headers={"Prefer": "wait=20"}
        ).json()["id"]
        http.post("/api/v1/images/pull", json={"image": "labs/app:1"})
    # Of the lab there is one container.
    known = {"name": "lab", "digest": digest, "operation": operation, "image": "labs/app:1"}
    return {**known, "reference": "lab-web-1"}


def _fuzz(url: str, folder: Path, examples: str, *, key: bool, known: dict[str, str]) -> int:
    configuration = folder / "schemathesis.toml"
    rows = "\n".join(f'"path.{name}" = "{value}"' for name, value in known.items())
    # A stream that goes on says nothing more of the API than its beginning.
    configuration.write_text(f'[parameters]\n"query.follow" = false\n{rows}\n')
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={configuration}",
        "run",
        f"{url}/openapi.json",
        "--checks=all",
        f"--exclude-checks={_NOT_OURS}",
        "--suppress-health-check=all",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={examples}",
        "--request-timeout=20",
        "--generation-deterministic",
        "--warnings=off",
        # Python 3.11 counts the depth of what it parses for all threads together, and breaks by it.
        "--workers=1",
        "--no-color",
        *([f"--header=X-Server-Key: {KEY}"] if key else []),
    ]
    return subprocess.run(command, cwd=folder, check=False).returncode


def main() -> int:
    """The exit code: 0 where nothing was found."""
    examples = sys.argv[1] if len(sys.argv) > 1 else "10"
    with tempfile.TemporaryDirectory() as name, _agent(Path(name)) as url:
        folder = Path(name)
        codes = [
            _fuzz(url, folder, examples, key=True, known={}),
            _fuzz(url, folder, examples, key=True, known=_known(url)),
            _fuzz(url, folder, examples, key=False, known={}),
        ]
        broken = [line for line in (folder / "log").read_text().splitlines() if "broke" in line]
    for line in broken:
        print(line)
    return max(*codes, int(bool(broken)))


sys.exit(main())

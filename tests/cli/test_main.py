"""The command line, as processes of its own, without a Docker Engine."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from entrypoints.cli.demo.processes import free_port, pause

COMMAND = [sys.executable, "-m", "entrypoints.cli.main"]
NOWHERE = {
    "PATH": os.environ["PATH"],
    # The agent beside these tests, where another one is installed too.
    "PYTHONPATH": os.pathsep.join(sys.path),
    "DOCKER_SOCKET": "unix:///nowhere/docker.sock",
}


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**NOWHERE, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(folder: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """An agent in the background; gives its address, and sees that it ends well."""
    port = str(free_port())
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**NOWHERE, "RUNTIME": "memory", "API_PORT": port, **variables},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(150):
            try:
                if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            pause(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "log").read_text()


def test_the_demonstration_runs_through_without_an_engine() -> None:
    ended = command("demo")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "in memory" in ended.stdout
    for step in ("key", "deploy", "list", "resources", "heartbeat", "restart", "metrics", "delete"):
        assert f"• {step}" in ended.stdout


def test_run_prints_a_key_that_works_and_lines_to_try(tmp_path: Path) -> None:
    with running(tmp_path, "run") as url:
        printed = (tmp_path / "log").read_text()
        found = re.search(r"Development key: (\S+)", printed)
        assert found is not None
        assert "curl http" in printed
        answer = httpx.get(
            f"{url}/agent/containers", headers={"X-Server-Key": found[1]}, trust_env=False
        )
        assert answer.status_code == 200


def test_the_healthcheck_tells_a_living_agent_from_none(tmp_path: Path) -> None:
    folders = {"WORKSPACE_DIR": str(tmp_path / "w"), "STATE_DIR": str(tmp_path / "s")}
    with running(tmp_path, "serve", **folders) as url:
        port = url.rpartition(":")[2]
        assert command("healthcheck", API_PORT=port).returncode == 0

    ended = command("healthcheck", API_PORT=port)
    assert ended.returncode == 1
    assert "does not answer" in ended.stderr


@pytest.mark.parametrize(
    ("host", "asked"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "::1")]
)
def test_the_healthcheck_asks_where_the_agent_listens(
    tmp_path: Path, host: str, asked: str
) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((asked, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(command, "healthcheck", API_HOST=host, API_PORT=str(port))
            listener.settimeout(20)
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1000).startswith(b"GET /health ")
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert asking.result().returncode == 0


@pytest.mark.parametrize("shared", ["WORKSPACE_DIR", "STATE_DIR"])
def test_an_agent_does_not_start_in_the_folders_of_another(tmp_path: Path, shared: str) -> None:
    first = {"WORKSPACE_DIR": str(tmp_path / "w"), "STATE_DIR": str(tmp_path / "s")}
    second = {"WORKSPACE_DIR": str(tmp_path / "w2"), "STATE_DIR": str(tmp_path / "s2")}
    second[shared] = first[shared]
    with running(tmp_path, "serve", **first):
        ended = command("serve", RUNTIME="memory", API_PORT=str(free_port()), **second)

        assert ended.returncode == 1
        assert f"Another agent works in {shared}={first[shared]}." in ended.stderr
        assert "Stop it" in ended.stderr

    with running(tmp_path, "serve", **second):
        pass


def test_what_everybody_may_ask_for_is_rendered_however_many_do(tmp_path: Path) -> None:
    with running(tmp_path, "run") as url, ThreadPoolExecutor(100) as threads:
        paths = ["/metrics", "/openapi.json", "/docs"] * 60
        asked = [
            threads.submit(httpx.get, f"{url}{path}", trust_env=False, timeout=60) for path in paths
        ]

        assert {answer.result().status_code for answer in asked} == {200}


def test_a_port_that_is_taken_is_told_in_one_line_before_anything_is_touched(
    tmp_path: Path,
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104 - as the agent does
        ended = command(
            "serve",
            API_PORT=str(taken.getsockname()[1]),
            WORKSPACE_DIR=str(tmp_path / "w"),
            STATE_DIR=str(tmp_path / "s"),
        )

    assert ended.returncode == 1
    assert "cannot listen" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ended = command(
        "serve",
        API_PORT=str(free_port()),
        RUNTIME="memory",
        WORKSPACE_DIR=str(tmp_path / "file" / "w"),
        STATE_DIR=str(tmp_path / "s"),
    )

    assert ended.returncode == 1
    assert "cannot start" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["serve", "--help"]])
def test_help_and_version_are_there(arguments: list[str]) -> None:
    assert command(*arguments).returncode == 0


def test_the_trail_tells_the_peers_address_and_is_whole_after_an_orderly_end(
    tmp_path: Path,
) -> None:
    folders = {"WORKSPACE_DIR": str(tmp_path / "w"), "STATE_DIR": str(tmp_path / "s")}
    forged = {"X-Server-Key": "key-of-a-test-agent", "X-Forwarded-For": "192.0.2.1"}

    with running(tmp_path, "serve", SERVER_KEY="key-of-a-test-agent", **folders) as url:
        path = "/api/v1/environments/nobody"
        assert httpx.delete(f"{url}{path}", headers=forged, trust_env=False).status_code == 404

    with closing(sqlite3.connect(tmp_path / "s" / "agent.db")) as store:
        ((document,),) = store.execute("SELECT document FROM audit")
    assert b'"address":"127.0.0.1"' in document
    assert b'"target":"nobody"' in document

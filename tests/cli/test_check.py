"""``container-host-agent check``, which needs Compose but neither agent nor Engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import zip_bundle

pytestmark = pytest.mark.engine  # for Compose

GOOD = {"compose.yaml": "services: {web: {image: 'nginx:${TAG:-1}'}, db: {image: postgres}}\n"}
BAD = {"compose.yaml": "services: {web: {image: nginx, privileged: true, pid: host}}\n"}


def check(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DOCKER_SOCKET": "unix:///nowhere", **variables}
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli.main", "check", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def folder(tmp_path: Path, files: dict[str, str]) -> Path:
    """A folder with files."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_that_would_be_deployed_is_told_of(tmp_path: Path) -> None:
    done = check(folder(tmp_path, GOOD), "--variable", "TAG=2")

    assert (done.returncode, done.stderr) == (0, "")
    assert "would be deployed under COMPOSE_POLICY=lab, with db, web." in done.stdout


def test_an_archive_is_checked_too(tmp_path: Path) -> None:
    archive = tmp_path / "lab.zip"
    archive.write_bytes(zip_bundle(BAD))

    done = check(archive)

    assert done.returncode == 1
    assert "2 things that this host does not allow" in done.stdout
    assert "services.web.privileged\n  has      true\n" in done.stdout
    assert "  instead  " in done.stdout


def test_programs_read_the_verdict_as_json(tmp_path: Path) -> None:
    done = check(folder(tmp_path, BAD), "--json")

    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["allowed"], verdict["policy"]) == (1, False, "lab")
    assert [f["where"] for f in verdict["findings"]] == [
        "services.web.pid",
        "services.web.privileged",
    ]


def test_the_policy_is_that_of_the_settings_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    bad = folder(tmp_path, BAD)

    assert check(bad, COMPOSE_POLICY="trusted").returncode == 0
    assert check(bad, "--policy", "trusted").returncode == 0
    assert check(bad, "--policy", "lab", COMPOSE_POLICY="trusted").returncode == 1


def test_what_cannot_be_read_or_set_is_said(tmp_path: Path) -> None:
    broken = check(folder(tmp_path, {"compose.yaml": "a: ["}))
    wrong = check(tmp_path, HOST_PORTS="x")

    assert (broken.returncode, wrong.returncode) == (1, 2)
    assert "compose.yaml is no YAML" in broken.stdout
    assert "HOST_PORTS must be a range" in wrong.stderr
    assert "Traceback" not in broken.stderr + wrong.stderr


def test_links_are_refused_as_in_an_archive(tmp_path: Path) -> None:
    (folder(tmp_path, GOOD) / "link").symlink_to("/etc/passwd")

    done = check(tmp_path)

    assert done.returncode == 1
    assert "'link'" in done.stdout

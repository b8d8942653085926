"""Whatever the real builder takes for something forbidden has been found before."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.dockerfile_policy import DockerfileRules, judge_dockerfile
from tests.support import engine

pytestmark = pytest.mark.engine

# How the builder, which can reach nothing here, says that it took something so.
TAKEN = re.compile(
    r"network\.host is not allowed|unknown flag: (?:security|device)"
    r"|source metadata for docker\.io/(?:library/evil|container-host-agent/probe)"
    r"|127\.0\.0\.1:1: connect|unset ssh forward key|no SSH key"
)

PLAIN = [
    "FROM busybox\nRUN --network=host id",
    "FROM busybox\nRUN --security=insecure id",
    "FROM busybox\nRUN --mount=type=ssh,required id",
    "FROM busybox\nADD http://127.0.0.1:1/x /",
    "FROM container-host-agent/probe",
    "FROM busybox\nCOPY --from=container-host-agent/probe /x /",
    "FROM busybox\nRUN --mount=from=container-host-agent/probe,target=/x id",
    "# syntax=evil\nFROM busybox",
]

TRICKY = [
    "#!/bin/x\n//syntax=evil\nFROM busybox",
    '{"syntax": "evil", "x": ' + "[" * 2000 + "]" * 2000 + "}",
    '{"syntax": "evil", "x": "\\ud800"}',
    '{"x": 1,\n"syntax" : "evil"}\n',
    "\ufeff#\u00a0SynTax = evil\nFROM busybox",
    "# escape=`\n# other=1\n# syntax=evil\nFROM busybox",
    " # syntax=evil\nFROM busybox",
    "from busybox\nrun\t--network=h\\\n  # x\n\nost id",
    "FROM busybox\nRUN -\\\n-network=host id",
    "FROM busybox\nRUN --\"net\"work='host' id",
    "FROM busybox\nRUN --network=none\u00c5--network=host id",
    "FROM busybox\nRUN --mount=type=cache,target=/\u00c5--network=host id",
    "FROM busybox\nRUN\u00a0--network=host id",
    "FROM busybox\nRUN\x0b--network=host id",
    "FROM busybox\n\u00a0RUN --network=host id",
    "FROM busybox\nCMD x \\\n\u00a0# y\nRUN --network=host id",
    "FROM busybox\nCMD x \\\n\u00a0# y\nRUN <<E\nRUN --network=host id\nE",
    "FROM busybox\nRUN x \\\\\nRUN --network=host id",
    "FROM busybox\nRUN <<A\n\0A\nRUN <<B\nA\nRUN --network=host id\nB",
    "FROM busybox\nRUN x ${y@Q} <<E\nRUN --network=host id\nE",
    "FROM busybox\nRUN x ${y:-<<E}\nRUN --network=host id\nE",
    "FROM busybox\nRUN x '<<E'\nRUN --network=host id\nE",
    'FROM busybox\nRUN x \\"<<E\nRUN --network=host id\nE',
    "FROM busybox\nRUN <<-E\n\t E\nRUN --network=host id\n\tE\nRUN --network=host id",
    "FROM busybox\nRUN <<E\r\nx\r\nE\r\nRUN --network=host id\r\n",
    'FROM busybox\nRUN ["x", "<<E"]\nRUN --network=host id\nE',
    "FROM busybox\nRUN [ x <<E ]\nRUN --network=host id\nE",
    "# escape=`\nFROM busybox\nRUN x \\\nRUN --network=host id",
    "FROM busybox\n# escape=`\nRUN x `\nRUN --network=host id",
    "FROM busybox AS x\nONBUILD RUN --network=host id\nFROM x",
    "ARG A=container-host B=agent\nFROM \"${A}-\"'agent'/${C:-pr${D:+x}obe}",
    "ARG A=container-host-agent/probe\nARG A\nFROM $A",
    "FROM container\\-host-agent/probe",
    "FROM ${TARGETVARIANT:-container-host-agent/probe}",
    "FROM index.docker.io/container-host-agent/probe",
    "FROM busybox\nCOPY --from='container-host-agent/probe:1' /x /",
    "FROM busybox\nRUN --mount='type=bind,\"from=container-host-agent/probe\",target=/x' id",
    "FROM busybox\nRUN --mount=TYPE=bind,FROM=container-host-agent/probe,target=/x id",
    'FROM busybox\nADD ["http://127.0.0.1:1/x", "/"]',
    'FROM busybox\nADD ht"tp://127.0.0.1:1"/x /',
    "FROM busybox\nENV X=http://127.0.0.1:1\nADD $X/x /",
    "FROM busybox\nARG X=ttp\nADD h${X}://127.0.0.1:1/x /",
    "FROM busybox\nADD http://0x7f.1:1/x http://localhost:1/y /z/",
]


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


def is_taken(folder: Path, text: str) -> bool:
    """Whether the builder takes a Dockerfile for what it was written for."""
    (folder / "Dockerfile").write_bytes(text.encode("utf-8", "surrogatepass"))
    built = subprocess.run(
        ["docker", "build", "--progress=plain", "--output", "type=cacheonly", str(folder)],
        capture_output=True,
        check=False,
        timeout=100,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
    )
    return TAKEN.search(built.stderr.decode(errors="replace")) is not None


def is_found(text: str) -> bool:
    return judge_dockerfile(text, {}, where="Dockerfile", rules=DockerfileRules()) != ()


@pytest.mark.parametrize("text", PLAIN)
def test_the_builder_takes_what_is_refused(host: engine.Host, tmp_path: Path, text: str) -> None:
    assert is_taken(tmp_path, text)
    assert is_found(text)


@pytest.mark.parametrize("text", TRICKY)
def test_nothing_is_taken_that_was_not_found(host: engine.Host, tmp_path: Path, text: str) -> None:
    assert is_found(text) or not is_taken(tmp_path, text)

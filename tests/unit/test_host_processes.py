"""Which processes of the host are signalled."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.docker.host_processes import signal_session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

SOME_CONTAINER = "0123456789abcdef" * 4


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lies in no container of that name."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_what_lies_in_another_control_group_is_left_alone(
    process: subprocess.Popen[bytes],
) -> None:
    for leader_only in (True, False):
        assert not signal_session(
            SOME_CONTAINER, process.pid, signal.SIGKILL, leader_only=leader_only
        )

    assert process.poll() is None


def test_what_lies_in_its_own_is_reached(process: subprocess.Popen[bytes]) -> None:
    own = Path(f"/proc/{process.pid}/cgroup").read_text()

    # What is looked for is a part of the group's name.
    assert signal_session(own.strip(), process.pid, signal.SIGKILL, leader_only=True)
    assert process.wait(5) == -signal.SIGKILL


def test_a_number_that_nobody_has_reaches_nobody() -> None:
    assert not signal_session(SOME_CONTAINER, 2**22 + 1, signal.SIGKILL, leader_only=False)

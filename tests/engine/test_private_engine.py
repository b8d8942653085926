"""The Engine that tests may kill: that it is one, and that nothing of it stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import psutil
import pytest

from tests.support import engine
from tests.support.private_engine import PrivateEngine, missing, private_engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

_HELD = """
from tests.support.private_engine import private_engine
with private_engine() as own:
    print(own.root, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def _possible() -> None:
    if reason := missing():
        engine.skip_or_fail(reason)


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    with private_engine() as own:
        yield own


def run(client: docker.APIClient) -> str:
    """Runs a container; its identifier."""
    limits = client.create_host_config(init=True, restart_policy={"Name": "always"})
    container = client.create_container(
        engine.BASE_IMAGE, ["sleep", "600"], host_config=limits, stop_signal="SIGKILL"
    )
    client.start(container["Id"])
    identifier: str = container["Id"]
    return identifier


def left_of(root: Path) -> list[str]:
    """What an Engine that lay in this folder has left on the machine."""
    words = str(root)
    processes = [p.info for p in psutil.process_iter(["pid", "cmdline"])]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *(str(p) for p in processes if any(words in word for word in p["cmdline"] or ())),
        *(line for line in mounts if words in line),
        # Unlike a glob it passes over groups that go while it looks, as those of others do.
        *(folder for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == root.name),
        *([words] if root.exists() else []),
    ]


def test_it_knows_nothing_of_the_machines_own_engine(own: PrivateEngine) -> None:
    with own.client() as client:
        identifier = run(client)

        assert [identifier] == [row["Id"] for row in client.containers(all=True)]
        assert [tag for row in client.images() for tag in row["RepoTags"]] == [engine.BASE_IMAGE]


def test_killed_and_started_again_it_has_its_containers_still(own: PrivateEngine) -> None:
    with own.client() as client:
        identifier = run(client)

    own.kill()
    assert not own.answers()
    own.start()

    with own.client() as client:
        assert [identifier] == [row["Id"] for row in client.containers(all=True)]


def test_stopped_it_ends_well_and_can_be_started_again(own: PrivateEngine) -> None:
    own.stop()
    assert own.process is None
    own.start()

    assert own.answers()


def test_frozen_it_does_not_answer_until_it_is_thawed(own: PrivateEngine) -> None:
    own.freeze()
    # Some of its threads may come to an end of what they do.
    _until(lambda: not own.answers())
    own.thaw()

    _until(own.answers)


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nothing_of_it_stays_behind() -> None:
    with private_engine() as own:
        with own.client() as client:
            run(client)
        own.freeze()

    assert left_of(own.root) == []


def test_nothing_of_it_stays_behind_when_its_test_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        root = Path(os.fsdecode(holder.stdout.readline().strip()))
        holder.send_signal(signal.SIGKILL)

    # Its processes end with it; its folder goes with the next one that is started.
    with private_engine():
        until = time.monotonic() + 10
        while left_of(root) and time.monotonic() < until:
            time.sleep(0.1)
        assert left_of(root) == []

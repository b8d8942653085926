"""Commands of a killed agent are found by their environment and ended."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from adapters.compose import strays
from adapters.compose.projects import ComposeLimits, DockerCompose

pytestmark = pytest.mark.anyio


@pytest.fixture
def sleeper() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    variable = f"DOCKER_CONFIG=/nowhere/{uuid4()}"
    name, _, value = variable.partition("=")
    with subprocess.Popen(["sleep", "60"], env={name: value}, start_new_session=True) as process:
        # A process begins before its environment can be seen.
        while value.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes():
            time.sleep(0.001)  # noqa: TID251 - for another process
        yield variable, process
        process.kill()


async def test_they_are_ended_and_counted(
    sleeper: tuple[str, "subprocess.Popen[bytes]"],
) -> None:
    variable, process = sleeper

    assert await strays.end(variable) == 1
    assert process.wait(5) == -9
    assert await strays.end(variable) == 0


async def test_others_are_left_alone(sleeper: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    variable, process = sleeper

    assert await strays.end(variable[:-1]) == 0
    assert await strays.end(f"{variable}1") == 0
    assert process.poll() is None


async def test_the_engine_is_given_time_for_what_they_asked_for(tmp_path: Path) -> None:
    compose = DockerCompose("unix:///nowhere", tmp_path, limits=ComposeLimits(late_seconds=0.1))
    began = anyio.current_time()

    assert await compose.end_strays(cut_off=True) == 0

    assert anyio.current_time() - began >= 0.1


async def test_nobody_waits_where_nothing_was_cut_off(tmp_path: Path) -> None:
    compose = DockerCompose("unix:///nowhere", tmp_path, limits=ComposeLimits(late_seconds=60))

    with anyio.fail_after(5):
        assert await compose.end_strays(cut_off=False) == 0

"""Commands of a killed agent are found by their environment and ended."""

import subprocess
from collections.abc import Iterator
from uuid import uuid4

import pytest

from adapters.compose import strays

pytestmark = pytest.mark.anyio


@pytest.fixture
def sleeper() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    variable = f"DOCKER_CONFIG=/nowhere/{uuid4()}"
    name, _, value = variable.partition("=")
    with subprocess.Popen(["sleep", "60"], env={name: value}, start_new_session=True) as process:
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

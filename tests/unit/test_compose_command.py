"""What is told of a ``docker compose`` that takes too long, is killed, or cannot go on."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from adapters.compose import projects
from adapters.compose.projects import ComposeLimits, DockerCompose
from domain.errors import EngineUnavailable, StepFailed, StepTimedOut
from domain.names import EnvironmentName
from domain.ports.compose import Project

pytestmark = pytest.mark.anyio

NAME = EnvironmentName("lab")
LIMITS = ComposeLimits(resolve_seconds=1.1, build_seconds=1.2, start_seconds=1.3, stop_seconds=1.4)

Verb = Callable[[DockerCompose, Project], Awaitable[object]]

VERBS: dict[str, tuple[Verb, str]] = {
    "check": (lambda compose, project: compose.resolve(project), "1.1 s"),
    "build": (lambda compose, project: compose.build(project, _ignore), "1.2 s"),
    "start": (lambda compose, project: compose.up(project, _ignore), "1.3 s"),
    "stop": (lambda compose, project: compose.stop(NAME, _ignore), "1.4 s"),
}


def _ignore(_line: str) -> None:
    pass


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(name=NAME, directory=str(tmp_path), files=("compose.yaml",))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of ``docker compose``."""
    path = tmp_path / "docker-compose"
    monkeypatch.setattr(projects, "_COMMAND", ["sh", str(path)])

    def write(script: str) -> None:
        path.write_text(script)

    return write


@pytest.fixture
def compose(tmp_path: Path) -> DockerCompose:
    return DockerCompose("unix:///nowhere/docker.sock", tmp_path)


@pytest.mark.parametrize(("step", "verb"), list(VERBS.items()))
async def test_each_verb_ends_with_its_own_time(
    command: Callable[[str], None],
    tmp_path: Path,
    project: Project,
    step: str,
    verb: tuple[Verb, str],
) -> None:
    command("echo begun >&2; exec sleep 60")
    call, limit = verb

    with anyio.fail_after(15), pytest.raises(StepTimedOut) as fault:
        await call(DockerCompose("unix:///nowhere/docker.sock", tmp_path, limits=LIMITS), project)

    assert fault.value.step == step
    assert f"longer than {limit}" in fault.value.detail
    assert fault.value.output == ("begun",)


async def test_a_home_that_somebody_removed_is_made_again(
    command: Callable[[str], None], tmp_path: Path
) -> None:
    command("true")
    home = tmp_path / "state" / "compose"

    await DockerCompose("unix:///nowhere/docker.sock", home).stop(NAME, _ignore)

    assert (await anyio.Path(home).stat()).st_mode & 0o777 == 0o700


async def test_a_version_that_does_not_come_counts_as_none(
    command: Callable[[str], None], tmp_path: Path
) -> None:
    command("exec sleep 60")
    compose = DockerCompose("unix:///nowhere/docker.sock", tmp_path, limits=LIMITS)

    assert await compose.version() == ""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo half >&2; kill -9 $$", "was killed by signal 9. Somebody ended it, or the host"),
        ("echo half >&2; kill -15 $$", "was killed by signal 15."),
        ("echo half >&2; exit 17", "ended with status 17."),
    ],
)
async def test_a_command_that_ends_early_says_how_and_what_it_printed_last(
    command: Callable[[str], None],
    compose: DockerCompose,
    project: Project,
    script: str,
    words: str,
) -> None:
    command(script)

    with pytest.raises(StepFailed) as fault:
        await compose.up(project, _ignore)

    assert words in fault.value.message
    assert fault.value.output == ("half",)


async def test_one_that_cannot_reach_the_engine_is_the_engines_fault(
    command: Callable[[str], None], compose: DockerCompose
) -> None:
    command("echo 'Cannot connect to the Docker daemon at unix:///nowhere' >&2; exit 1")

    with pytest.raises(EngineUnavailable):
        await compose.stop(NAME, _ignore)

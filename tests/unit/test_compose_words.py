"""What Compose says when it breaks is told for what it is: the fault of the host or of a bundle."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from adapters.compose import projects
from adapters.compose.projects import DockerCompose
from domain.errors import AgentError, HostExhausted, StepFailed
from domain.names import EnvironmentName
from domain.ports.compose import Project

pytestmark = pytest.mark.anyio

TRACE = "\n".join(f"goroutine {number}: runtime.goexit" for number in range(60))
NO_THREAD = "runtime/cgo: pthread_create failed: Resource temporarily unavailable"
NO_THREAD_EITHER = "runtime: failed to create new OS thread (have 5 already; errno=11)"
NO_MEMORY = "fatal error: runtime: cannot allocate memory"


async def told(
    what: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AgentError:
    """The failure of a command that prints something and breaks."""
    text = tmp_path / "printed"
    text.write_text(f"{printed}\n{TRACE}\n")
    monkeypatch.setattr(projects, "_COMMAND", ["sh", "-c", f"cat {text} >&2; exit 2"])
    compose = DockerCompose("unix:///nowhere", tmp_path)
    project = Project(name=EnvironmentName("lab"), directory=str(tmp_path), files=())
    lines: list[str] = []
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "resolve": lambda: compose.resolve(project),
        "build": lambda: compose.build(project, lines.append),
        "up": lambda: compose.up(project, lines.append),
    }
    with pytest.raises(AgentError) as fault:
        await calls[what]()
    assert what == "resolve" or printed in lines
    return fault.value


@pytest.mark.parametrize("what", ["resolve", "build", "up"])
@pytest.mark.parametrize("printed", [NO_THREAD, NO_THREAD_EITHER])
async def test_without_threads_the_host_is_short(
    what: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await told(what, printed, tmp_path, monkeypatch)

    assert isinstance(found, HostExhausted)
    assert "threads" in found.message


@pytest.mark.parametrize("what", ["build", "up"])
async def test_without_memory_the_host_is_short(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await told(what, NO_MEMORY, tmp_path, monkeypatch)

    assert isinstance(found, HostExhausted)
    assert "memory" in found.message


async def test_a_bundle_that_takes_more_memory_than_it_may_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await told("resolve", NO_MEMORY, tmp_path, monkeypatch)

    assert isinstance(found, StepFailed)
    assert "more memory than it may" in found.message


@pytest.mark.parametrize("printed", [NO_THREAD, NO_THREAD_EITHER, NO_MEMORY])
async def test_what_a_build_prints_is_not_the_hosts_word(
    printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await told("build", f"#7 0.214 {printed}", tmp_path, monkeypatch)

    assert isinstance(found, StepFailed)
    assert "more memory than it may" not in found.message

"""The verbs of ``docker compose`` on one project."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec

from adapters.compose import process, strays
from domain.compose_model import ComposeModel, compose_model
from domain.errors import AgentError, EngineUnavailable, HostExhausted, StepFailed, StepTimedOut
from domain.names import EnvironmentName
from domain.operations import Step
from domain.ports.compose import OutputLine, Project


class ComposeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long each verb may take, in seconds."""

    resolve_seconds: float = 30
    build_seconds: float = 540
    start_seconds: float = 300
    stop_seconds: float = 120
    grace_seconds: int = 3
    """How long a container may take to end by itself."""
    late_seconds: float = 2.5
    """How long the Engine may be at what it was asked for by a command that was ended."""
    resolve_memory_bytes: int = 512 * 1024 * 1024
    """How much memory reading a project may take; honest ones need a tenth of it."""


# Compose's words when it cannot reach the Engine.
_NO_ENGINE = ("cannot connect to the docker daemon", "error during connect")

# How lines begin in which Compose's Go runtime says what the host does not give it. What builds
# print comes behind a number.
_LACKING = {
    "runtime: failed to create new os thread": "threads or processes",
    "runtime/cgo: pthread_create failed": "threads or processes",
    "fatal error: runtime: cannot allocate memory": "memory",
    "runtime: out of memory": "memory",
}

# Ends what the Go runtime prints where it gets no more memory, whatever else is asked of it.
_NO_MEMORY = "runtime.goexit"

# Where Docker's packages put its plugins, as the client itself looks for them.
_PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DockerCompose:
    """Runs ``docker compose`` with an environment made for it.

    Args:
        docker_host: address of the Engine.
        home: a folder of the agent's own that stands in for a home directory, so that neither the
            operator's nor the bundle's client configuration is read.
        limits: time limits.
        search_path: where ``docker`` is looked for.
    """

    def __init__(
        self,
        docker_host: str,
        home: Path,
        *,
        limits: ComposeLimits | None = None,
        search_path: str = _SEARCH_PATH,
    ) -> None:
        self._home = str(home)
        self._limits = limits or ComposeLimits()
        self._environment = {
            "PATH": search_path,
            "HOME": self._home,
            "DOCKER_CONFIG": self._home,
            "DOCKER_HOST": docker_host,
            "DOCKER_CLI_HINTS": "false",
            "LANG": "C.UTF-8",
            # A program that breaks says why, and not where in itself.
            "GOTRACEBACK": "none",
            "COMPOSE_ANSI": "never",
            "COMPOSE_PROGRESS": "plain",
            "COMPOSE_MENU": "false",
            "BUILDKIT_PROGRESS": "plain",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
            # Nothing is fetched on a bundle's behalf.
            "COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false",
            "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "false",
        }

    async def version(self) -> str:
        """Compose's version; empty where Compose is not installed."""
        try:
            finished = await self._run(
                ["version", "--short"],
                Step.CHECK,
                _ignore,
                seconds=self._limits.resolve_seconds,
                capture=True,
            )
        except StepFailed:
            return ""
        return finished.stdout.decode(errors="replace").strip().removeprefix("v")

    async def end_strays(self, *, cut_off: bool) -> int:
        """Ends the commands that an agent left running when it was killed; how many there were."""
        # Every command has this variable, and nobody else's has this value.
        found = await strays.end(f"DOCKER_CONFIG={self._home}")
        if found or cut_off:
            await anyio.sleep(self._limits.late_seconds)
        return found

    async def resolve(
        self,
        project: Project,
        variables: Mapping[str, str] | None = None,
        *,
        all_profiles: bool = False,
    ) -> ComposeModel:
        """The project as Compose reads it."""
        profiles = ["--profile", "*"] if all_profiles else []
        finished = await self._run(
            [*_project(project), *profiles, "config", "--format", "json"],
            Step.CHECK,
            _ignore,
            directory=project.directory,
            seconds=self._limits.resolve_seconds,
            capture=True,
            variables=variables,
            memory_bytes=self._limits.resolve_memory_bytes,
        )
        return _model(finished.stdout)

    async def build(self, project: Project, on_line: OutputLine, *, anew: bool = False) -> None:
        """Builds the images of the services that have a build."""
        await self._run(
            [*_project(project), "build", *(["--no-cache"] if anew else [])],
            Step.BUILD,
            on_line,
            directory=project.directory,
            seconds=self._limits.build_seconds,
            variables=_notes(project),
        )

    async def up(
        self, project: Project, on_line: OutputLine, *, recreate: bool = True, start: bool = True
    ) -> None:
        """Creates and starts everything, without building."""
        how = "--force-recreate" if recreate else "--no-recreate"
        options = ["--detach", "--no-build", how, "--remove-orphans"]
        options += [] if start else ["--no-start"]
        await self._run(
            [*_project(project), "up", *options, "--timeout", str(self._limits.grace_seconds)],
            Step.START,
            on_line,
            directory=project.directory,
            seconds=self._limits.start_seconds,
        )

    async def stop(self, name: EnvironmentName, on_line: OutputLine) -> None:
        """Stops the project's containers, dependants first; needs no Compose file."""
        await self._run(
            ["--project-name", name, "stop", "--timeout", str(self._limits.grace_seconds)],
            Step.STOP,
            on_line,
            seconds=self._limits.stop_seconds,
        )

    async def _run(
        self,
        arguments: Sequence[str],
        step: Step,
        on_line: OutputLine,
        *,
        seconds: float,
        directory: str | None = None,
        capture: bool = False,
        variables: Mapping[str, str] | None = None,
        memory_bytes: int | None = None,
    ) -> process.Finished:
        signs = _Signs(on_line)
        try:
            # Nothing could be stopped any more where somebody had removed it.
            await anyio.Path(self._home).mkdir(mode=0o700, parents=True, exist_ok=True)
            finished = await process.run(
                [*_COMMAND, *arguments],
                directory=directory or self._home,
                # The agent's own come last, so that no variable of a stranger can steer Compose.
                environment={**(variables or {}), **self._environment},
                seconds=seconds,
                on_line=signs.look,
                capture=capture,
                memory_bytes=memory_bytes,
            )
        except process.TimedOut as fault:
            raise StepTimedOut(
                step, f"it took longer than {seconds:g} s.", output=fault.tail
            ) from fault
        except OSError as fault:
            raise StepFailed(
                step,
                f"the docker command could not be run: {fault.strerror}. "
                "Install the Docker client with its Compose plugin.",
            ) from fault
        if finished.exit_code != 0:
            raise signs.shortage(limited=memory_bytes is not None) or _failure(
                step, finished, limited=memory_bytes is not None
            )
        return finished


class _Signs:
    """Looks for what tells that the host is short of something, in lines on their way."""

    def __init__(self, on_line: OutputLine) -> None:
        self._on_line = on_line
        self._lacking: set[str] = set()

    def look(self, line: str) -> None:
        """Takes one line of output."""
        text = line.lower()
        self._lacking |= {lacking for sign, lacking in _LACKING.items() if text.startswith(sign)}
        self._on_line(line)

    def shortage(self, *, limited: bool) -> HostExhausted | None:
        """What the host is short of.

        Args:
            limited: the command may have no more than some memory, so that it is no sign that it
                got no more.
        """
        found = self._lacking - ({"memory"} if limited else set())
        return HostExhausted(max(found)) if found else None


def _command() -> list[str]:
    """Compose itself where it is found; the client takes its time to look for its plugins."""
    found = [Path(folder, "docker-compose") for folder in _PLUGIN_FOLDERS]
    plugin = next((path for path in found if os.access(path, os.X_OK)), None)
    return ["docker", "compose"] if plugin is None else [str(plugin)]


_COMMAND = _command()


def _project(project: Project) -> list[str]:
    arguments = ["--project-name", project.name, "--project-directory", project.directory]
    if project.model is not None:
        # Nothing of the project's own is read, its .env neither.
        return [*arguments, "--env-file", "/dev/null", "--file", project.model]
    for file in project.files:
        arguments += ["--file", f"{project.directory}/{file}"]
    return arguments


def _notes(project: Project) -> Mapping[str, str]:
    """Lets buildx write what it remembers of each build, for ever, to where it goes with the model.

    In the home that all commands share there would be a file more for each image that is built.
    """
    if project.model is None:
        return {}
    return {"BUILDX_CONFIG": str(Path(project.model).with_name("buildx"))}


def _failure(step: Step, finished: process.Finished, *, limited: bool) -> AgentError:
    text = "\n".join(finished.tail).lower()
    if any(words in text for words in _NO_ENGINE):
        return EngineUnavailable(
            f"The Docker Engine could not be reached in step {step.value!r}.",
            hint="Is the Docker Engine running, and may the agent use DOCKER_SOCKET?",
        )
    if _NO_MEMORY in text and limited:
        return StepFailed(
            step,
            "reading the Compose file takes more memory than it may. "
            "Repeat fewer and shorter texts through variables and aliases.",
        )
    return StepFailed(step, f"docker compose {_end(finished.exit_code)}", output=finished.tail)


def _end(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with status {exit_code}."
    words = f"was killed by signal {-exit_code}"
    if exit_code == -signal.SIGKILL:
        return f"{words}. Somebody ended it, or the host ran out of memory: its kernel log tells."
    return f"{words}."


def _ignore(_line: str) -> None:
    """What is printed while a project is resolved is only shown when it fails."""


def _model(document: bytes) -> ComposeModel:
    try:
        return compose_model(msgspec.json.decode(document))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as fault:
        raise StepFailed(Step.CHECK, "Compose found no services in the Compose file.") from fault

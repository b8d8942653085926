"""Compose projects."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from domain.compose_model import ComposeModel
from domain.names import EnvironmentName

OutputLine = Callable[[str], None]
"""Takes one line of a command's output as it comes."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One Compose project on disk."""

    name: EnvironmentName
    directory: str
    """Absolute; relative paths in the Compose files are resolved against it."""
    files: tuple[str, ...]
    """Names of the Compose files in the directory, in the order they are merged."""
    model: str | None = None
    """Path of a resolved document that is read instead of the files; nothing else is read then."""


class Compose(Protocol):
    """Runs Compose on one project.

    No call outlives its time limit or its cancellation: what it started has ended when it returns.
    All raise ``StepFailed`` with the last lines of output when Compose fails, ``StepTimedOut`` when
    it takes too long, and ``EngineUnavailable`` when the Engine cannot be reached.
    Compose never sees the agent's own environment variables.
    """

    async def version(self) -> str:
        """Compose's version; empty where Compose is not installed."""
        ...

    async def end_strays(self, *, cut_off: bool) -> int:
        """Ends the commands that an agent left running when it was killed; how many there were.

        What they asked the Engine for last has come when this returns: it does that although
        whoever asked has gone. For the start of the agent, before anything is run. May be repeated.

        Args:
            cut_off: commands may have been cut off of which none is left now.
        """
        ...

    async def resolve(
        self,
        project: Project,
        variables: Mapping[str, str] | None = None,
        *,
        all_profiles: bool = False,
    ) -> ComposeModel:
        """The project as Compose reads it; nothing is built or started.

        Args:
            project: the project.
            variables: for interpolation; they win over the bundle's own ``.env``.
            all_profiles: with the services of every profile, also those that would not run.
        """
        ...

    async def build(self, project: Project, on_line: OutputLine, *, anew: bool = False) -> None:
        """Builds the images of the services that have a build.

        Args:
            project: the project.
            on_line: takes the output.
            anew: run every step, whatever is known from earlier builds.
        """
        ...

    async def up(
        self, project: Project, on_line: OutputLine, *, recreate: bool = True, start: bool = True
    ) -> None:
        """Creates and starts everything anew, without building.

        Args:
            project: the project.
            on_line: takes the output.
            recreate: make containers anew that are there already; else they are only started.
            start: start them; else they are only made.

        Success means that Compose started every container, and that the conditions of
        ``depends_on`` were met; not that every service answers yet.
        """
        ...

    async def stop(self, name: EnvironmentName, on_line: OutputLine) -> None:
        """Stops the project's containers, dependants first; needs no Compose file.

        May be repeated. Nothing is removed. Success means that the Engine was told to stop each
        one and to kill it after the grace period; ``Containers.list`` tells what runs.
        """
        ...

"""Bundles and the folders that environments work in."""

from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from domain.bundles import BundleEntry
from domain.compose_model import Document
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.ports.compose import Project


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that was received and waits to be unpacked."""

    id: str
    size_bytes: int
    digest: BundleDigest
    kept: bool = False
    """Whether it stays for other deploys."""


class BundleContents(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds."""

    entries: tuple[BundleEntry, ...]
    """Its files, sorted by path."""
    services: tuple[str, ...]
    """Names in its Compose files, sorted; empty where these cannot be read without Compose."""


class Bundles(Protocol):
    """Archives on their way into a workspace.

    All may raise ``StorageFull`` and ``StorageFailed``.
    """

    async def receive(self, chunks: AsyncIterable[bytes]) -> Bundle:
        """Keeps an archive as it comes, in memory that does not grow with it.

        Leaves nothing behind when it fails or is cancelled.

        Raises:
            BundleRefused: it is larger than the limits allow.
        """
        ...

    async def discard(self, bundle: Bundle) -> None:
        """Removes the archive, unless it is kept. May be repeated.

        One that cannot be removed now goes with ``Workspaces.finish_removals``.
        """
        ...

    async def keep(self, bundle: Bundle) -> Bundle:
        """Keeps a received archive for later deploys; the same content is kept once."""
        ...

    async def kept(self, digest: BundleDigest) -> Bundle | None:
        """The kept archive of this digest."""
        ...

    async def digests(self) -> Sequence[BundleDigest]:
        """The digests of all kept archives, sorted."""
        ...

    async def forget(self, digest: BundleDigest) -> None:
        """Removes a kept archive. May be repeated."""
        ...


class Workspaces(Protocol):
    """One folder for each environment, under a common root.

    A new project is first *staged* beside the environments, under its operation's identifier, and
    takes its place with ``install``; what it replaces is kept until ``commit`` or ``roll_back``.
    All may raise ``StorageFull`` and ``StorageFailed``. Nothing here ever follows a link out of
    the folder it works in.
    """

    async def check(self) -> None:
        """Returns if the root is that of the start; makes the agent's own folders in it again.

        Where a disk is no longer mounted, what was written now would be hidden by its return.

        Raises:
            StorageFailed: it is gone, is another one, or does not answer.
        """
        ...

    async def stage(self, operation: OperationId, name: EnvironmentName, bundle: Bundle) -> Project:
        """Unpacks a bundle into the operation's staging folder.

        Leaves nothing behind when it fails or is cancelled.

        Raises:
            BundleRefused: the archive is broken, breaks a limit, or holds what no bundle may.
        """
        ...

    async def place(self, operation: OperationId, file_name: str, content: bytes) -> None:
        """Writes a file at the top of a staged project, mode 0600, whatever stood there before."""
        ...

    async def contents(self, operation: OperationId, project: Project) -> BundleContents:
        """What was staged."""
        ...

    async def snapshot(
        self,
        operation: OperationId,
        name: EnvironmentName,
        parts: Collection[str],
        *,
        most_file_bytes: int | None = None,
    ) -> Project:
        """Copies parts of the project that stands into the operation's staging folder.

        Containers may write to what stands, also at this moment; nothing of theirs changes the
        copy. Links, pipes and the like are left out. Goes with ``commit``.

        Args:
            operation: to whom the copy belongs.
            name: whose project.
            parts: paths relative to the project's folder, the empty one for everything.
            most_file_bytes: larger files are left out.

        Raises:
            BundleRefused: it is more than a bundle may hold.
        """
        ...

    async def documents(self, operation: OperationId, path: str) -> tuple[Any, ...] | None:
        """The YAML documents of a staged file as plain trees, with nothing constructed from them.

        Mappings and lists as such, with merges applied; scalars as their text, null as None.

        Args:
            operation: whose staging folder.
            path: relative to it.

        Returns:
            None where there is no such file within the folder.

        Raises:
            BundleRefused: it is too large, too deep, no YAML, or could be read in another way.
        """
        ...

    async def text(self, operation: OperationId, path: str) -> bytes | None:
        """What a staged file holds; None where there is no such file within the folder.

        Raises:
            BundleRefused: it is larger than a Compose file may be.
        """
        ...

    async def reads_the_same_anywhere(self, operation: OperationId, project: Project) -> bool:
        """Whether what Compose reads of a staged project depends on its bundle alone.

        Not on its name, nor on files that were placed beside the bundle's own. In doubt it does.
        """
        ...

    @property
    def root(self) -> str:
        """The folder that all environments stand in; absolute."""
        ...

    def home(self, name: EnvironmentName) -> str:
        """Where the environment's folder stands, or will."""
        ...

    def apart(self, operation: OperationId, name: EnvironmentName) -> str:
        """Where what the operation keeps apart for the environment stands, or will."""
        ...

    async def keep_apart(
        self, operation: OperationId, name: EnvironmentName, paths: Mapping[str, str]
    ) -> None:
        """Copies parts of a staged project to where no container can take them away.

        They stay as long as the model names them that stands, or that may be brought back.

        Args:
            operation: whose project.
            name: the environment.
            paths: name of the copy → path in the project; what is missing becomes a folder.
        """
        ...

    async def keep_model(self, operation: OperationId, document: Document) -> None:
        """Writes the model of a staged project, which ``install`` moves to its place with it.

        It lies where no container of the project can reach it, mode 0600.
        """
        ...

    async def build_project(
        self, operation: OperationId, project: Project, document: Document
    ) -> Project:
        """Writes a document for the time of the operation; gives the project that reads it.

        Its name is the document's; its folder that of ``project``. Goes with ``commit``.
        """
        ...

    async def model(self, name: EnvironmentName) -> Document | None:
        """The model of the project that stands; None where none was kept with it."""
        ...

    async def replace_model(self, name: EnvironmentName, document: Document) -> None:
        """Writes the model of the project that stands, in one go."""
        ...

    async def install(self, operation: OperationId, name: EnvironmentName) -> Project:
        """Moves the staged project to its place; an earlier one is put aside for the operation."""
        ...

    async def roll_back(self, operation: OperationId, name: EnvironmentName) -> None:
        """Undoes ``install`` and ``stage``: the earlier project, if any, stands again.

        May be repeated, and be called whatever of the two was done.
        """
        ...

    async def commit(self, operation: OperationId) -> None:
        """Removes what the operation put aside or left staged. May be repeated."""
        ...

    async def project(self, name: EnvironmentName) -> Project | None:
        """The project that stands, with the model that was kept with it, else its Compose files.

        None where neither stands.
        """
        ...

    async def projects(self) -> Sequence[Project]:
        """All that stand, sorted by name; folders that cannot be an environment are left out."""
        ...

    async def stray_models(self) -> Sequence[EnvironmentName]:
        """Names that have a model and no folder, sorted."""
        ...

    async def unfinished(self) -> Sequence[OperationId]:
        """Operations that left something staged or put aside, sorted."""
        ...

    async def remove(self, name: EnvironmentName) -> None:
        """Removes the environment's folder with all that is in it. May be repeated."""
        ...

    async def finish_removals(self) -> None:
        """Removes what earlier removals could not, or were cut off in. May be repeated.

        Received archives too that could not be discarded.
        """
        ...

    async def tidy(self) -> None:
        """Finishes removals that were cut off, and drops archives that an earlier agent received.

        For the start of the agent, before anything is deployed. May be repeated.
        """
        ...

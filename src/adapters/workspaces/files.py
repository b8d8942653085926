"""The folders of environments.

Environments stand in ``<root>/<name>``. Whatever is on its way there, or on its way out, lies in
``<root>/.agent``, on the same file system, so that taking a place is one rename:

- ``bundles/<id>``: archives being received
- ``library/<digest>``: archives that are kept
- ``models/<name>.json``: the resolved model that an environment runs
- ``apart/<name>.<operation>``: what it mounts on its own out of folders that containers write to
- ``operations/<id>/staged``: a project being prepared, and ``model.json`` beside it
- ``operations/<id>/previous``: what it replaced, and ``previous.json``, its model
- ``operations/<id>/build.json``: what is being built, and ``buildx``, what that writes down of it
- ``operations/<id>/waiting``: a mark, renamed ``installed`` before anything of ``install`` is done,
  so that a project that was staged takes its place on the fullest disk
- ``removed/<id>``: what is being deleted
"""

import os
import secrets
import stat
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec

from adapters.workspaces.apart import copy_apart, drop_unused
from adapters.workspaces.archives import unpack
from adapters.workspaces.bundles import DiskBundles
from adapters.workspaces.contents import read_contents
from adapters.workspaces.removal import remove_tree
from adapters.workspaces.snapshot import copy_parts
from adapters.workspaces.sources import read_documents
from adapters.workspaces.storage import Storage, is_full
from adapters.workspaces.writer import Checkpoint
from domain.bundles import (
    ALL_COMPOSE_FILE_NAMES,
    COMPOSE_FILE_NAMES,
    MAX_COMPOSE_FILE_BYTES,
    BundleLimits,
    compose_files,
    reads_the_same_anywhere,
)
from domain.compose_model import Document
from domain.errors import AgentError, BundleRefused, InvalidName, StorageFailed
from domain.names import EnvironmentName, OperationId, environment_name
from domain.ports.compose import Project
from domain.ports.workspaces import Bundle, BundleContents

_FRESH = ".json.new"
"""Ends the names of models that are being written."""


CHECK_SECONDS = 10.0
"""How long ``check`` waits for a disk that does not answer."""


class DiskWorkspaces:
    """One folder for each environment under ``root``."""

    def __init__(
        self, root: Path, limits: BundleLimits, *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._root = root
        self._began: tuple[int, int] | None = None
        """Which folder the root was when all was prepared."""
        self._check_seconds = check_seconds
        self._limits = limits
        self._operations = root / ".agent" / "operations"
        self._removed = root / ".agent" / "removed"
        self._received = root / ".agent" / "bundles"
        self._library = root / ".agent" / "library"
        self._models = root / ".agent" / "models"
        self._apart = root / ".agent" / "apart"
        self._storage = Storage()
        self.bundles = DiskBundles(self._received, self._library, limits, self._storage)

    async def prepare(self) -> None:
        """Makes the folders.

        Raises:
            StorageFailed: they cannot be made or written to.
        """

        def work() -> None:
            # Containers can leave setuid programs there, which no user of the host may reach.
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._began = _identity(self._root)
            self._make_folders()
            probe = self._removed / secrets.token_hex(8)
            try:
                probe.touch()
                probe.unlink()
            except OSError as fault:
                # An agent on a full disk has to start: through it environments are removed.
                if not is_full(fault):
                    raise

        await self._storage.run(f"making the agent's folders in {self._root}", work)

    def _make_folders(self) -> None:
        (self._root / ".agent").mkdir(mode=0o700, exist_ok=True)
        folders = (self._operations, self._removed, self._received, self._library)
        for folder in (*folders, self._models, self._apart):
            folder.mkdir(mode=0o700, exist_ok=True)

    async def check(self) -> None:
        """Returns if the root is that of the start; makes the agent's own folders in it again."""

        def work() -> None:
            try:
                same = _identity(self._root) == self._began
            except (FileNotFoundError, NotADirectoryError):
                same = False
            if not same:
                raise StorageFailed(
                    f"{self._root} is not the folder that the agent began with: somebody removed "
                    "or replaced it, or its disk is not mounted.",
                    hint="Bring it back. If it is meant to be another one, restart the agent.",
                )
            self._make_folders()

        what = f"looking at {self._root} (WORKSPACE_DIR)"
        await self._storage.glance(what, work, seconds=self._check_seconds)

    async def stage(self, operation: OperationId, name: EnvironmentName, bundle: Bundle) -> Project:
        """Unpacks a bundle into the operation's staging folder."""
        staged = self._operations / operation / "staged"

        def work(checkpoint: Checkpoint) -> tuple[str, ...]:
            staged.parent.mkdir(mode=0o700)
            (staged.parent / "waiting").touch()
            staged.mkdir()
            staged.chmod(0o755)
            return self._unpack(self.bundles.path(bundle), staged, checkpoint)

        try:
            files = await self._storage.run_cancellable("unpacking the bundle", work)
        except BaseException:
            # Why it failed matters more than what could not be cleared, which `unfinished` tells.
            with anyio.CancelScope(shield=True), suppress(AgentError):
                await self.commit(operation)
            raise
        return Project(name=name, directory=str(staged), files=files)

    def _unpack(self, archive: Path, staged: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
        folder = os.open(staged, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            unpack(archive, folder, self._limits, checkpoint)
        finally:
            os.close(folder)
        return _compose_files(staged)

    async def place(self, operation: OperationId, file_name: str, content: bytes) -> None:
        """Writes a file at the top of a staged project, mode 0600."""
        path = self._operations / operation / "staged" / file_name

        def work() -> None:
            if path.is_dir() and not path.is_symlink():
                raise BundleRefused(f"The bundle holds a folder named {file_name}.")
            path.unlink(missing_ok=True)
            _write_secret(path, content)

        await self._storage.run(f"writing {file_name}", work)

    async def contents(self, operation: OperationId, project: Project) -> BundleContents:
        """What was staged."""
        staged = self._operations / operation / "staged"
        return await self._storage.run(
            "reading the bundle", lambda: read_contents(staged, project.files)
        )

    async def snapshot(
        self,
        operation: OperationId,
        name: EnvironmentName,
        parts: Collection[str],
        *,
        most_file_bytes: int | None = None,
    ) -> Project:
        """Copies parts of the project that stands into the operation's staging folder."""
        home, staged = self._root / name, self._operations / operation / "staged"

        def work(checkpoint: Checkpoint) -> Project:
            staged.parent.mkdir(mode=0o700, exist_ok=True)
            staged.mkdir(mode=0o755)
            copy_parts(
                home, staged, parts, self._limits, checkpoint, most_file_bytes=most_file_bytes
            )
            present = [file for file in ALL_COMPOSE_FILE_NAMES if (staged / file).is_file()]
            files = compose_files(present) if present else ()
            return Project(name=name, directory=str(staged), files=files)

        return await self._storage.run_cancellable("copying what is to be built", work)

    async def documents(self, operation: OperationId, path: str) -> tuple[Any, ...] | None:
        """The YAML documents of a staged file as plain trees."""
        staged = self._operations / operation / "staged"

        def work() -> tuple[Any, ...] | None:
            text = _content(staged, path)
            return None if text is None else read_documents(text, name=path)

        return await self._storage.run(f"reading {path}", work)

    async def text(self, operation: OperationId, path: str) -> bytes | None:
        """What a staged file holds."""
        staged = self._operations / operation / "staged"
        return await self._storage.run(f"reading {path}", lambda: _content(staged, path))

    async def reads_the_same_anywhere(self, operation: OperationId, project: Project) -> bool:
        """Whether what Compose reads of a staged project depends on its bundle alone."""
        staged = self._operations / operation / "staged"

        def work() -> bool:
            dotenv = staged / ".env"
            if dotenv.is_symlink() or (dotenv.exists() and not dotenv.is_file()):
                return False
            files = [staged / name for name in project.files]
            if dotenv.exists():
                files.append(dotenv)
            if any(file.lstat().st_size > MAX_COMPOSE_FILE_BYTES for file in files):
                return False
            return reads_the_same_anywhere(file.read_bytes() for file in files)

        return await self._storage.run("reading Compose files", work)

    @property
    def root(self) -> str:
        """The folder that all environments stand in."""
        return str(self._root)

    def home(self, name: EnvironmentName) -> str:
        """Where the environment's folder stands, or will."""
        return str(self._root / name)

    def apart(self, operation: OperationId, name: EnvironmentName) -> str:
        """Where what the operation keeps apart for the environment stands, or will."""
        return str(self._apart / f"{name}.{operation}")

    async def keep_apart(
        self, operation: OperationId, name: EnvironmentName, paths: Mapping[str, str]
    ) -> None:
        """Copies parts of a staged project to where no container can take them away."""
        staged = self._operations / operation / "staged"
        target = Path(self.apart(operation, name))
        await self._storage.run(
            "copying what is mounted on its own", lambda: copy_apart(staged, target, paths)
        )

    async def _drop_unused_copies(self) -> None:
        def work() -> None:
            drop_unused(self._apart, self._models, self._operations)

        await self._storage.clear("removing copies nobody needs", work)

    async def keep_model(self, operation: OperationId, document: Document) -> None:
        """Writes the model of a staged project."""
        await self._write_document(self._operations / operation / "model.json", document)

    async def build_project(
        self, operation: OperationId, project: Project, document: Document
    ) -> Project:
        """Writes a document for the time of the operation."""
        path = self._operations / operation / "build.json"
        await self._write_document(path, document)
        return Project(
            name=document["name"], directory=project.directory, files=(), model=str(path)
        )

    async def _write_document(self, path: Path, document: Document) -> None:
        def work() -> None:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.unlink(missing_ok=True)
            _write_secret(path, msgspec.json.encode(document))

        await self._storage.run("writing a Compose file", work)

    async def model(self, name: EnvironmentName) -> Document | None:
        """The model of the project that stands."""

        def work() -> Document | None:
            try:
                document: Document = msgspec.json.decode(self._model_path(name).read_bytes())
            except (FileNotFoundError, msgspec.DecodeError):
                return None
            return document

        return await self._storage.run("reading a model", work)

    async def replace_model(self, name: EnvironmentName, document: Document) -> None:
        """Writes the model of the project that stands, in one go."""
        fresh = self._models / f"{name}{_FRESH}"

        def work() -> None:
            fresh.unlink(missing_ok=True)
            _write_secret(fresh, msgspec.json.encode(document))
            fresh.replace(self._model_path(name))

        await self._storage.run("writing a model", work)

    def _model_path(self, name: EnvironmentName) -> Path:
        return self._models / f"{name}.json"

    async def install(self, operation: OperationId, name: EnvironmentName) -> Project:
        """Moves the staged project to its place; an earlier one is put aside."""
        folder, home, model = (
            self._operations / operation,
            self._root / name,
            self._model_path(name),
        )

        def work() -> Project:
            files = _compose_files(folder / "staged")
            (folder / "waiting").rename(folder / "installed")
            if os.path.lexists(home):
                home.rename(folder / "previous")
            if model.exists():
                model.rename(folder / "previous.json")
            (folder / "staged").rename(home)
            if not (folder / "model.json").exists():
                return Project(name=name, directory=str(home), files=files)
            (folder / "model.json").rename(model)
            return Project(name=name, directory=str(home), files=files, model=str(model))

        return await self._storage.run("moving the project to its place", work)

    async def roll_back(self, operation: OperationId, name: EnvironmentName) -> None:
        """Undoes ``install`` and ``stage``."""
        folder, home, model = (
            self._operations / operation,
            self._root / name,
            self._model_path(name),
        )

        def work() -> None:
            installed = (folder / "installed").exists()
            if installed and not (folder / "model.json").exists() and _moved_in(folder):
                model.unlink(missing_ok=True)
            if installed and _moved_in(folder) and os.path.lexists(home):
                home.rename(folder / "staged")
            if (folder / "previous.json").exists():
                (folder / "previous.json").rename(model)
            if os.path.lexists(folder / "previous"):
                (folder / "previous").rename(home)
            (folder / "installed").unlink(missing_ok=True)

        await self._storage.clear("bringing the earlier project back", work)
        await self.commit(operation)

    async def commit(self, operation: OperationId) -> None:
        """Removes what the operation put aside or left staged."""
        await self._remove(self._operations / operation, "removing the operation's files")
        await self._remove_left_over(f"{operation}.")
        await self._drop_unused_copies()

    async def project(self, name: EnvironmentName) -> Project | None:
        """The project that stands."""
        return await self._storage.run("looking at a project", lambda: self._standing(name))

    def _standing(self, name: EnvironmentName) -> Project | None:
        home = self._root / name
        try:
            if not stat.S_ISDIR(home.lstat().st_mode):
                return None
            if self._model_path(name).exists():
                model = str(self._model_path(name))
                return Project(name=name, directory=str(home), files=(), model=model)
            return Project(name=name, directory=str(home), files=_compose_files(home))
        except (FileNotFoundError, BundleRefused):
            return None

    def _standing_if_any(self, entry: str) -> Project | None:
        try:
            return self._standing(environment_name(entry))
        except (InvalidName, PermissionError):
            # One folder that others closed must not hide the rest.
            return None

    async def projects(self) -> Sequence[Project]:
        """All that stand, sorted by name."""

        def work() -> list[Project]:
            names = sorted(os.listdir(self._root))  # noqa: PTH208 - names are wanted
            found = [self._standing_if_any(name) for name in names]
            return [project for project in found if project is not None]

        return await self._storage.run("looking for projects", work)

    async def stray_models(self) -> Sequence[EnvironmentName]:
        """Names that have a model and no folder."""

        def work() -> list[EnvironmentName]:
            found = sorted(path.stem for path in self._models.glob("*.json"))
            return [EnvironmentName(n) for n in found if not os.path.lexists(self._root / n)]

        return await self._storage.run("looking for models", work)

    async def unfinished(self) -> Sequence[OperationId]:
        """Operations that left something staged or put aside."""

        def work() -> list[OperationId]:
            return [OperationId(entry.name) for entry in sorted(self._operations.iterdir())]

        return await self._storage.run("looking for unfinished operations", work)

    async def remove(self, name: EnvironmentName) -> None:
        """Removes the environment's folder with all that is in it."""
        await self._remove(self._root / name, "removing the environment's files")
        # What an earlier attempt could not delete bears the environment's name still.
        await self._remove_left_over(f"{name}.")
        await self._storage.clear(
            "removing a model", lambda: self._model_path(name).unlink(missing_ok=True)
        )
        await self._drop_unused_copies()

    async def finish_removals(self) -> None:
        """Removes what earlier removals could not, or were cut off in."""
        await self.bundles.drop_forgotten()
        await self._remove_left_over("")
        await self._drop_unused_copies()

    async def tidy(self) -> None:
        """Finishes removals that were cut off, and drops archives nobody waits for."""

        def work() -> None:
            for model in self._models.glob(f"*{_FRESH}"):
                model.unlink(missing_ok=True)

        await self._storage.clear("removing models that were being written", work)
        await self.finish_removals()

    async def _remove(self, path: Path, what: str) -> None:
        """Takes a folder out of sight at once, and then deletes it."""
        aside = self._removed / f"{path.name}.{secrets.token_hex(4)}"

        def work() -> None:
            if os.path.lexists(path):
                path.rename(aside)
                remove_tree(aside)

        await self._storage.clear(what, work)

    async def _remove_left_over(self, prefix: str) -> None:
        """Deletes what earlier attempts could not; one that still cannot be does not stop others.

        Raises:
            StorageFailed: the first that still cannot.
        """

        def work() -> None:
            faults = []
            for path in sorted(self._removed.iterdir()):
                if path.name.startswith(prefix):
                    try:
                        remove_tree(path)
                    except (StorageFailed, OSError) as fault:
                        faults.append(fault)
            if faults:
                raise faults[0]

        await self._storage.clear("removing old files", work)


def _content(folder: Path, path: str) -> bytes | None:
    """A file of a folder that holds no links; None where there is none.

    Raises:
        BundleRefused: it is larger than a Compose file may be.
    """
    parts = path.split("/")
    place = folder.joinpath(*parts)
    if ".." in parts or path.startswith("/") or "\0" in path or not place.is_file():
        return None
    if place.stat().st_size > MAX_COMPOSE_FILE_BYTES:
        raise BundleRefused(f"{path} is larger than {MAX_COMPOSE_FILE_BYTES} bytes.")
    return place.read_bytes()


def _moved_in(folder: Path) -> bool:
    return not (folder / "staged").exists()


def _write_secret(path: Path, content: bytes) -> None:
    """Writes a file that was not there, for nobody else to read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except BaseException:
        # Half of it would be taken for the whole.
        path.unlink(missing_ok=True)
        raise


def _compose_files(folder: Path) -> tuple[str, ...]:
    """The Compose files at the top of a project.

    Raises:
        BundleRefused: there is none, or one is too large.
    """
    entries = sorted(folder.iterdir())
    files = [entry.name for entry in entries if entry.is_file() and not entry.is_symlink()]
    try:
        chosen = compose_files(files)
    except BundleRefused as fault:
        inner = [entry for entry in entries if _holds_compose_file(entry)]
        if len(inner) == 1:
            fault.hint = f"It lies in the folder {inner[0].name!r}; zip what is in it instead."
        raise
    for name in chosen:
        if (folder / name).lstat().st_size > MAX_COMPOSE_FILE_BYTES:
            raise BundleRefused(f"{name} is larger than {MAX_COMPOSE_FILE_BYTES} bytes.")
    return chosen


def _holds_compose_file(path: Path) -> bool:
    return not path.is_symlink() and any((path / name).is_file() for name in COMPOSE_FILE_NAMES)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino

"""Bundles and workspaces that are dictionaries of files."""

import hashlib
from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import msgspec
import yaml

from adapters.memory.archives import Files, is_zip, unpacked
from domain.bundles import (
    COMPOSE_FILE_NAMES,
    MAX_COMPOSE_FILE_BYTES,
    BundleEntry,
    BundleLimits,
    compose_files,
    reads_the_same_anywhere,
)
from domain.compose_model import Document
from domain.errors import BundleRefused, StorageFailed
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.ports.compose import Project
from domain.ports.workspaces import Bundle, BundleContents

# libyaml, which wheels bring along, is many times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class MemoryBundles:
    """Twin of ``DiskBundles``."""

    def __init__(self, limits: BundleLimits) -> None:
        self._limits = limits
        self.archives: dict[str, bytes] = {}
        self.library: dict[BundleDigest, bytes] = {}
        self._waited_for: set[str] = set()
        self._serial = 0

    async def receive(self, chunks: AsyncIterable[bytes]) -> Bundle:
        """Keeps an archive as it comes."""
        archive = bytearray()
        async for chunk in chunks:
            archive += chunk
            self._limits.check_archive(len(archive))
        self._serial += 1
        digest = BundleDigest(f"sha256:{hashlib.sha256(archive).hexdigest()}")
        bundle = Bundle(id=f"bundle-{self._serial}", size_bytes=len(archive), digest=digest)
        self.archives[bundle.id] = bytes(archive)
        self._waited_for.add(bundle.id)
        return bundle

    async def discard(self, bundle: Bundle) -> None:
        """Removes the archive, unless it is kept."""
        await anyio.lowlevel.checkpoint()
        self._waited_for.discard(bundle.id)
        self.archives.pop(bundle.id, None)

    async def keep(self, bundle: Bundle) -> Bundle:
        """Keeps a received archive for later deploys."""
        await anyio.lowlevel.checkpoint()
        if not bundle.kept:
            self._waited_for.discard(bundle.id)
            self.library[bundle.digest] = self.archives.pop(bundle.id)
        return _kept(bundle.digest, bundle.size_bytes)

    async def kept(self, digest: BundleDigest) -> Bundle | None:
        """The kept archive of this digest."""
        await anyio.lowlevel.checkpoint()
        archive = self.library.get(digest)
        return None if archive is None else _kept(digest, len(archive))

    async def digests(self) -> Sequence[BundleDigest]:
        """The digests of all kept archives."""
        await anyio.lowlevel.checkpoint()
        return sorted(self.library)

    async def forget(self, digest: BundleDigest) -> None:
        """Removes a kept archive."""
        await anyio.lowlevel.checkpoint()
        self.library.pop(digest, None)

    def drop_forgotten(self) -> None:
        """Drops archives nobody waits for."""
        self.archives = {i: a for i, a in self.archives.items() if i in self._waited_for}

    def restart(self) -> None:
        """Ends the agent that received what is there, so that nobody waits for it any more."""
        self._waited_for.clear()

    def archive(self, bundle: Bundle) -> bytes:
        """The bytes of an archive."""
        return self.library[bundle.digest] if bundle.kept else self.archives[bundle.id]


def _kept(digest: BundleDigest, size_bytes: int) -> Bundle:
    return Bundle(id=digest, size_bytes=size_bytes, digest=digest, kept=True)


class MemoryWorkspaces:
    """Twin of ``DiskWorkspaces``.

    ``stuck`` names environments whose files belong to others, until ``erased`` says otherwise.
    """

    def __init__(self, limits: BundleLimits) -> None:
        self._limits = limits
        self.bundles = MemoryBundles(limits)
        self.standing: dict[EnvironmentName, Files] = {}
        self.staged: dict[OperationId, Files] = {}
        self.previous: dict[OperationId, Files | None] = {}
        self.stuck: set[str] = set()
        self.fault = ""
        """Why the root is not what it was; empty while it is."""
        self.fault_on_roll_back = ""
        """Why the disk refuses to bring anything back; empty while it does not."""
        self.copies: dict[str, dict[str, dict[str, bytes]]] = {}
        """What is kept apart: folder → name → relative path → content."""
        self.models: dict[str, Document] = {}
        """What is kept of resolved projects: path → document."""

    async def check(self) -> None:
        """Returns if no fault is set."""
        await anyio.lowlevel.checkpoint()
        if self.fault:
            raise StorageFailed(self.fault)

    async def stage(self, operation: OperationId, name: EnvironmentName, bundle: Bundle) -> Project:
        """Unpacks a bundle into the operation's staging folder."""
        archive = self.bundles.archive(bundle)
        if is_zip(archive):
            files = unpacked(archive, self._limits)
        else:
            # The library reads tars through a buffer that may block.
            files = await anyio.to_thread.run_sync(unpacked, archive, self._limits)
        project = Project(name=name, directory=f"/staged/{operation}", files=_compose_files(files))
        self.staged[operation] = files
        return project

    async def place(self, operation: OperationId, file_name: str, content: bytes) -> None:
        """Writes a file at the top of a staged project."""
        await anyio.lowlevel.checkpoint()
        files = self.staged[operation]
        if any(parts[0] == file_name and len(parts) > 1 for parts in files):
            raise BundleRefused(f"The bundle holds a folder named {file_name}.")
        files[file_name,] = content

    async def contents(self, operation: OperationId, project: Project) -> BundleContents:
        """What was staged."""
        await anyio.lowlevel.checkpoint()
        files = self.staged[operation]
        services: set[str] = set()
        for name in project.files:
            services |= _services(files[name,])
        entries = [
            BundleEntry(path="/".join(parts), size_bytes=len(data)) for parts, data in files.items()
        ]
        return BundleContents(
            entries=tuple(sorted(entries, key=lambda entry: entry.path)),
            services=tuple(sorted(services)),
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
        await anyio.lowlevel.checkpoint()
        wanted = [tuple(filter(None, part.split("/"))) for part in parts]
        files = {
            path: data
            for path, data in self.standing[name].items()
            if any(path[: len(part)] == part for part in wanted)
            and (most_file_bytes is None or len(data) <= most_file_bytes)
        }
        self._limits.check_entries(len(files))
        self.staged[operation] = files
        present = [path[0] for path in files if len(path) == 1]
        found = compose_files(present) if {*present} & {*COMPOSE_FILE_NAMES} else ()
        return Project(name=name, directory=f"/staged/{operation}", files=found)

    async def documents(self, operation: OperationId, path: str) -> tuple[Any, ...] | None:
        """The YAML documents of a staged file, read by the library's own rules."""
        text = await self.text(operation, path)
        if text is None:
            return None
        try:
            return tuple(_plain(document) for document in yaml.load_all(text, Loader=_LOADER))
        except (yaml.YAMLError, ValueError, RecursionError) as fault:
            raise BundleRefused(f"{path} cannot be read: {fault}.") from fault

    async def text(self, operation: OperationId, path: str) -> bytes | None:
        """What a staged file holds."""
        await anyio.lowlevel.checkpoint()
        found = self.staged[operation].get(tuple(path.split("/")))
        if found is not None and len(found) > MAX_COMPOSE_FILE_BYTES:
            raise BundleRefused(f"{path} is larger than {MAX_COMPOSE_FILE_BYTES} bytes.")
        return found

    async def reads_the_same_anywhere(self, operation: OperationId, project: Project) -> bool:
        """Whether what Compose reads of a staged project depends on its bundle alone."""
        await anyio.lowlevel.checkpoint()
        files = self.staged[operation]
        names = [*project.files, ".env"]
        return reads_the_same_anywhere(files[name,] for name in names if (name,) in files)

    @property
    def root(self) -> str:
        """The folder that all environments stand in."""
        return "/standing"

    def home(self, name: EnvironmentName) -> str:
        """Where the environment's folder stands, or will."""
        return f"/standing/{name}"

    def apart(self, operation: OperationId, name: EnvironmentName) -> str:
        """Where what the operation keeps apart for the environment stands, or will."""
        return f"/apart/{name}.{operation}"

    async def keep_apart(
        self, operation: OperationId, name: EnvironmentName, paths: Mapping[str, str]
    ) -> None:
        """Copies parts of a staged project to where no container can take them away."""
        await anyio.lowlevel.checkpoint()
        files = self.staged[operation]
        self.copies[self.apart(operation, name)] = {
            copy: {
                "/".join(p[len(parts) :]): data
                for p, data in files.items()
                if p[: len(parts)] == parts
            }
            for copy, path in paths.items()
            for parts in [tuple(path.split("/"))]
        }

    def _drop_unused_copies(self) -> None:
        kept = [d for path, d in self.models.items() if not path.endswith(("/model", "/build"))]
        named = msgspec.json.encode(kept).decode()
        self.copies = {
            folder: copies
            for folder, copies in self.copies.items()
            if folder in named or folder.rpartition(".")[2] in self.staged
        }

    async def keep_model(self, operation: OperationId, document: Document) -> None:
        """Writes the model of a staged project."""
        await anyio.lowlevel.checkpoint()
        self.models[f"/models/{operation}/model"] = _copied(document)

    async def build_project(
        self, operation: OperationId, project: Project, document: Document
    ) -> Project:
        """Writes a document for the time of the operation."""
        await anyio.lowlevel.checkpoint()
        path = f"/models/{operation}/build"
        self.models[path] = _copied(document)
        return Project(name=document["name"], directory=project.directory, files=(), model=path)

    async def model(self, name: EnvironmentName) -> Document | None:
        """The model of the project that stands."""
        await anyio.lowlevel.checkpoint()
        return self.models.get(f"/models/{name}")

    async def replace_model(self, name: EnvironmentName, document: Document) -> None:
        """Writes the model of the project that stands."""
        await anyio.lowlevel.checkpoint()
        self.models[f"/models/{name}"] = _copied(document)

    async def install(self, operation: OperationId, name: EnvironmentName) -> Project:
        """Moves the staged project to its place."""
        await anyio.lowlevel.checkpoint()
        self.previous[operation] = self.standing.get(name)
        self.standing[name] = self.staged.pop(operation)
        self._move_model(f"/models/{name}", f"/models/{operation}/previous")
        self._move_model(f"/models/{operation}/model", f"/models/{name}")
        return self._project(name)

    def _move_model(self, path: str, target: str) -> None:
        if path in self.models:
            self.models[target] = self.models.pop(path)

    async def roll_back(self, operation: OperationId, name: EnvironmentName) -> None:
        """Undoes ``install`` and ``stage``."""
        await anyio.lowlevel.checkpoint()
        if self.fault_on_roll_back:
            raise StorageFailed(f"The disk refuses: {self.fault_on_roll_back}.")
        self.staged.pop(operation, None)
        if operation in self.previous:
            earlier = self.previous.pop(operation)
            self.models.pop(f"/models/{name}", None)
            self._move_model(f"/models/{operation}/previous", f"/models/{name}")
            if earlier is None:
                self.standing.pop(name, None)
            else:
                self.standing[name] = earlier
        self._forget_models(operation)
        self._drop_unused_copies()

    def _forget_models(self, operation: OperationId) -> None:
        begins = f"/models/{operation}/"
        self.models = {p: d for p, d in self.models.items() if not p.startswith(begins)}

    async def commit(self, operation: OperationId) -> None:
        """Removes what the operation put aside or left staged."""
        await anyio.lowlevel.checkpoint()
        self.staged.pop(operation, None)
        self.previous.pop(operation, None)
        self._forget_models(operation)
        self._drop_unused_copies()

    async def project(self, name: EnvironmentName) -> Project | None:
        """The project that stands."""
        await anyio.lowlevel.checkpoint()
        try:
            return self._project(name) if name in self.standing else None
        except BundleRefused:
            return None

    async def projects(self) -> Sequence[Project]:
        """All that stand, sorted by name."""
        found = [await self.project(name) for name in sorted(self.standing)]
        return [project for project in found if project is not None]

    async def stray_models(self) -> Sequence[EnvironmentName]:
        """Names that have a model and no folder."""
        await anyio.lowlevel.checkpoint()
        models = sorted(path.removeprefix("/models/") for path in self.models)
        names = [EnvironmentName(name) for name in models if "/" not in name]
        return [name for name in names if name not in self.standing]

    async def unfinished(self) -> Sequence[OperationId]:
        """Operations that left something staged or put aside."""
        await anyio.lowlevel.checkpoint()
        left = {OperationId(p.split("/")[2]) for p in self.models if p.count("/") == 3}
        return sorted({*self.staged, *self.previous, *left})

    async def remove(self, name: EnvironmentName) -> None:
        """Removes the environment's folder with all that is in it."""
        await anyio.lowlevel.checkpoint()
        if name in self.stuck:
            raise StorageFailed(
                f"Files of {name} belong to other users.", blocked_by=f"/removed/{name}"
            )
        self.standing.pop(name, None)
        self.models.pop(f"/models/{name}", None)
        self._drop_unused_copies()

    async def finish_removals(self) -> None:
        """Fails as ``remove`` does while anybody is stuck."""
        await anyio.lowlevel.checkpoint()
        self.bundles.drop_forgotten()
        for name in sorted(self.stuck):
            raise StorageFailed(
                f"Files of {name} belong to other users.", blocked_by=f"/removed/{name}"
            )

    async def tidy(self) -> None:
        """Drops archives nobody waits for, and finishes removals."""
        await self.finish_removals()

    async def read(self, project: Project, name: str) -> bytes | None:
        """A file of a project; for the twin of Compose."""
        await anyio.lowlevel.checkpoint()
        if name in self.models:
            return msgspec.json.encode(self.models[name])
        place, _, key = project.directory.strip("/").partition("/")
        if place == "staged":
            files = self.staged.get(OperationId(key), {})
        else:
            files = self.standing.get(EnvironmentName(key), {})
        return files.get(tuple(name.split("/")))

    def files(self, name: EnvironmentName) -> Mapping[str, bytes]:
        """What stands in an environment's folder."""
        return {"/".join(parts): data for parts, data in self.standing.get(name, {}).items()}

    def _project(self, name: EnvironmentName) -> Project:
        model = f"/models/{name}"
        if model in self.models:
            return Project(name=name, directory=f"/standing/{name}", files=(), model=model)
        files = _compose_files(self.standing[name])
        return Project(name=name, directory=f"/standing/{name}", files=files)


def _plain(value: Any) -> Any:
    """A tree of texts."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if value is None else str(value)


def _services(text: bytes) -> set[str]:
    # Not constructed: merges of merges would take for ever.
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return set()
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    services = [value for key, value in pairs if key.value == "services"]
    maps = [value for value in services if isinstance(value, yaml.MappingNode)]
    return {name.value for value in maps for name, _ in value.value if _is_text(name)}


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _copied(document: Document) -> Document:
    copy: Document = msgspec.json.decode(msgspec.json.encode(document))
    return copy


def _compose_files(files: Files) -> tuple[str, ...]:
    try:
        chosen = compose_files([parts[0] for parts in files if len(parts) == 1])
    except BundleRefused as fault:
        inner = {parts[0] for parts in files if len(parts) == 2 and parts[1] in COMPOSE_FILE_NAMES}
        if len(inner) == 1:
            fault.hint = f"It lies in the folder {inner.pop()!r}; zip what is in it instead."
        raise
    for name in chosen:
        if len(files[name,]) > MAX_COMPOSE_FILE_BYTES:
            raise BundleRefused(f"{name} is larger than {MAX_COMPOSE_FILE_BYTES} bytes.")
    return chosen

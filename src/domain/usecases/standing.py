"""Projects of environments that stand, in a form that their own containers cannot change."""

from collections.abc import Iterator

import anyio
import msgspec

from domain.arrangement import relocated
from domain.bundles import MAX_COMPOSE_FILE_BYTES
from domain.compose_model import Document
from domain.compose_policy.mounts import written_folders
from domain.compose_policy.values import lies_in, normal_path
from domain.errors import BundleRefused
from domain.hardening import hardened
from domain.memo import without_memo
from domain.names import EnvironmentName, OperationId
from domain.ports.compose import Project
from domain.ports.log import Log
from domain.ports.workspaces import Workspaces
from domain.usecases.gate import Gate
from domain.usecases.staging import Staging


class BuildSource(msgspec.Struct, frozen=True, kw_only=True):
    """What images of an environment that stands are built from."""

    project: Project
    document: Document
    """The model, with paths that lead below the project's folder."""


class Standing:
    """Gives projects that were judged, and sources of builds that stay as they were judged."""

    def __init__(self, *, workspaces: Workspaces, gate: Gate, staging: Staging, log: Log) -> None:
        self._workspaces = workspaces
        self._gate = gate
        self._staging = staging
        self._log = log

    async def project(self, name: EnvironmentName, *, modelled: bool) -> Project | None:
        """The project that stands, with its judged model; None where there is none.

        An earlier agent left only the Compose files, to which containers may have access. They are
        judged once, as they are then, and not read again.

        Args:
            name: of the environment.
            modelled: an agent that keeps models deployed it. One made anew from its Compose files
                would have neither its networks nor its limits.

        Raises:
            BundleRefused: there should be a model, and somebody removed it.
            PolicyRefused: they ask for what this host does not allow.
            BundleRefused: they cannot be read for sure.
            StepFailed: Compose cannot read them.
        """
        project = await self._workspaces.project(name)
        if project is None or project.model is not None:
            return project
        if modelled:
            raise BundleRefused(
                f"The model that environment {name!r} runs is gone.",
                hint="Deploy it again, or delete it.",
            )
        with self._staging.look() as copy:
            try:
                staged = await self._workspaces.snapshot(
                    copy, name, [""], most_file_bytes=MAX_COMPOSE_FILE_BYTES
                )
                model = await self._gate.model(copy, staged, {})
            finally:
                with anyio.CancelScope(shield=True):
                    await self._workspaces.commit(copy)
        document = relocated(model.document, staged.directory, project.directory)
        await self._workspaces.replace_model(name, self._hardened(document))
        self._log.info("Compose file of an earlier agent judged and kept", environment=name)
        return await self._workspaces.project(name)

    def _hardened(self, document: Document) -> Document:
        services = document["services"]
        rules = self._gate.rules
        return {
            **without_memo(document),
            "services": {n: {**body, **hardened(body, rules)} for n, body in services.items()},
        }

    async def build_source(
        self, operation: OperationId, name: EnvironmentName, document: Document
    ) -> BuildSource:
        """What to build from: the folder itself, or a copy where containers could change it.

        Between the look and the build a container could else put a link to the host's own files
        in the place of a folder that is built. The copy goes with ``commit``.

        Args:
            operation: that builds.
            name: the environment.
            document: its model.

        Raises:
            BundleRefused: it is more than a bundle may hold.
        """
        home = self._workspaces.home(name)
        parts = tuple(sorted(set(_build_paths(document))))
        if not _reachable(parts, written_folders(document)):
            project = Project(name=name, directory=home, files=())
            return BuildSource(project=project, document=document)
        relative = [path.removeprefix(home).strip("/") for path in parts if lies_in(path, home)]
        project = await self._workspaces.snapshot(operation, name, relative)
        return BuildSource(project=project, document=relocated(document, home, project.directory))


def _build_paths(document: Document) -> Iterator[str]:
    """Every path that builds of a model read."""
    for body in document["services"].values():
        build = body.get("build")
        if build is None:
            continue
        context = str(build.get("context", ""))
        dockerfile = str(build.get("dockerfile") or "")
        own = dockerfile if dockerfile.startswith("/") else f"{context}/{dockerfile}"
        secrets = [secret["source"] for secret in build.get("secrets") or ()]
        files = [(document["secrets"].get(name) or {}).get("file") for name in secrets]
        contexts = (build.get("additional_contexts") or {}).values()
        for path in (context, own, f"{own}.dockerignore", *contexts, *files):
            if normal := normal_path(str(path)):
                yield normal


def _reachable(paths: tuple[str, ...], written: tuple[str, ...]) -> bool:
    """Whether containers can change what lies at, below or on the way to one of the paths."""
    return any(
        lies_in(path, folder) or lies_in(folder, path) for path in paths for folder in written
    )

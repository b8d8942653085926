"""The one gate: judges staged projects before anything of them is built or started."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import anyio

from domain.bundles import DOTENV_NAME
from domain.compose_burden import Edge, burdens, edges, too_many_paths
from domain.compose_model import ComposeModel, ComposeService, compose_model
from domain.compose_policy import PolicyRules, judge
from domain.compose_source import look, look_at_dotenv
from domain.dockerfile_policy import judge_dockerfile
from domain.errors import BundleRefused, PolicyRefused
from domain.findings import Finding
from domain.image_names import unmistakable
from domain.names import OperationId
from domain.ports.compose import Compose, Project
from domain.ports.contexts import BuildContexts
from domain.ports.workspaces import Workspaces

AT_ONCE = 2
"""How many bundles Compose reads at once, checks and deploys together."""

MOST_FILES = 32
"""How many Compose files one bundle may be made of."""


class Gate:
    """Lets through what this host allows.

    Args:
        rules: what that is.
    """

    def __init__(
        self,
        *,
        compose: Compose,
        workspaces: Workspaces,
        contexts: BuildContexts,
        rules: PolicyRules,
    ) -> None:
        self._compose = compose
        self._workspaces = workspaces
        self._contexts = contexts
        self.rules = rules
        self._slots = anyio.Semaphore(AT_ONCE)

    async def model(
        self, operation: OperationId, project: Project, variables: Mapping[str, str]
    ) -> ComposeModel:
        """A staged project as Compose resolves it, once it has been judged.

        First its files are looked at as they are, so that Compose opens nothing but the bundle's
        own. Then the model with the services of all profiles is judged. What is given is what
        runs. Dockerfiles are judged apart, with ``check_dockerfiles``.

        Raises:
            PolicyRefused: it asks for what this host does not allow.
            BundleRefused: its files cannot be read for sure.
            StepFailed: Compose cannot read it.
        """
        await self._look(operation, project)
        async with self._slots:
            whole = await self._compose.resolve(project, variables, all_profiles=True)
        _raise_if_any(judge(whole.document, self.rules, folder=project.directory))
        if not any(body.get("profiles") for body in whole.document["services"].values()):
            return _unmistakable(whole)
        return _unmistakable(await self._compose.resolve(project, variables))

    async def check_dockerfiles(self, project: Project, model: ComposeModel) -> None:
        """Judges the Dockerfiles that a model builds from, as they lie on disk now.

        Raises:
            PolicyRefused: one asks for what this host does not allow, or cannot be read for sure.
        """
        findings: list[Finding] = []
        for service in model.services:
            findings += await self._dockerfile(project, service)
        _raise_if_any(findings)

    async def _dockerfile(self, project: Project, service: ComposeService) -> tuple[Finding, ...]:
        if service.build is None:
            return ()
        where = f"services.{service.name}.build"
        text = await self._text(project, service.build)
        if text is None:
            return (_no_dockerfile(where, service.build),)
        return judge_dockerfile(
            text,
            _arguments(service.build),
            where=where,
            rules=self.rules.dockerfiles,
        )

    async def _text(self, project: Project, build: Mapping[str, Any]) -> str | None:
        if inline := build.get("dockerfile_inline"):
            return str(inline)
        return await self._contexts.dockerfile(
            str(build.get("context", "")),
            dockerfile=str(build.get("dockerfile") or "Dockerfile"),
            within=project.directory,
        )

    async def _look(self, operation: OperationId, project: Project) -> None:
        """Judges the files that Compose would open, those they lead to included."""
        findings: list[Finding] = []
        heavy: list[Finding] = []
        needs: set[Edge] = set()
        waiting, seen, folders, count = [*project.files], set[str](), {""}, 0
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            documents = await self._workspaces.documents(operation, name)
            count += documents is not None
            if count > MOST_FILES:
                raise BundleRefused(
                    f"The bundle is made of more than {MOST_FILES} Compose files.",
                    hint="Write them into fewer.",
                )
            for document in documents or ():
                if isinstance(document, Mapping):
                    heavy += burdens(document, file=name)
                    needs |= set(edges(document))
                found = look(document, file=name)
                findings += found.findings
                # Compose resolves paths against one of these; which one is its own affair.
                folders |= {_joined(folder, new) for new in found.folders for folder in folders}
                waiting += [_joined(folder, path) for path in found.files for folder in folders]
                for path in found.variables:
                    await self._check_size(operation, {_joined(f, path) for f in folders})
        for folder in sorted(folders):
            findings += await self._dotenv(operation, _joined(folder, DOTENV_NAME))
        heavy += [burden] if (burden := too_many_paths(needs)) else []
        _raise_if_any([*(() if self.rules.trusted else findings), *heavy])

    async def _check_size(self, operation: OperationId, names: Collection[str]) -> None:
        for name in sorted(names):
            await self._workspaces.text(operation, name)

    async def _dotenv(self, operation: OperationId, name: str) -> tuple[Finding, ...]:
        text = await self._workspaces.text(operation, name)
        return () if text is None else look_at_dotenv(text, file=name)


def _unmistakable(model: ComposeModel) -> ComposeModel:
    """The same model; Docker would take a name such as ``cafe`` for an image's identifier too."""
    services = {
        name: {**body, "image": unmistakable(image)} if (image := body.get("image")) else body
        for name, body in model.document["services"].items()
    }
    return compose_model({**model.document, "services": services})


def _raise_if_any(findings: Sequence[Finding]) -> None:
    if findings:
        raise PolicyRefused(tuple(findings))


def _joined(folder: str, path: str) -> str:
    parts = [part for part in f"{folder}/{path}".split("/") if part not in {"", "."}]
    return "/".join(parts)


def _arguments(build: Mapping[str, Any]) -> Mapping[str, str]:
    arguments = build.get("args") or {}
    return {name: "" if value is None else str(value) for name, value in arguments.items()}


def _no_dockerfile(where: str, build: Mapping[str, Any]) -> Finding:
    return Finding(
        where=where,
        what=str(build.get("dockerfile") or "Dockerfile")[:120],
        why="There is no Dockerfile of this name in the bundle that could be looked at.",
        instead="Put it into the bundle; it may have up to 128 KiB.",
    )

"""Checks a bundle where no agent runs."""

from collections.abc import AsyncIterable, Mapping
from pathlib import Path

import anyio
import msgspec

from adapters.compose.projects import DockerCompose
from adapters.docker.contexts import DiskContexts
from adapters.workspaces.files import DiskWorkspaces
from domain.compose_model import ComposeModel
from domain.names import EnvironmentName, OperationId
from domain.usecases.gate import Gate
from entrypoints.composition.limits import bundle_limits, compose_limits, policy_rules
from entrypoints.settings import Settings


async def check_archive(
    settings: Settings, chunks: AsyncIterable[bytes], variables: Mapping[str, str]
) -> ComposeModel:
    """What would run of a bundle on a host with these settings; needs no Engine and no agent.

    Raises:
        PolicyRefused: it asks for what the host does not allow.
        BundleRefused: it cannot be read.
        StepFailed: Compose cannot read it.
    """
    async with anyio.TemporaryDirectory(prefix="bundle-check-") as folder:
        workspaces = DiskWorkspaces(Path(folder, "workspaces"), bundle_limits(settings))
        await workspaces.prepare()
        home, rules = Path(folder, "compose"), policy_rules(settings)
        await anyio.Path(home).mkdir()
        gate = Gate(
            compose=DockerCompose(settings.docker_socket, home, limits=compose_limits(settings)),
            workspaces=workspaces,
            contexts=DiskContexts(),
            rules=msgspec.structs.replace(rules, own_folders=(*rules.own_folders, folder)),
        )
        operation = OperationId("check")
        bundle = await workspaces.bundles.receive(chunks)
        project = await workspaces.stage(operation, EnvironmentName("bundle"), bundle)
        model = await gate.model(operation, project, variables)
        await gate.check_dockerfiles(project, model)
        return model

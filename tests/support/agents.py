"""A whole agent on twins, and a client that speaks to its HTTP face."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx

from adapters.image_archives.screening import ScreenedArchives
from adapters.memory.clock import MemoryClock
from adapters.memory.compose import MemoryCompose
from adapters.memory.container_files import MemoryContainerFiles
from adapters.memory.container_output import MemoryContainerOutput
from adapters.memory.container_usage import MemoryUsage
from adapters.memory.contexts import MemoryContexts
from adapters.memory.credentials import MemoryCredentials
from adapters.memory.engine_images import MemoryEngineImages
from adapters.memory.firewall import MemoryFirewall
from adapters.memory.happenings import Happenings
from adapters.memory.host_network import MemoryHostNetwork
from adapters.memory.log import MemoryLog
from adapters.memory.manager import MemoryManager
from adapters.memory.metrics import MemoryMetrics
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryEngine,
    MemoryEngineInfo,
    MemoryNetworks,
    MemoryProjectResources,
)
from adapters.memory.store import MemoryStore
from adapters.memory.streams import MemoryEvents, MemoryLogs
from adapters.memory.transfers import MemoryTransfers
from adapters.memory.workspaces import MemoryWorkspaces
from domain.errors import AgentError
from entrypoints.agent import Agent
from entrypoints.composition import (
    Adapters,
    ImagePorts,
    Runtime,
    assemble,
    bundle_limits,
    memory_single_ports,
)
from entrypoints.http.app import create_app
from entrypoints.prometheus import PrometheusExposition
from entrypoints.settings import read_settings

HOST_ID = "6f1b0a52-0000-4000-8000-000000000001"
SERVER_KEY = "the-server-key-of-this-host"
JWT_SECRET = "the-platforms-secret-of-forty-characters"
OWN_CONTAINER = "a9" * 32
"""The identifier of the container that the agent takes for its own."""

KEY = {"X-Server-Key": SERVER_KEY}

VARIABLES = {
    "HOST_ID": HOST_ID,
    "SERVER_KEY": SERVER_KEY,
    "JWT_SECRET": JWT_SECRET,
    "MAX_CONTAINERS": "20",
    "SHUTDOWN_TIMEOUT": "1",
}


@dataclass(kw_only=True)
class World:
    """An agent and everything around it."""

    agent: Agent
    http: httpx.AsyncClient
    engine: MemoryEngine
    compose: MemoryCompose
    store: MemoryStore
    workspaces: MemoryWorkspaces
    clock: MemoryClock
    metrics: MemoryMetrics
    manager: MemoryManager
    log: MemoryLog
    logs: MemoryLogs
    events: MemoryEvents
    transfers: MemoryTransfers
    credentials: MemoryCredentials
    usages: MemoryUsage
    output: MemoryContainerOutput
    files: MemoryContainerFiles

    async def look(self) -> None:
        """Lets the agent look at its Engine, or find that it does not answer."""
        with suppress(AgentError):
            await self.agent.inventory.refresh()

    async def launch(
        self, name: str, archive: bytes, vpn: bytes = b"client\n", **more: Any
    ) -> httpx.Response:
        """Asks for a launch as the manager does."""
        return await self.http.post(
            "/agent/containers", json={**launch_body(name, archive, vpn), **more}, headers=KEY
        )


def launch_body(name: str, archive: bytes, vpn: bytes = b"client\n") -> dict[str, str]:
    """The body of a launch."""
    return {
        "name": name,
        "docker_zip_base64": base64.b64encode(archive).decode(),
        "vpn_conf_base64": base64.b64encode(vpn).decode(),
    }


_spare_applications: list[Any] = []


def _application(agent: Agent) -> Any:
    """The agent's HTTP face; one that an earlier test has done with, as making one takes long."""
    exposition = PrometheusExposition(agent)
    for app in _spare_applications:
        if app._app.request_max_body_size == agent.settings.max_body_bytes:
            _spare_applications.remove(app)
            app._agent, app._exposition = agent, exposition
            app._app.state.agent, app._app.state.exposition = agent, exposition
            return app
    return create_app(agent, exposition)


@asynccontextmanager
async def agent_on_twins(
    variables: Mapping[str, str] | None = None, *, outside: World | None = None, ready: bool = True
) -> AsyncIterator[World]:
    """An agent on twins.

    Args:
        variables: settings beside the usual ones.
        outside: an earlier agent's world, to start anew on what it left.
        ready: let it recover and take work; else that is left to the test.
    """
    settings = read_settings({**VARIABLES, **(variables or {})})
    limits = bundle_limits(settings)
    clock = outside.clock if outside else MemoryClock()
    engine = outside.engine if outside else MemoryEngine(Happenings(clock.now))
    workspaces = outside.workspaces if outside else MemoryWorkspaces(limits)
    compose = MemoryCompose(engine, clock, workspaces.read)
    metrics, manager, log = MemoryMetrics(clock), MemoryManager(), MemoryLog()
    store = outside.store if outside else MemoryStore()
    logs, events, usages = MemoryLogs(engine), MemoryEvents(engine), MemoryUsage()
    transfers = MemoryTransfers(engine)
    credentials = outside.credentials if outside else MemoryCredentials()
    output, files = MemoryContainerOutput(engine), MemoryContainerFiles(engine)
    single = replace(memory_single_ports(engine), output=output, files=files)
    runtime = Runtime(
        containers=MemoryContainers(engine),
        engine=MemoryEngineInfo(engine),
        networks=MemoryNetworks(engine),
        resources=MemoryProjectResources(engine),
        compose=compose,
        logs=logs,
        events=events,
        usages=(usages,),
        firewall=MemoryFirewall(),
        images=ImagePorts(
            engine=MemoryEngineImages(engine),
            transfers=transfers,
            archives=ScreenedArchives(),
            credentials=credentials,
        ),
        single=single,
    )
    agent = await assemble(
        settings,
        Adapters(
            runtime=runtime,
            metrics=metrics,
            manager=manager if settings.manager_url else None,
            store=store,
            bundles=workspaces.bundles,
            workspaces=workspaces,
            contexts=MemoryContexts(workspaces),
            host_network=MemoryHostNetwork("10.0.0.0/24"),
            clock=clock,
            log=log,
            own_container=OWN_CONTAINER,
        ),
    )
    app = _application(agent)
    transport = httpx.ASGITransport(app=app)
    async with (
        agent.operations,
        agent.images.pulls,
        httpx.AsyncClient(transport=transport, base_url="http://agent") as http,
    ):
        await agent.host.observe()
        if ready:
            await agent.recovery.run()
        yield World(
            agent=agent,
            http=http,
            engine=engine,
            compose=compose,
            store=store,
            workspaces=workspaces,
            clock=clock,
            metrics=metrics,
            manager=manager,
            log=log,
            logs=logs,
            events=events,
            transfers=transfers,
            credentials=credentials,
            usages=usages,
            output=output,
            files=files,
        )
        await agent.operations.close(0)
    _spare_applications.append(app)

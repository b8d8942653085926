"""A whole agent on twins, and a client that speaks to its HTTP face."""

import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx

from adapters.archives.images import ScreenedArchives
from adapters.memory.clock import MemoryClock
from adapters.memory.compose import MemoryCompose
from adapters.memory.container_exec import MemoryContainerExec
from adapters.memory.container_files import MemoryContainerFiles
from adapters.memory.container_output import MemoryContainerOutput
from adapters.memory.container_usage import MemoryUsage
from adapters.memory.contexts import MemoryContexts
from adapters.memory.credentials import MemoryCredentials
from adapters.memory.engine import MemoryEngine
from adapters.memory.engine_images import MemoryEngineImages
from adapters.memory.firewall import MemoryFirewall
from adapters.memory.happenings import Happenings, NotedContainers
from adapters.memory.host_network import MemoryHostNetwork
from adapters.memory.log import MemoryLog
from adapters.memory.manager import MemoryManager
from adapters.memory.metrics import MemoryMetrics
from adapters.memory.networks import MemoryNetworksOfHost
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryEngineInfo,
    MemoryNetworks,
    MemoryProjectResources,
)
from adapters.memory.store import MemoryStore
from adapters.memory.streams import MemoryEvents, MemoryLogs
from adapters.memory.transfers import MemoryTransfers
from adapters.memory.volumes import MemoryVolumeArchives, MemoryVolumes
from adapters.memory.workspaces import MemoryWorkspaces
from domain.errors import AgentError
from entrypoints.agent import Agent
from entrypoints.composition.agent import assemble
from entrypoints.composition.limits import bundle_limits
from entrypoints.composition.memory import memory_disk_ports, memory_single_ports
from entrypoints.composition.ports import Adapters, ImagePorts, Runtime
from entrypoints.http.app import create_app
from entrypoints.prometheus import PrometheusExposition
from entrypoints.settings import Settings, read_settings

T = TypeVar("T")

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
class Outside:
    """What outlives an agent."""

    engine: MemoryEngine
    store: MemoryStore
    workspaces: MemoryWorkspaces
    clock: MemoryClock
    credentials: MemoryCredentials

    def copy(self) -> "Outside":
        """The same again, in which others can go on."""
        clock = copy(self.clock)
        clock._sleepers = []
        return Outside(
            engine=_copied_engine(self.engine, clock),
            store=_copied_store(self.store),
            workspaces=_copied(self.workspaces, bundles=_copied(self.workspaces.bundles)),
            clock=clock,
            credentials=_copied(self.credentials),
        )


@dataclass(kw_only=True)
class World(Outside):
    """An agent and everything around it."""

    agent: Agent
    http: httpx.AsyncClient
    compose: MemoryCompose
    metrics: MemoryMetrics
    manager: MemoryManager
    log: MemoryLog
    logs: MemoryLogs
    volumes: MemoryVolumes
    networks: MemoryNetworksOfHost
    events: MemoryEvents
    transfers: MemoryTransfers
    usages: MemoryUsage
    output: MemoryContainerOutput
    files: MemoryContainerFiles
    commands: MemoryContainerExec

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


def _copied(thing: T, **others: Any) -> T:
    """A thing with containers of its own."""
    fresh = copy(thing)
    for name, value in vars(thing).items():
        if isinstance(value, dict):
            parts = {k: v.copy() if isinstance(v, dict) else v for k, v in value.items()}
            setattr(fresh, name, parts)
        elif isinstance(value, list | set):
            setattr(fresh, name, value.copy())
    for name, value in others.items():
        setattr(fresh, name, value)
    return fresh


def _copied_engine(engine: MemoryEngine, clock: MemoryClock) -> MemoryEngine:
    happenings = engine.happenings.copy(clock.now)
    containers = NotedContainers(happenings)
    containers.data = dict(engine.containers)
    return _copied(engine, happenings=happenings, containers=containers, watch=None)


def _copied_store(store: MemoryStore) -> MemoryStore:
    fresh = MemoryStore()
    for name, part in vars(store).items():
        if name.startswith("_"):
            setattr(fresh, name, _copied(part, _store=fresh))
    return fresh


_usual_settings = read_settings(VARIABLES)


def _settings(variables: Mapping[str, str] | None) -> Settings:
    return read_settings({**VARIABLES, **variables}) if variables else _usual_settings


def outside_of_nobody(
    variables: Mapping[str, str] | None = None, *, clock: MemoryClock | None = None
) -> Outside:
    """A host on which no agent was yet."""
    limits, clock = bundle_limits(_settings(variables)), clock or MemoryClock()
    return Outside(
        engine=MemoryEngine(Happenings(clock.now)),
        store=MemoryStore(),
        workspaces=MemoryWorkspaces(limits),
        clock=clock,
        credentials=MemoryCredentials(),
    )


_spare_applications: list[Any] = []


@contextmanager
def _face(agent: Agent) -> Iterator[Any]:
    """The agent's HTTP face, which is made for the first who calls."""
    made: list[Any] = []
    with ExitStack() as stack:

        async def face(scope: Any, receive: Any, send: Any) -> None:
            if not made:
                made.append(stack.enter_context(application(agent))[0])
            await made[0](scope, receive, send)

        yield face


@contextmanager
def application(agent: Agent) -> Iterator[tuple[Any, PrometheusExposition]]:
    """The agent's HTTP face, and its metrics.

    One that an earlier test has done with, where there is one, as making one takes long.
    """
    exposition = PrometheusExposition(agent)
    app = _spare_application(agent, exposition) or create_app(agent, exposition)
    try:
        yield app, exposition
    finally:
        _spare_applications.append(app)


def _spare_application(agent: Agent, exposition: PrometheusExposition) -> Any:
    for app in _spare_applications:
        if app._app.request_max_body_size == agent.settings.max_body_bytes:
            _spare_applications.remove(app)
            app._agent, app._exposition = agent, exposition
            app._app.state.agent, app._app.state.exposition = agent, exposition
            return app
    return None


@asynccontextmanager
async def agent_on_twins(
    variables: Mapping[str, str] | None = None,
    *,
    outside: Outside | None = None,
    ready: bool = True,
    wire: Callable[[Adapters], Adapters] | None = None,
) -> AsyncIterator[World]:
    """An agent on twins.

    Args:
        variables: settings beside the usual ones.
        outside: what an earlier agent left, to start anew on it.
        ready: let it recover and take work; else that is left to the test.
        wire: puts something between the agent and the twins.
    """
    settings = _settings(variables)
    outside = outside or outside_of_nobody(variables)
    clock, engine, workspaces = outside.clock, outside.engine, outside.workspaces
    workspaces.bundles.restart()
    compose = MemoryCompose(engine, clock, workspaces.read)
    metrics, manager, log = MemoryMetrics(clock), MemoryManager(), MemoryLog()
    logs, events, usages = MemoryLogs(engine), MemoryEvents(engine), MemoryUsage()
    transfers, credentials = MemoryTransfers(engine), outside.credentials
    output, files = MemoryContainerOutput(engine), MemoryContainerFiles(engine)
    commands = MemoryContainerExec(engine)
    single = replace(memory_single_ports(engine), output=output, files=files, commands=commands)
    volumes, networks = MemoryVolumes(engine), MemoryNetworksOfHost(engine)
    runtime = Runtime(
        containers=MemoryContainers(engine),
        engine=MemoryEngineInfo(engine),
        networks=MemoryNetworks(engine),
        host_networks=networks,
        volumes=volumes,
        volume_archives=MemoryVolumeArchives(engine, volumes),
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
        disk=memory_disk_ports(engine, clock),
    )
    adapters = Adapters(
        runtime=runtime,
        metrics=metrics,
        manager=manager if settings.manager_url else None,
        store=outside.store,
        bundles=workspaces.bundles,
        workspaces=workspaces,
        contexts=MemoryContexts(workspaces),
        host_network=MemoryHostNetwork("10.0.0.0/24"),
        clock=clock,
        log=log,
        own_container=OWN_CONTAINER,
    )
    agent = await assemble(settings, wire(adapters) if wire is not None else adapters)
    async with AsyncExitStack() as stack:
        face = stack.enter_context(_face(agent))
        await stack.enter_async_context(agent.operations)
        await stack.enter_async_context(agent.images.pulls)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app=face), base_url="http://agent")
        )
        await agent.host.observe()
        if ready:
            await agent.recovery.run()
        yield World(
            agent=agent,
            http=http,
            engine=engine,
            compose=compose,
            store=outside.store,
            workspaces=workspaces,
            clock=clock,
            metrics=metrics,
            manager=manager,
            log=log,
            logs=logs,
            volumes=volumes,
            networks=networks,
            events=events,
            transfers=transfers,
            credentials=credentials,
            usages=usages,
            output=output,
            files=files,
            commands=commands,
        )
        await agent.operations.close(0)

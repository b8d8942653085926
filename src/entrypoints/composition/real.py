"""The real adapters: the Engine, disk, SQLite, the manager, and this host."""

from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from adapters.archives.images import ScreenedArchives
from adapters.cgroups.usage import CgroupUsage
from adapters.compose.projects import DockerCompose
from adapters.docker.build_cache import DockerBuildCache
from adapters.docker.client import EngineClient, EngineLimits
from adapters.docker.container_changes import DockerContainerChanges
from adapters.docker.container_exec import DockerContainerExec
from adapters.docker.container_files import DockerContainerFiles
from adapters.docker.container_lookup import DockerContainerLookup
from adapters.docker.container_output import DockerContainerOutput
from adapters.docker.contexts import DiskContexts
from adapters.docker.disk_usage import DockerDiskUsages
from adapters.docker.engine_images import DockerEngineImages
from adapters.docker.events import DockerEvents
from adapters.docker.logs import DockerLogs
from adapters.docker.networks import DockerNetworksOfHost
from adapters.docker.runtime import (
    DockerContainers,
    DockerEngine,
    DockerNetworks,
    DockerProjectResources,
)
from adapters.docker.stats import DockerUsage
from adapters.docker.surroundings import DockerSurroundings
from adapters.docker.transfers import DockerTransfers
from adapters.docker.volume_archives import DockerVolumeArchives
from adapters.docker.volumes import DockerVolumes
from adapters.docker_config import DockerConfig
from adapters.held_folders import held
from adapters.host_network import LinuxHostNetwork
from adapters.httpx_manager import HttpxManager
from adapters.iptables_firewall import IptablesFirewall
from adapters.memory.engine import MemoryEngine
from adapters.memory.happenings import Happenings
from adapters.own_container import own_container_id
from adapters.psutil_metrics import PsutilMetrics
from adapters.sqlite.reserve import Reserve
from adapters.sqlite.store import SqliteStore
from adapters.stdlib_log import StdlibLog
from adapters.system_clock import SystemClock
from adapters.workspaces.files import DiskWorkspaces
from domain.heartbeat import beat_seconds
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.manager import Manager
from entrypoints.composition import memory
from entrypoints.composition.limits import bundle_limits, compose_limits
from entrypoints.composition.ports import Adapters, DiskPorts, ImagePorts, Runtime, SinglePorts
from entrypoints.settings import Settings

VERSION = version("container-host-agent")
"""The agent's own version."""


async def real_adapters(settings: Settings, stack: AsyncExitStack) -> Adapters:
    """Everything outside, open until ``stack`` is closed.

    Raises:
        StoreUnavailable: the records cannot be opened.
        StorageFailed: the folders cannot be made, or are another agent's.
    """
    state = Path(settings.state_dir)
    clock, log = SystemClock(), StdlibLog()
    # Before anything is read: what another agent does must not be taken for what was cut off.
    for setting, folder in (("STATE_DIR", state), ("WORKSPACE_DIR", Path(settings.workspace_dir))):
        await stack.enter_async_context(held(folder, setting, log))
    store = await stack.enter_async_context(
        SqliteStore.open(state / "agent.db", log=log, reserve=Reserve(state / "reserve"))
    )
    workspaces = DiskWorkspaces(Path(settings.workspace_dir), bundle_limits(settings))
    await workspaces.prepare()
    return Adapters(
        runtime=await open_runtime(settings, state, clock, log, stack),
        metrics=PsutilMetrics(clock),
        manager=await _manager(settings, stack),
        store=store,
        bundles=workspaces.bundles,
        workspaces=workspaces,
        contexts=DiskContexts(),
        host_network=LinuxHostNetwork(urlsplit(settings.manager_url).hostname or ""),
        clock=clock,
        log=log,
        own_container=await own_container_id(),
    )


async def open_runtime(
    settings: Settings, state: Path, clock: Clock, log: Log, stack: AsyncExitStack
) -> Runtime:
    """What runs containers: the Docker Engine, or what ``RUNTIME`` says instead."""
    if settings.runtime == "memory":
        return memory.memory_runtime(MemoryEngine(Happenings(clock.now)), clock)
    home = state / "compose"
    await anyio.Path(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    client = EngineClient(
        settings.docker_socket,
        limits=EngineLimits(
            ask_seconds=settings.engine_timeout, change_seconds=settings.engine_change_timeout
        ),
    )
    stack.push_async_callback(client.aclose)
    return Runtime(
        containers=DockerContainers(client),
        engine=DockerEngine(client),
        networks=DockerNetworks(client),
        host_networks=DockerNetworksOfHost(client),
        volumes=DockerVolumes(client),
        volume_archives=DockerVolumeArchives(
            settings.docker_socket,
            client,
            agent_image=settings.agent_image or None,
            owner=settings.workspace_dir,
        ),
        resources=DockerProjectResources(
            client, agent_image=settings.agent_image or None, owner=settings.workspace_dir
        ),
        compose=DockerCompose(settings.docker_socket, home, limits=compose_limits(settings)),
        logs=DockerLogs(settings.docker_socket, client),
        events=DockerEvents(settings.docker_socket, begin_seconds=settings.engine_timeout),
        usages=(CgroupUsage(), DockerUsage(client)),
        firewall=IptablesFirewall(log) if settings.firewall == "auto" else None,
        images=ImagePorts(
            engine=DockerEngineImages(client),
            transfers=DockerTransfers(
                settings.docker_socket, begin_seconds=settings.engine_timeout
            ),
            archives=ScreenedArchives(),
            credentials=DockerConfig(home),
        ),
        single=SinglePorts(
            lookup=DockerContainerLookup(client),
            changes=DockerContainerChanges(client),
            surroundings=DockerSurroundings(client),
            output=DockerContainerOutput(settings.docker_socket, client),
            files=DockerContainerFiles(settings.docker_socket, client),
            commands=DockerContainerExec(settings.docker_socket, client),
        ),
        disk=DiskPorts(usages=DockerDiskUsages(client), build_cache=DockerBuildCache(client)),
    )


async def _manager(settings: Settings, stack: AsyncExitStack) -> Manager | None:
    if not settings.manager_url:
        return None
    return await stack.enter_async_context(
        HttpxManager(
            settings.manager_url,
            host_id=settings.host_id,
            server_key=settings.server_key,
            timeout_seconds=beat_seconds(settings.heartbeat_interval),
            version=VERSION,
        )
    )

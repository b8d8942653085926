"""The in-memory runtime, which is a part of the product: ``RUNTIME=memory``."""

import anyio

from adapters.archives.images import ScreenedArchives
from adapters.memory.build_cache import MemoryBuildCache
from adapters.memory.compose import MemoryCompose
from adapters.memory.container_exec import MemoryContainerExec
from adapters.memory.container_files import MemoryContainerFiles
from adapters.memory.container_output import MemoryContainerOutput
from adapters.memory.container_usage import MemoryUsage
from adapters.memory.containers import (
    MemoryContainerChanges,
    MemoryContainerLookup,
)
from adapters.memory.credentials import MemoryCredentials
from adapters.memory.disk_usage import MemoryDiskUsages
from adapters.memory.engine import MemoryEngine
from adapters.memory.engine_images import MemoryEngineImages
from adapters.memory.firewall import MemoryFirewall
from adapters.memory.networks import MemoryNetworksOfHost
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryEngineInfo,
    MemoryNetworks,
    MemoryProjectResources,
)
from adapters.memory.streams import MemoryEvents, MemoryLogs
from adapters.memory.surroundings import MemorySurroundings
from adapters.memory.transfers import MemoryTransfers
from adapters.memory.volumes import MemoryVolumeArchives, MemoryVolumes
from domain.ports.clock import Clock
from domain.ports.compose import Project
from entrypoints.composition.ports import DiskPorts, ImagePorts, Runtime, SinglePorts


def memory_runtime(engine: MemoryEngine, clock: Clock) -> Runtime:
    """The in-memory runtime, on projects that lie on disk."""
    volumes = MemoryVolumes(engine)
    return Runtime(
        containers=MemoryContainers(engine),
        engine=MemoryEngineInfo(engine),
        networks=MemoryNetworks(engine),
        host_networks=MemoryNetworksOfHost(engine),
        volumes=volumes,
        volume_archives=MemoryVolumeArchives(engine, volumes),
        resources=MemoryProjectResources(engine),
        compose=MemoryCompose(engine, clock, _read_project_file),
        logs=MemoryLogs(engine),
        events=MemoryEvents(engine),
        usages=(MemoryUsage(),),
        firewall=MemoryFirewall(),
        images=memory_images(engine),
        single=memory_single_ports(engine),
        disk=memory_disk_ports(engine, clock),
    )


def memory_images(engine: MemoryEngine) -> ImagePorts:
    """The images of the in-memory runtime."""
    return ImagePorts(
        engine=MemoryEngineImages(engine),
        transfers=MemoryTransfers(engine),
        archives=ScreenedArchives(),
        credentials=MemoryCredentials(),
    )


def memory_single_ports(engine: MemoryEngine) -> SinglePorts:
    """The in-memory ports for single containers."""
    return SinglePorts(
        lookup=MemoryContainerLookup(engine),
        changes=MemoryContainerChanges(engine),
        surroundings=MemorySurroundings(engine),
        output=MemoryContainerOutput(engine),
        files=MemoryContainerFiles(engine),
        commands=MemoryContainerExec(engine),
    )


def memory_disk_ports(engine: MemoryEngine, clock: Clock) -> DiskPorts:
    """The in-memory ports for what is kept."""
    return DiskPorts(
        usages=MemoryDiskUsages(engine), build_cache=MemoryBuildCache(engine, clock.now)
    )


async def _read_project_file(project: Project, name: str) -> bytes | None:
    path = anyio.Path(project.directory, name)
    return await path.read_bytes() if await path.is_file() else None

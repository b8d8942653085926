"""What is outside of one agent: the ports of the domain, grouped by whom they serve."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.ports.build_cache import BuildCache
from domain.ports.clock import Clock
from domain.ports.compose import Compose
from domain.ports.container_changes import ContainerChanges
from domain.ports.container_details import ContainerLookup
from domain.ports.container_exec import ContainerExec
from domain.ports.container_files import ContainerFiles
from domain.ports.container_output import ContainerOutput
from domain.ports.container_surroundings import ContainerSurroundings
from domain.ports.container_usage import ContainerUsages
from domain.ports.contexts import BuildContexts
from domain.ports.credentials import KeptCredentials
from domain.ports.disk_usage import DiskUsages
from domain.ports.engine_events import EngineEvents
from domain.ports.engine_images import EngineImages
from domain.ports.engine_networks import EngineNetworks
from domain.ports.engine_volumes import EngineVolumes
from domain.ports.firewall import Firewall
from domain.ports.host_network import HostNetwork
from domain.ports.image_archives import ImageArchives
from domain.ports.image_transfers import ImageTransfers
from domain.ports.log import Log
from domain.ports.manager import Manager
from domain.ports.metrics import HostMetrics
from domain.ports.runtime import Containers, Engine, Networks, ProjectResources
from domain.ports.store import Store
from domain.ports.streams import ContainerLogs
from domain.ports.volume_archives import VolumeArchives
from domain.ports.workspaces import Bundles, Workspaces


@dataclass(frozen=True, kw_only=True)
class ImagePorts:
    """What is done with images is done through these."""

    engine: EngineImages
    transfers: ImageTransfers
    archives: ImageArchives
    credentials: KeptCredentials


@dataclass(frozen=True, kw_only=True)
class SinglePorts:
    """The ports for what is done with containers one by one."""

    lookup: ContainerLookup
    changes: ContainerChanges
    surroundings: ContainerSurroundings
    output: ContainerOutput
    files: ContainerFiles
    commands: ContainerExec


@dataclass(frozen=True, kw_only=True)
class DiskPorts:
    """What Docker keeps, and how room is made."""

    usages: DiskUsages
    build_cache: BuildCache


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The ports that ``RUNTIME`` chooses."""

    containers: Containers
    engine: Engine
    networks: Networks
    host_networks: EngineNetworks
    volumes: EngineVolumes
    volume_archives: VolumeArchives
    resources: ProjectResources
    compose: Compose
    logs: ContainerLogs
    events: EngineEvents
    usages: Sequence[ContainerUsages]
    """The cheapest first."""
    firewall: Firewall | None
    images: ImagePorts
    single: SinglePorts
    disk: DiskPorts


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Everything outside; tests put twins in."""

    runtime: Runtime
    metrics: HostMetrics
    manager: Manager | None
    store: Store
    bundles: Bundles
    workspaces: Workspaces
    contexts: BuildContexts
    host_network: HostNetwork
    clock: Clock
    log: Log
    own_container: str | None = None
    """The identifier of the container that the agent itself runs in."""

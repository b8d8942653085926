"""What the faces of the agent are given: its use cases."""

from dataclasses import dataclass
from typing import Protocol

from domain.compose_policy import PolicyRules
from domain.ports.clock import Clock
from domain.ports.container_files import ContainerFiles
from domain.ports.container_output import ContainerOutput
from domain.ports.log import Log
from domain.ports.store import Environments
from domain.ports.streams import ContainerLogs
from domain.ports.workspaces import Bundles
from domain.usecases.addresses import Addresses
from domain.usecases.agent_entries import AgentEntries
from domain.usecases.audit import AuditTrail
from domain.usecases.authentication import Authentication
from domain.usecases.builds import Builds
from domain.usecases.chronicle import Chronicle
from domain.usecases.consistency import Consistency
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_control import ContainerControl
from domain.usecases.container_creation import ContainerCreation
from domain.usecases.container_execution import ContainerExecution
from domain.usecases.container_list import ContainerList
from domain.usecases.container_pruning import ContainerPruning
from domain.usecases.container_stats import StatsWatch
from domain.usecases.container_usage import UsageWatch
from domain.usecases.container_waiting import ContainerWaiting
from domain.usecases.deploy import Deploy
from domain.usecases.disk_watch import DiskWatch
from domain.usecases.engine_entries import EngineEntries
from domain.usecases.engine_events import EventHub
from domain.usecases.health import Health
from domain.usecases.heartbeat import Heartbeat
from domain.usecases.host import HostWatch
from domain.usecases.host_images import HostImages
from domain.usecases.housekeeping import Housekeeping
from domain.usecases.image_archiving import ImageArchiving
from domain.usecases.image_pruning import ImagePruning
from domain.usecases.inventory import InventoryWatch
from domain.usecases.journal import Journal
from domain.usecases.library import Library
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.lifetimes import Lifetimes
from domain.usecases.live_inventory import LiveInventory
from domain.usecases.network_joining import NetworkJoining
from domain.usecases.network_pruning import NetworkPruning
from domain.usecases.networks import HostNetworks
from domain.usecases.open_commands import OpenCommands
from domain.usecases.open_restores import OpenRestores
from domain.usecases.operations import Operations
from domain.usecases.ownership import Ownership
from domain.usecases.protection import Protection
from domain.usecases.pulls import Pulls
from domain.usecases.recovery import Recovery
from domain.usecases.registries import Registries
from domain.usecases.space import Space
from domain.usecases.states import States
from domain.usecases.storage_watch import StorageWatch
from domain.usecases.system_pruning import SystemPruning
from domain.usecases.volume_archiving import VolumeArchiving
from domain.usecases.volume_pruning import VolumePruning
from domain.usecases.volumes import HostVolumes
from entrypoints.settings import Settings


class Exposition(Protocol):
    """What Prometheus is told."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        ...

    def render(self) -> bytes:
        """All metrics as Prometheus reads them; may read small files, so call it in a thread."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageCalls:
    """What is done with images."""

    host: HostImages
    pruning: ImagePruning
    pulls: Pulls
    archiving: ImageArchiving
    registries: Registries


@dataclass(frozen=True, kw_only=True)
class SingleContainers:
    """What is done with containers one by one."""

    list: ContainerList
    access: ContainerAccess
    ownership: Ownership
    creation: ContainerCreation
    control: ContainerControl
    waiting: ContainerWaiting
    pruning: ContainerPruning
    stats: StatsWatch
    output: ContainerOutput
    files: ContainerFiles
    execution: ContainerExecution


@dataclass(frozen=True, kw_only=True)
class NetworkCalls:
    """What is done with networks."""

    host: HostNetworks
    joining: NetworkJoining
    pruning: NetworkPruning


@dataclass(frozen=True, kw_only=True)
class VolumeCalls:
    """What is done with volumes."""

    host: HostVolumes
    pruning: VolumePruning
    archiving: VolumeArchiving


@dataclass(frozen=True, kw_only=True)
class Agent:
    """The wired agent."""

    settings: Settings
    policy: PolicyRules
    version: str
    authentication: Authentication
    bundles: Bundles
    compose_version: str
    host: HostWatch
    inventory: InventoryWatch
    live_inventory: LiveInventory
    container_usage: UsageWatch
    operations: Operations
    environments: Environments
    deploy: Deploy
    lifecycle: Lifecycle
    library: Library
    lifetimes: Lifetimes
    chronicle: Chronicle
    builds: Builds
    addresses: Addresses
    audit: AuditTrail
    space: Space
    housekeeping: Housekeeping
    restores: OpenRestores
    commands: OpenCommands
    protection: Protection
    logs: ContainerLogs
    events: EventHub
    journal: Journal
    engine_entries: EngineEntries
    agent_entries: AgentEntries
    recovery: Recovery
    consistency: Consistency
    states: States
    heartbeat: Heartbeat
    health: Health
    storage: StorageWatch
    images: ImageCalls
    containers: SingleContainers
    networks: NetworkCalls
    volumes: VolumeCalls
    disk: DiskWatch
    pruning: SystemPruning
    clock: Clock
    log: Log

"""The composition root: settings become adapters, adapters become use cases, these the agent.

The only module that names adapters.
"""

import hmac
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import msgspec

from adapters.archives.images import ScreenedArchives
from adapters.archives.volumes import ScreenedVolumeArchives
from adapters.cgroups.usage import CgroupUsage
from adapters.compose.projects import ComposeLimits, DockerCompose
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
from adapters.host_network import LinuxHostNetwork
from adapters.httpx_manager import HttpxManager
from adapters.iptables_firewall import IptablesFirewall
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
from adapters.memory.happenings import Happenings
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
from adapters.own_container import own_container_id
from adapters.psutil_metrics import PsutilMetrics
from adapters.pyjwt_keys import PyjwtKeys
from adapters.sqlite.reserve import Reserve
from adapters.sqlite.store import SqliteStore
from adapters.stdlib_log import StdlibLog, configure_logging
from adapters.system_clock import SystemClock
from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.capacity import CapacityLimits
from domain.compose_model import ComposeModel
from domain.compose_policy import PolicyProfile, PolicyRules
from domain.heartbeat import beat_seconds
from domain.image_names import OwnImages, RegistryRules
from domain.limits import HeldLimits, LimitRules
from domain.names import EnvironmentName, OperationId
from domain.ports.build_cache import BuildCache
from domain.ports.clock import Clock
from domain.ports.compose import Compose, Project
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
from domain.usecases.addresses import Addresses
from domain.usecases.admission import Admission
from domain.usecases.agent_entries import AgentEntries, ToldManager
from domain.usecases.audit import AuditTrail
from domain.usecases.authentication import Authentication
from domain.usecases.builds import Builds
from domain.usecases.chronicle import Chronicle
from domain.usecases.clearing import Clearing
from domain.usecases.consistency import Consistency
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_control import ContainerControl
from domain.usecases.container_creation import ContainerCreation
from domain.usecases.container_execution import ContainerExecution
from domain.usecases.container_list import ContainerList
from domain.usecases.container_names import ContainerNames
from domain.usecases.container_pruning import ContainerPruning
from domain.usecases.container_stats import StatsWatch
from domain.usecases.container_surroundings import Surroundings
from domain.usecases.container_usage import UsageWatch
from domain.usecases.container_waiting import ContainerWaiting
from domain.usecases.deploy import Deploy
from domain.usecases.disk_watch import DiskWatch
from domain.usecases.engine_entries import EngineEntries
from domain.usecases.engine_events import EventHub
from domain.usecases.environment_checks import EnvironmentChecks
from domain.usecases.gate import Gate
from domain.usecases.health import Health
from domain.usecases.heartbeat import Heartbeat, WithoutEngine
from domain.usecases.host import HostWatch
from domain.usecases.host_images import HostImages
from domain.usecases.housekeeping import Housekeeping, HousekeepingRules
from domain.usecases.image_archiving import ImageArchiving
from domain.usecases.image_pruning import ImagePruning
from domain.usecases.inventory import InventoryWatch
from domain.usecases.journal import Journal
from domain.usecases.leftover_checks import LeftoverChecks
from domain.usecases.library import Library
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.lifetimes import LifetimeRules, Lifetimes
from domain.usecases.live_inventory import LiveInventory
from domain.usecases.memos import Memos
from domain.usecases.mending import Mending
from domain.usecases.network_joining import NetworkJoining
from domain.usecases.network_pruning import NetworkPruning
from domain.usecases.networks import HostNetworks
from domain.usecases.news import News
from domain.usecases.open_orders import OpenOrders
from domain.usecases.operations import Operations
from domain.usecases.ownership import Ownership
from domain.usecases.protection import Protection
from domain.usecases.prunable_kinds import (
    PrunableBuildCache,
    PrunableContainers,
    PrunableImages,
    PrunableNetworks,
    PrunableVolumes,
)
from domain.usecases.pull_policy import PullPolicy
from domain.usecases.pulls import Pulls
from domain.usecases.recovery import Recovery
from domain.usecases.registries import Registries
from domain.usecases.resolving import Resolving
from domain.usecases.restoring import Restoring
from domain.usecases.space import Space
from domain.usecases.staging import Staging
from domain.usecases.standing import Standing
from domain.usecases.states import States
from domain.usecases.stopping import Stopping
from domain.usecases.system_pruning import SystemPruning
from domain.usecases.timekeeping import Timekeeping
from domain.usecases.told_records import ToldStore
from domain.usecases.undo import Undo
from domain.usecases.volume_archiving import VolumeArchiving
from domain.usecases.volume_pruning import VolumePruning
from domain.usecases.volumes import HostVolumes
from entrypoints.agent import Agent, ImageCalls, NetworkCalls, SingleContainers, VolumeCalls
from entrypoints.settings import Settings

VERSION = version("container-host-agent")
"""The agent's own version."""


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


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[Agent]:
    """The agent with its real adapters, open as long as the ``async with`` lasts.

    Raises:
        StoreUnavailable: the records cannot be opened.
        StorageFailed: the folders cannot be made.
    """
    configure_logging(
        settings.log_level,
        json=settings.environment == "production",
        secrets=settings.secrets,
    )
    async with AsyncExitStack() as stack:
        adapters = await _real_adapters(settings, stack)
        agent = await assemble(settings, adapters)
        await stack.enter_async_context(agent.operations)
        await stack.enter_async_context(agent.images.pulls)
        yield agent


async def _real_adapters(settings: Settings, stack: AsyncExitStack) -> Adapters:
    state = Path(settings.state_dir)
    clock, log = SystemClock(), StdlibLog()
    store = await stack.enter_async_context(
        SqliteStore.open(state / "agent.db", log=log, reserve=Reserve(state / "reserve"))
    )
    workspaces = DiskWorkspaces(Path(settings.workspace_dir), bundle_limits(settings))
    await workspaces.prepare()
    return Adapters(
        runtime=await _runtime(settings, state, clock, log, stack),
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


async def _runtime(
    settings: Settings, state: Path, clock: Clock, log: Log, stack: AsyncExitStack
) -> Runtime:
    if settings.runtime == "memory":
        return memory_runtime(MemoryEngine(Happenings(clock.now)), clock)
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


def compose_limits(settings: Settings) -> ComposeLimits:
    """How long Compose may take."""
    return ComposeLimits(
        resolve_seconds=settings.resolve_timeout,
        build_seconds=settings.build_timeout,
        start_seconds=settings.start_timeout,
        stop_seconds=settings.stop_timeout,
        grace_seconds=settings.stop_grace,
    )


def bundle_limits(settings: Settings) -> BundleLimits:
    """The limits of bundles."""
    return BundleLimits(
        max_bytes=settings.max_bundle_bytes,
        max_unpacked_bytes=settings.max_unpacked_bytes,
        max_entries=settings.max_bundle_entries,
        max_ratio=settings.max_bundle_ratio,
    )


@dataclass(frozen=True, kw_only=True)
class _Changes:
    """The use cases that change environments."""

    policy: PolicyRules
    audit: AuditTrail
    operations: Operations
    orders: OpenOrders
    timekeeping: Timekeeping
    builds: Builds
    space: Space
    protection: Protection
    addresses: Addresses
    admission: Admission
    deploy: Deploy
    lifecycle: Lifecycle
    library: Library
    housekeeping: Housekeeping
    recovery: Recovery
    consistency: Consistency
    memos: Memos
    states: States


def _changes(
    settings: Settings,
    adapters: Adapters,
    inventory: InventoryWatch,
    host: HostWatch,
    *,
    news: News,
    agent_entries: AgentEntries,
) -> _Changes:
    runtime, clock, log, store = adapters.runtime, adapters.clock, adapters.log, adapters.store
    operations = Operations(store.operations, clock, log, news)
    timekeeping = Timekeeping(store=store, operations=operations, clock=clock, log=log)
    clearing = Clearing(runtime.resources)
    addresses = Addresses(
        store.environments, runtime.networks, adapters.host_network, settings.network_pool
    )
    builds = Builds(
        contexts=adapters.contexts,
        compose=runtime.compose,
        resources=runtime.resources,
        workspaces=adapters.workspaces,
        environments=store.environments,
        images=store.images,
        operations=store.operations,
        clock=clock,
        log=log,
        at_once=settings.max_builds,
    )
    audit = AuditTrail(
        store.audit, clock, log, keep_seconds=settings.audit_ttl, tell=agent_entries.asked
    )
    orders = OpenOrders(
        records=store.open_orders,
        changes=runtime.single.changes,
        lookup=runtime.single.lookup,
        clock=clock,
        log=log,
    )
    housekeeping = Housekeeping(
        store=store,
        engine=runtime.engine,
        audit=audit,
        builds=builds,
        timekeeping=timekeeping,
        orders=orders,
        clock=clock,
        log=log,
        rules=HousekeepingRules(
            operation_seconds=settings.operation_ttl,
            bundle_seconds=settings.bundle_ttl,
            image_seconds=settings.image_ttl,
        ),
    )
    space = Space(
        host, store, housekeeping.reclaim, log, min_free_percent=settings.min_free_percent
    )
    protection = Protection(runtime.firewall, str(settings.network_pool), log)
    gate = Gate(
        compose=runtime.compose,
        workspaces=adapters.workspaces,
        contexts=adapters.contexts,
        rules=policy_rules(settings),
    )
    staging = Staging(operations, clock)
    standing = Standing(workspaces=adapters.workspaces, gate=gate, staging=staging, log=log)
    stopping = Stopping(runtime.compose, inventory, clock)
    undo = Undo(
        environments=store.environments,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        resources=runtime.resources,
        clearing=clearing,
        builds=builds,
        standing=standing,
        clock=clock,
        log=log,
        stop_seconds=settings.stop_grace + 2.0,
    )
    resolving = Resolving(gate, adapters.workspaces)
    admission = Admission(_capacity(settings), store.environments, inventory, host)
    deploy = Deploy(
        environments=store.environments,
        bundles=adapters.bundles,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        resources=runtime.resources,
        operations=operations,
        inventory=inventory,
        admission=admission,
        addresses=addresses,
        builds=builds,
        gate=gate,
        resolving=resolving,
        space=space,
        protection=protection,
        stopping=stopping,
        undo=undo,
        clearing=clearing,
        clock=clock,
        log=log,
        limits=limit_rules(settings),
        seconds=settings.deploy_timeout,
        starts=settings.max_starts,
    )
    lifecycle = Lifecycle(
        environments=store.environments,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        resources=runtime.resources,
        operations=operations,
        inventory=inventory,
        builds=builds,
        gate=gate,
        standing=standing,
        legacy_builds=settings.max_builds,
        protection=protection,
        stopping=stopping,
        undo=undo,
        clearing=clearing,
        timekeeping=timekeeping,
        clock=clock,
        log=log,
        change_seconds=settings.deploy_timeout,
    )
    library = Library(
        records=store.bundles,
        environments=store.environments,
        bundles=adapters.bundles,
        workspaces=adapters.workspaces,
        gate=gate,
        resolving=resolving,
        builds=builds,
        operations=operations,
        staging=staging,
        inventory=inventory,
        space=space,
        clock=clock,
        log=log,
        build_seconds=settings.deploy_timeout,
    )
    mending = Mending(
        store=store,
        workspaces=adapters.workspaces,
        resources=runtime.resources,
        inventory=inventory,
        undo=undo,
        builds=builds,
        clearing=clearing,
        clock=clock,
        log=log,
    )
    memos = Memos(adapters.workspaces)
    states = States(
        environments=store.environments,
        operations=operations,
        inventory=inventory,
        clock=clock,
        log=log,
    )
    consistency = Consistency(
        operations=operations,
        inventory=inventory,
        resources=runtime.resources,
        states=states,
        environments=EnvironmentChecks(
            environments=store.environments,
            workspaces=adapters.workspaces,
            operations=operations,
            inventory=inventory,
            mending=mending,
            restoring=Restoring(
                environments=store.environments,
                workspaces=adapters.workspaces,
                clock=clock,
                log=log,
            ),
            lifecycle=lifecycle,
            memos=memos,
        ),
        leftovers=LeftoverChecks(
            store=store,
            workspaces=adapters.workspaces,
            resources=runtime.resources,
            inventory=inventory,
            operations=operations,
            staging=staging,
            mending=mending,
            builds=builds,
            library=library,
            clearing=clearing,
        ),
        clock=clock,
        log=log,
    )
    recovery = Recovery(
        records=store.operations,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        inventory=inventory,
        operations=operations,
        mending=mending,
        consistency=consistency,
        clearing=clearing,
        archives=runtime.volume_archives,
        orders=orders,
        lifecycle=lifecycle,
        clock=clock,
        log=log,
    )
    return _Changes(
        policy=gate.rules,
        audit=audit,
        operations=operations,
        orders=orders,
        timekeeping=timekeeping,
        builds=builds,
        space=space,
        protection=protection,
        addresses=addresses,
        admission=admission,
        deploy=deploy,
        lifecycle=lifecycle,
        library=library,
        housekeeping=housekeeping,
        recovery=recovery,
        consistency=consistency,
        memos=memos,
        states=states,
    )


def policy_rules(settings: Settings) -> PolicyRules:
    """What bundles may ask for."""
    return PolicyRules(
        profile=PolicyProfile(settings.compose_policy),
        capabilities=settings.allowed_capabilities,
        devices=settings.allowed_devices,
        bind_roots=settings.allowed_bind_roots,
        registries=RegistryRules(allowed=settings.allowed_registries),
        host_ports=settings.host_ports,
        own_port=settings.api_port,
        own_folders=(settings.state_dir, f"{settings.workspace_dir}/.agent"),
        new_privileges=settings.new_privileges,
        pool=settings.network_pool,
        most_memory_bytes=settings.max_container_memory,
    )


def limit_rules(settings: Settings) -> LimitRules:
    """The limits of single containers."""
    return LimitRules(
        defaults=HeldLimits(
            cpus=settings.container_cpus,
            memory_bytes=settings.container_memory,
            pids=settings.container_pids,
            log_bytes=settings.container_log,
        ),
        most=HeldLimits(
            cpus=settings.max_container_cpus,
            memory_bytes=settings.max_container_memory,
            pids=settings.max_container_pids,
            log_bytes=settings.max_container_log,
        ),
    )


def _capacity(settings: Settings) -> CapacityLimits:
    return CapacityLimits(
        max_containers=settings.max_containers,
        max_cpu_percent=settings.max_cpu_percent,
        max_memory_percent=settings.max_memory_percent,
        max_committed_cpu_percent=settings.max_committed_cpu_percent,
        max_committed_memory_percent=settings.max_committed_memory_percent,
    )


async def assemble(settings: Settings, adapters: Adapters) -> Agent:
    """The agent made of ``adapters``; its operations are still to be entered."""
    journal = Journal(adapters.clock)
    adapters = _told(adapters, journal)
    runtime, clock, log = adapters.runtime, adapters.clock, adapters.log
    news = News()
    inventory = InventoryWatch(runtime.containers, runtime.engine, clock, log, news)
    host = HostWatch(adapters.metrics, clock, _paths(settings))
    agent_entries = AgentEntries(journal, clock)
    changes = _changes(settings, adapters, inventory, host, news=news, agent_entries=agent_entries)
    chronicle = Chronicle(
        environments=adapters.store.environments,
        timeline=adapters.store.timeline,
        operations=changes.operations,
        clock=clock,
        log=log,
    )
    lifetimes = Lifetimes(
        environments=adapters.store.environments,
        lifecycle=changes.lifecycle,
        operations=changes.operations,
        chronicle=chronicle,
        memos=changes.memos,
        timekeeping=changes.timekeeping,
        clock=clock,
        log=log,
        rules=LifetimeRules(
            default_seconds=settings.default_ttl,
            max_seconds=settings.max_ttl,
            warning_seconds=settings.expiry_warning,
        ),
    )
    heartbeat = Heartbeat(
        manager=adapters.manager,
        host=host,
        inventory=inventory,
        operations=changes.operations,
        news=news,
        clock=clock,
        log=log,
        interval_seconds=settings.heartbeat_interval,
        without_engine=WithoutEngine(settings.heartbeat_without_engine),
        max_containers=settings.max_containers,
    )
    health = Health(
        store=adapters.store,
        inventory=inventory,
        heartbeat=heartbeat,
        operations=changes.operations,
        recovery=changes.recovery,
        consistency=changes.consistency,
        clock=clock,
        log=log,
        version=VERSION,
    )
    events = EventHub(runtime.events, clock, log)
    images = _image_calls(settings, adapters, inventory, changes)
    usage = UsageWatch(runtime.usages, inventory, clock, log)
    containers = _single_containers(
        settings, adapters, changes, inventory, events=events, pulls=images.pulls, usage=usage
    )
    networks = _network_calls(adapters, changes)
    volumes = _volume_calls(settings, adapters, changes)
    return Agent(
        settings=settings,
        policy=changes.policy,
        version=VERSION,
        authentication=Authentication(
            PyjwtKeys(settings.jwt_secret or None),
            same_text,
            host_id=settings.host_id,
            server_key=settings.server_key,
        ),
        bundles=adapters.bundles,
        compose_version=await runtime.compose.version(),
        host=host,
        inventory=inventory,
        operations=changes.operations,
        environments=adapters.store.environments,
        deploy=changes.deploy,
        lifecycle=changes.lifecycle,
        library=changes.library,
        lifetimes=lifetimes,
        chronicle=chronicle,
        builds=changes.builds,
        addresses=changes.addresses,
        audit=changes.audit,
        space=changes.space,
        housekeeping=changes.housekeeping,
        protection=changes.protection,
        logs=runtime.logs,
        events=events,
        journal=journal,
        engine_entries=EngineEntries(events, adapters.store.environments, journal, clock),
        agent_entries=agent_entries,
        live_inventory=LiveInventory(inventory, events, clock, log),
        container_usage=usage,
        recovery=changes.recovery,
        consistency=changes.consistency,
        states=changes.states,
        heartbeat=heartbeat,
        health=health,
        images=images,
        containers=containers,
        disk=DiskWatch(runtime.disk.usages, clock),
        pruning=SystemPruning(
            (
                PrunableContainers(containers.pruning),
                PrunableNetworks(networks.pruning),
                PrunableVolumes(volumes.pruning),
                PrunableBuildCache(runtime.disk.build_cache, clock),
                PrunableImages(images.pruning),
            ),
            changes.operations,
        ),
        networks=networks,
        volumes=volumes,
        clock=clock,
        log=log,
    )


def _told(adapters: Adapters, journal: Journal) -> Adapters:
    """The same, of which some tell the journal of what they are told."""
    clock, manager = adapters.clock, adapters.manager
    return replace(
        adapters,
        store=ToldStore(adapters.store, journal, clock),
        manager=None if manager is None else ToldManager(manager, journal, clock),
    )


def _image_calls(
    settings: Settings, adapters: Adapters, inventory: InventoryWatch, changes: _Changes
) -> ImageCalls:
    ports, own = adapters.runtime.images, OwnImages(agent_image=settings.agent_image)
    policy = PullPolicy(changes.policy.registries, trusted=changes.policy.trusted)
    registries = Registries(ports.credentials, ports.transfers, policy)
    host = HostImages(
        images=ports.engine,
        inventory=inventory,
        environments=adapters.store.environments,
        builds=changes.builds,
        own=own,
    )
    return ImageCalls(
        host=host,
        pruning=ImagePruning(host_images=host, images=ports.engine, builds=changes.builds, own=own),
        pulls=Pulls(
            transfers=ports.transfers,
            images=ports.engine,
            registries=registries,
            policy=policy,
            builds=changes.builds,
            space=changes.space,
            log=adapters.log,
            seconds=settings.pull_timeout,
        ),
        archiving=ImageArchiving(
            host_images=host,
            images=ports.engine,
            transfers=ports.transfers,
            archives=ports.archives,
            builds=changes.builds,
            space=changes.space,
            max_bytes=settings.max_image_bytes,
        ),
        registries=registries,
    )


def _network_calls(adapters: Adapters, changes: _Changes) -> NetworkCalls:
    networks, environments = adapters.runtime.host_networks, adapters.store.environments
    ownership = Ownership(environments)
    host = HostNetworks(
        networks=networks,
        addresses=changes.addresses,
        ownership=ownership,
        protection=changes.protection,
        rules=changes.policy,
    )
    access = ContainerAccess(
        adapters.runtime.single.lookup, ownership, own_id=adapters.own_container
    )
    return NetworkCalls(
        host=host,
        joining=NetworkJoining(
            host_networks=host, networks=networks, access=access, rules=changes.policy
        ),
        pruning=NetworkPruning(
            host_networks=host,
            networks=networks,
            environments=environments,
            operations=changes.operations,
        ),
    )


def _volume_calls(settings: Settings, adapters: Adapters, changes: _Changes) -> VolumeCalls:
    runtime, environments = adapters.runtime, adapters.store.environments
    host = HostVolumes(
        volumes=runtime.volumes,
        ownership=Ownership(environments),
        space=changes.space,
        rules=changes.policy,
    )
    return VolumeCalls(
        host=host,
        pruning=VolumePruning(
            host_volumes=host,
            volumes=runtime.volumes,
            environments=environments,
            operations=changes.operations,
        ),
        archiving=VolumeArchiving(
            host_volumes=host,
            volumes=runtime.volumes,
            archives=runtime.volume_archives,
            screening=ScreenedVolumeArchives(),
            space=changes.space,
            rules=changes.policy,
            own_container=adapters.own_container,
            max_bytes=settings.max_volume_bytes,
        ),
    )


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(
        one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass")
    )


def _paths(settings: Settings) -> dict[str, str]:
    return {
        "root": "/",
        "workspace": settings.workspace_dir,
        "state": settings.state_dir,
        "docker": "/var/lib/docker",
    }


def _single_containers(
    settings: Settings,
    adapters: Adapters,
    changes: _Changes,
    inventory: InventoryWatch,
    *,
    events: EventHub,
    pulls: Pulls,
    usage: UsageWatch,
) -> SingleContainers:
    single, environments, clock = (
        adapters.runtime.single,
        adapters.store.environments,
        adapters.clock,
    )
    ownership = Ownership(environments)
    access = ContainerAccess(single.lookup, ownership, own_id=adapters.own_container)
    names = ContainerNames(environments, changes.policy, clock)
    surroundings = Surroundings(
        single.surroundings,
        changes.addresses,
        ownership,
        changes.protection,
        changes.policy,
        workspace=adapters.workspaces.root,
    )
    listing = ContainerList(inventory, environments)
    return SingleContainers(
        list=listing,
        access=access,
        ownership=ownership,
        creation=ContainerCreation(
            changes=single.changes,
            lookup=single.lookup,
            resources=adapters.runtime.resources,
            names=names,
            surroundings=surroundings,
            operations=changes.operations,
            admission=changes.admission,
            inventory=inventory,
            space=changes.space,
            pulls=pulls,
            orders=changes.orders,
            clock=clock,
            rules=changes.policy,
            limits=limit_rules(settings),
            workspace=adapters.workspaces.root,
        ),
        control=ContainerControl(
            access=access,
            changes=single.changes,
            lookup=single.lookup,
            names=names,
            ownership=ownership,
            surroundings=surroundings,
            operations=changes.operations,
            admission=changes.admission,
            inventory=inventory,
            clock=clock,
        ),
        waiting=ContainerWaiting(access, single.lookup, events),
        pruning=ContainerPruning(
            access=access,
            changes=single.changes,
            lookup=single.lookup,
            environments=environments,
            operations=changes.operations,
            inventory=inventory,
            clock=clock,
        ),
        stats=StatsWatch(
            access=access, listing=listing, inventory=inventory, usage=usage, clock=clock
        ),
        output=single.output,
        files=single.files,
        execution=ContainerExecution(
            access=access,
            commands=single.commands,
            operations=changes.operations,
            clock=clock,
            at_once=settings.max_execs,
            idle_seconds=settings.exec_idle,
        ),
    )

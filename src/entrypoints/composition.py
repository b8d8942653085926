"""The composition root: settings become adapters, adapters become use cases, these the agent.

The only module that names adapters.
"""

import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anyio

from adapters.compose.projects import ComposeLimits, DockerCompose
from adapters.docker.client import EngineClient
from adapters.docker.runtime import DockerContainers, DockerEngine, DockerProjectResources
from adapters.httpx_manager import HttpxManager
from adapters.memory.compose import MemoryCompose
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryEngine,
    MemoryEngineInfo,
    MemoryProjectResources,
)
from adapters.psutil_metrics import PsutilMetrics
from adapters.pyjwt_keys import PyjwtKeys
from adapters.sqlite_store import SqliteStore
from adapters.stdlib_log import StdlibLog, configure_logging
from adapters.system_clock import SystemClock
from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.capacity import CapacityLimits
from domain.ports.clock import Clock
from domain.ports.compose import Compose, Project
from domain.ports.log import Log
from domain.ports.manager import Manager
from domain.ports.metrics import HostMetrics
from domain.ports.runtime import Containers, Engine, ProjectResources
from domain.ports.store import Store
from domain.ports.workspaces import Bundles, Workspaces
from domain.usecases.admission import Admission
from domain.usecases.authentication import Authentication
from domain.usecases.clearing import Clearing
from domain.usecases.deploy import Deploy
from domain.usecases.health import Health
from domain.usecases.heartbeat import Heartbeat, WithoutEngine
from domain.usecases.host import HostWatch
from domain.usecases.inventory import InventoryWatch
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.operations import Operations
from domain.usecases.recovery import Recovery
from domain.usecases.undo import Undo
from entrypoints.agent import Agent
from entrypoints.settings import Settings

VERSION = version("container-host-agent")
"""The agent's own version."""

HEARTBEAT_SECONDS = 10.0
"""How long one heartbeat may take, if the interval is not shorter."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The four ports that ``RUNTIME`` chooses."""

    containers: Containers
    engine: Engine
    resources: ProjectResources
    compose: Compose


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Everything outside; tests put twins in."""

    runtime: Runtime
    metrics: HostMetrics
    manager: Manager | None
    store: Store
    bundles: Bundles
    workspaces: Workspaces
    clock: Clock
    log: Log


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
        yield agent


async def _real_adapters(settings: Settings, stack: AsyncExitStack) -> Adapters:
    state = Path(settings.state_dir)
    clock, log = SystemClock(), StdlibLog()
    store = await stack.enter_async_context(SqliteStore.open(state / "agent.db", log=log))
    workspaces = DiskWorkspaces(Path(settings.workspace_dir), bundle_limits(settings))
    await workspaces.prepare()
    return Adapters(
        runtime=await _runtime(settings, state, clock, stack),
        metrics=PsutilMetrics(clock),
        manager=await _manager(settings, stack),
        store=store,
        bundles=workspaces.bundles,
        workspaces=workspaces,
        clock=clock,
        log=log,
    )


async def _runtime(settings: Settings, state: Path, clock: Clock, stack: AsyncExitStack) -> Runtime:
    if settings.runtime == "memory":
        return memory_runtime(MemoryEngine(), clock)
    home = state / "compose"
    await anyio.Path(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    client = EngineClient(settings.docker_socket)
    stack.push_async_callback(client.aclose)
    return Runtime(
        containers=DockerContainers(client),
        engine=DockerEngine(client),
        resources=DockerProjectResources(client, agent_image=settings.agent_image or None),
        compose=DockerCompose(
            settings.docker_socket,
            home,
            limits=ComposeLimits(
                build_seconds=settings.build_timeout, grace_seconds=settings.stop_grace
            ),
        ),
    )


def memory_runtime(engine: MemoryEngine, clock: Clock) -> Runtime:
    """The in-memory runtime, on projects that lie on disk."""
    return Runtime(
        containers=MemoryContainers(engine),
        engine=MemoryEngineInfo(engine),
        resources=MemoryProjectResources(engine),
        compose=MemoryCompose(engine, clock, _read_project_file),
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
            timeout_seconds=min(HEARTBEAT_SECONDS, settings.heartbeat_interval),
            version=VERSION,
        )
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

    operations: Operations
    deploy: Deploy
    lifecycle: Lifecycle
    recovery: Recovery


def _changes(
    settings: Settings, adapters: Adapters, inventory: InventoryWatch, host: HostWatch
) -> _Changes:
    runtime, clock, log = adapters.runtime, adapters.clock, adapters.log
    environments = adapters.store.environments
    operations = Operations(adapters.store.operations, clock, log)
    clearing = Clearing(runtime.resources)
    undo = Undo(
        environments=environments,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        resources=runtime.resources,
        clearing=clearing,
        clock=clock,
        log=log,
    )
    deploy = Deploy(
        environments=environments,
        bundles=adapters.bundles,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        resources=runtime.resources,
        operations=operations,
        inventory=inventory,
        admission=Admission(_capacity(settings), inventory, host),
        undo=undo,
        clearing=clearing,
        clock=clock,
        log=log,
        seconds=settings.deploy_timeout,
        builds=settings.max_builds,
    )
    lifecycle = Lifecycle(
        environments=environments,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        resources=runtime.resources,
        operations=operations,
        inventory=inventory,
        undo=undo,
        clearing=clearing,
        clock=clock,
        log=log,
        restart_seconds=settings.deploy_timeout,
        builds=settings.max_builds,
    )
    recovery = Recovery(
        store=adapters.store,
        workspaces=adapters.workspaces,
        compose=runtime.compose,
        inventory=inventory,
        operations=operations,
        undo=undo,
        clearing=clearing,
        lifecycle=lifecycle,
        clock=clock,
        log=log,
    )
    return _Changes(operations=operations, deploy=deploy, lifecycle=lifecycle, recovery=recovery)


def _capacity(settings: Settings) -> CapacityLimits:
    return CapacityLimits(
        max_containers=settings.max_containers,
        max_cpu_percent=settings.max_cpu_percent,
        max_memory_percent=settings.max_memory_percent,
    )


async def assemble(settings: Settings, adapters: Adapters) -> Agent:
    """The agent made of ``adapters``; its operations are still to be entered."""
    runtime, clock, log = adapters.runtime, adapters.clock, adapters.log
    inventory = InventoryWatch(runtime.containers, runtime.engine, clock, log)
    host = HostWatch(adapters.metrics, clock, _paths(settings))
    changes = _changes(settings, adapters, inventory, host)
    heartbeat = Heartbeat(
        manager=adapters.manager,
        host=host,
        inventory=inventory,
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
        clock=clock,
        log=log,
        version=VERSION,
    )
    return Agent(
        settings=settings,
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
        deploy=changes.deploy,
        lifecycle=changes.lifecycle,
        recovery=changes.recovery,
        heartbeat=heartbeat,
        health=health,
        clock=clock,
        log=log,
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

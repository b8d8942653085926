"""An agent in this process whose files and records are on disk, and its Engine in memory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from adapters.docker.contexts import DiskContexts
from adapters.memory.clock import MemoryClock
from adapters.memory.compose import MemoryCompose
from adapters.memory.engine import MemoryEngine
from adapters.memory.happenings import Happenings
from adapters.memory.host_network import MemoryHostNetwork
from adapters.memory.log import MemoryLog
from adapters.memory.metrics import MemoryMetrics
from adapters.sqlite.reserve import Reserve
from adapters.sqlite.store import SqliteStore
from adapters.workspaces.files import DiskWorkspaces
from domain.ports.clock import Clock
from entrypoints.agent import Agent
from entrypoints.composition.agent import assemble
from entrypoints.composition.limits import bundle_limits
from entrypoints.composition.memory import memory_runtime
from entrypoints.composition.ports import Adapters
from entrypoints.prometheus import PrometheusExposition
from entrypoints.settings import Settings, read_settings
from tests.support.agents import KEY, VARIABLES, application


@dataclass(kw_only=True)
class DiskWorld:
    """An agent and what is around it."""

    agent: Agent
    http: httpx.AsyncClient
    """With the key."""
    engine: MemoryEngine
    compose: MemoryCompose
    store: SqliteStore
    workspaces: DiskWorkspaces
    exposition: PrometheusExposition
    clock: Clock
    log: MemoryLog
    workspace: Path


async def _adapters(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    engine: MemoryEngine,
    clock: Clock,
    log: MemoryLog,
    reserve: bool,
) -> Adapters:
    state = Path(settings.state_dir)
    held = Reserve(state / "reserve") if reserve else None
    store = await stack.enter_async_context(
        SqliteStore.open(state / "agent.db", log=log, reserve=held)
    )
    workspaces = DiskWorkspaces(Path(settings.workspace_dir), bundle_limits(settings))
    await workspaces.prepare()
    return Adapters(
        runtime=memory_runtime(engine, clock),
        metrics=MemoryMetrics(clock),
        manager=None,
        store=store,
        bundles=workspaces.bundles,
        workspaces=workspaces,
        contexts=DiskContexts(),
        host_network=MemoryHostNetwork("10.0.0.0/24"),
        clock=clock,
        log=log,
    )


@asynccontextmanager
async def agent_on_disk(
    root: Path,
    variables: Mapping[str, str] | None = None,
    *,
    clock: Clock | None = None,
    reserve: bool = True,
) -> AsyncIterator[DiskWorld]:
    """An agent with its folders below ``root``, ready for work.

    Args:
        root: holds ``ws`` and ``state``, or where ``variables`` say they are.
        variables: settings beside the usual ones.
        clock: its time; a ``MemoryClock`` where none is given.
        reserve: hold room for records.
    """
    places = {"WORKSPACE_DIR": str(root / "ws"), "STATE_DIR": str(root / "state")}
    settings = read_settings({**VARIABLES, **places, **(variables or {})})
    clock, log = clock or MemoryClock(), MemoryLog()
    engine = MemoryEngine(Happenings(clock.now))
    async with AsyncExitStack() as stack:
        adapters = await _adapters(
            settings, stack, engine=engine, clock=clock, log=log, reserve=reserve
        )
        agent = await assemble(settings, adapters)
        app, exposition = stack.enter_context(application(agent))
        await stack.enter_async_context(agent.operations)
        await stack.enter_async_context(agent.images.pulls)
        transport = httpx.ASGITransport(app=app)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://agent", headers=KEY)
        )
        await agent.host.observe()
        await agent.recovery.run()
        compose, store, workspaces = adapters.runtime.compose, adapters.store, adapters.workspaces
        assert isinstance(compose, MemoryCompose)
        assert isinstance(store, SqliteStore)
        assert isinstance(workspaces, DiskWorkspaces)
        yield DiskWorld(
            agent=agent,
            http=http,
            engine=engine,
            compose=compose,
            store=store,
            workspaces=workspaces,
            exposition=exposition,
            clock=clock,
            log=log,
            workspace=Path(settings.workspace_dir),
        )
        await agent.operations.close(0)

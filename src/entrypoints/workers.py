"""What runs for the agent's life: sampler, inventory, heartbeat, recovery."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from domain.containers import ContainerEvent
from domain.engine_events import EngineEvent, container_event
from domain.errors import AgentError, StoreUnavailable
from domain.shortage import shortage
from domain.usecases.heartbeat import SAMPLES_SECONDS
from entrypoints.agent import Agent

SAMPLE_SECONDS = 2.0
"""Pause between two samples of the host's counters."""

INVENTORY_SECONDS = 5.0
"""Pause between two looks at the Engine."""

STATES_SECONDS = 0.5
"""Pause after states were written, in which what changes is gathered."""

STORAGE_SECONDS = 15.0
"""Pause between two looks at the records, and at the workspace."""

LIFETIME_SECONDS = 2.0
"""Pause between two looks at which environments have expired."""

CLEANING_SECONDS = 30.0
"""Pause between two looks at what nobody uses any more."""

AUDIT_SECONDS = 1.0
"""Pause between two times that audit entries are written."""

_FIRST_RETRY_SECONDS = 0.5

_SHORTAGE_PAUSE_SECONDS = 1.0

_CHRONICLE_WAITING = 5000
"""How many events wait while the store is slow."""

_FIRST_SAMPLES_SECONDS = SAMPLES_SECONDS / 2


async def run_workers(agent: Agent) -> None:
    """Runs all workers until cancelled; a fault in one ends them all, and with them the agent.

    What the host is too short of for a moment is no such fault.
    """
    async with anyio.create_task_group() as group:
        for worker in (
            partial(_watch_host, agent),
            partial(_watch_engine, agent),
            partial(_every, agent, STORAGE_SECONDS, agent.storage.observe_records),
            partial(_every, agent, STORAGE_SECONDS, agent.storage.observe_files),
            agent.recovery.run,
            agent.consistency.run,
            agent.heartbeat.run,
            partial(_write_chronicle, agent),
            agent.engine_entries.run,
            partial(agent.agent_entries.follow, agent.consistency),
            partial(_follow_events, agent),
            agent.live_inventory.run,
            partial(_follow_states, agent),
            partial(_every, agent, LIFETIME_SECONDS, partial(_if_open, agent, _lifetimes)),
            partial(_every, agent, CLEANING_SECONDS, partial(_if_open, agent, _clean)),
            partial(_every, agent, CLEANING_SECONDS, partial(_if_open, agent, _commands)),
            partial(_every, agent, CLEANING_SECONDS, partial(_if_open, agent, _restores)),
            partial(_every, agent, AUDIT_SECONDS, agent.audit.flush),
            agent.protection.run,
        ):
            group.start_soon(_through_shortages, agent, worker)


async def _through_shortages(agent: Agent, worker: Callable[[], Awaitable[None]]) -> None:
    """Runs a worker, and begins it anew where the host was short of something for a moment."""
    while True:
        try:
            return await worker()
        except Exception as fault:
            refusal = shortage(fault)
            if refusal is None:
                raise
            agent.log.warning("worker begins anew", reason=refusal.detail)
        await agent.clock.sleep(_SHORTAGE_PAUSE_SECONDS)


async def _watch_host(agent: Agent) -> None:
    await _observe_host(agent)
    # A first rate soon, so that the first heartbeat has something to tell.
    await agent.clock.sleep(_FIRST_SAMPLES_SECONDS)
    while True:
        await _observe_host(agent)
        await agent.clock.sleep(SAMPLE_SECONDS)


async def _observe_host(agent: Agent) -> None:
    try:
        await agent.host.observe()
    except (AgentError, OSError) as fault:
        # No file could be opened for a moment, say; what was seen before still tells enough.
        agent.log.warning("the host's counters cannot be read", reason=str(fault))


async def _watch_engine(agent: Agent) -> None:
    """Looks at the containers; while the Engine is away more often at first, and never in step."""
    failed = 0
    while True:
        try:
            await _look_at_engine(agent)
            failed = 0
        except AgentError as fault:
            failed += 1
            agent.log.debug("worker goes on", reason=fault.detail)
        await agent.clock.sleep(engine_pause_seconds(failed, agent.clock.chance()))


def engine_pause_seconds(failed: int, chance: float) -> float:
    """How long to wait for the next look at the Engine.

    Args:
        failed: how many looks in a row it did not answer.
        chance: a random number from 0 to 1 that spreads the agents of a fleet.
    """
    if not failed:
        return INVENTORY_SECONDS
    longest = min(INVENTORY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(failed - 1, 8))
    return longest * (0.5 + 0.5 * chance)


async def _look_at_engine(agent: Agent) -> None:
    await agent.inventory.refresh()
    info = agent.inventory.engine_info
    if info is not None and info.root_dir:
        agent.host.paths["docker"] = info.root_dir


async def _follow_states(agent: Agent) -> None:
    """Writes down what the picture shows, whenever the Engine has told something."""
    while True:
        looked = agent.inventory.looked
        await _if_open(agent, _states)
        await agent.clock.sleep(STATES_SECONDS)
        await looked.wait()


async def _states(agent: Agent) -> None:
    try:
        await agent.states.follow()
    except StoreUnavailable as fault:
        agent.log.debug("states not written", reason=fault.detail)


async def _if_open(agent: Agent, work: Callable[[Agent], Awaitable[None]]) -> None:
    """Leaves things alone while the agent puts them in order, or ends."""
    if agent.operations.accepting:
        await work(agent)


async def _lifetimes(agent: Agent) -> None:
    await agent.lifetimes.tick()


async def _commands(agent: Agent) -> None:
    await agent.commands.clear()


async def _restores(agent: Agent) -> None:
    await agent.restores.clear()


async def _clean(agent: Agent) -> None:
    await agent.housekeeping.tick(agent.library, agent.space)


async def _follow_events(agent: Agent) -> None:
    """What happened while no agent ran is heard of too."""
    await agent.events.run(since=await agent.chronicle.told_until())


async def _write_chronicle(agent: Agent) -> None:
    """Writes down what happens to containers; after a gap, what happened in it too."""
    with agent.events.follow(most=_CHRONICLE_WAITING) as events:
        async for item in events:
            event = container_event(item) if isinstance(item, EngineEvent) else None
            if event is not None:
                await _happened(agent, event)


async def _happened(agent: Agent, event: ContainerEvent) -> None:
    try:
        await agent.chronicle.happened(event)
    except AgentError as fault:
        agent.log.debug("not written into a timeline", reason=fault.detail)


async def _every(agent: Agent, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except AgentError as fault:
            # What is watched notes its own faults for health; here the loop only goes on.
            agent.log.debug("worker goes on", reason=fault.detail)
        await agent.clock.sleep(seconds)

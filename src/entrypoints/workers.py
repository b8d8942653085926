"""What runs for the agent's life: sampler, inventory, heartbeat, recovery."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from domain.errors import AgentError
from entrypoints.agent import Agent

SAMPLE_SECONDS = 2.0
"""Pause between two samples of the host's counters."""

INVENTORY_SECONDS = 5.0
"""Pause between two looks at the Engine."""

STORE_SECONDS = 15.0
"""Pause between two looks at the records."""

_FIRST_SAMPLES_SECONDS = 0.25
_FIRST_PICTURE_SECONDS = 3.0


async def run_workers(agent: Agent) -> None:
    """Runs all workers until cancelled; a fault in one ends them all, and with them the agent."""
    await agent.host.observe()
    async with anyio.create_task_group() as group:
        group.start_soon(_watch_host, agent)
        group.start_soon(_every, agent, INVENTORY_SECONDS, partial(_look_at_engine, agent))
        group.start_soon(_every, agent, STORE_SECONDS, agent.health.observe_store)
        group.start_soon(agent.recovery.run)
        group.start_soon(_heartbeat, agent)


async def _watch_host(agent: Agent) -> None:
    # A first rate soon, so that the first heartbeat has something to tell.
    await agent.clock.sleep(_FIRST_SAMPLES_SECONDS)
    while True:
        await agent.host.observe()
        await agent.clock.sleep(SAMPLE_SECONDS)


async def _look_at_engine(agent: Agent) -> None:
    await agent.inventory.refresh()
    info = agent.inventory.engine_info
    if info is not None and info.root_dir:
        agent.host.paths["docker"] = info.root_dir


async def _every(agent: Agent, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except AgentError as fault:
            # What is watched notes its own faults for health; here the loop only goes on.
            agent.log.debug("worker goes on", reason=fault.detail)
        await agent.clock.sleep(seconds)


async def _heartbeat(agent: Agent) -> None:
    await agent.clock.sleep(_FIRST_SAMPLES_SECONDS * 2)
    with anyio.move_on_after(_FIRST_PICTURE_SECONDS):
        await agent.inventory.asked.wait()
    await agent.heartbeat.run()

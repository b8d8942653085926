"""Runs scenarios with a trouble in their midst, and says what is not in order afterwards."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from domain.environments import EnvironmentState
from domain.errors import AgentError
from domain.operations import OperationKind
from tests.crashes.acts import LAB, PLAIN, Story
from tests.crashes.scenarios import Scenario
from tests.crashes.survey import Expected, told_of
from tests.support.agents import World
from tests.support.crashes import Command, Fault, Host, Kill, Line, a_host, all_done
from tests.support.order import disorder, everything, failed_for_good


async def killed(
    scenario: Scenario, expected: Expected, kill: Kill, *, again: Kill | None = None
) -> list[str] | None:
    """What is not in order when a scenario was cut off and the next agent has started.

    Args:
        scenario: what is cut off.
        expected: what it is like undisturbed.
        kill: where.
        again: where the next agent is killed too, before one starts that is not.

    Returns:
        None where the next agent had done all before it would have been killed.
    """

    async def start(world: World) -> None:
        await world.agent.recovery.run()

    async with _cut_off(scenario, expected, kill) as (host, story):
        if again is not None and await host.live(Line(again), start, ready=False):
            return None
        found = await _recovered(host, scenario, expected, story)
        if kill.command is Command.ENDS and kill.at % _THIRD_START == 0:
            found += await _later(host, scenario, deploy=kill.at % _DEPLOY_AGAIN == 0)
        return found


@asynccontextmanager
async def _cut_off(
    scenario: Scenario, expected: Expected, kill: Kill
) -> AsyncIterator[tuple[Host, Story]]:
    """A host on which the agent was killed."""
    left = expected.left.get(kill.at)
    if left is not None and kill.command is Command.ENDS and not kill.after:
        # What is outside is all that is left, and is known from the survey.
        async with a_host(left.outside.copy()) as host:
            yield host, Story(promised=set(left.promised))
        return
    async with a_host(expected.outside.copy()) as host:
        story = Story()

        async def life(world: World) -> None:
            await scenario.act(world, story)

        assert not await host.live(Line(kill), life, ready=scenario.ready), "it was not killed"
        yield host, story


_THIRD_START, _DEPLOY_AGAIN = 2, 4
"""After every which kill there is a further start, and all is deployed again; it takes time."""


async def _recovered(host: Host, scenario: Scenario, expected: Expected, story: Story) -> list[str]:
    """What is not in order when the next agent has started."""
    async with host.agent(ready=False) as world:
        await world.agent.recovery.run()
        await all_done(world)
        found = disorder(world, stood=expected.stood)
        found += _neither(world, scenario, expected, story)
        found += [f"differs: {d}" for d in world.agent.consistency.report.differences]
    if host.strays:
        found.append("commands of the killed agent live on")
    return found


async def let_down(scenario: Scenario, expected: Expected, fault: Fault) -> list[str] | None:
    """What is not in order when a scenario was let down and the agent has looked again.

    Returns:
        None where the fault was not met.
    """
    async with a_host(expected.outside.copy()) as host:
        line, story = Line(), Story()
        async with host.agent(line) as world:
            line.trouble = fault
            with suppress(AgentError):
                await scenario.act(world, story)
            await all_done(world)
            if not fault.met:
                return None
            found = [*_indefinite(story)]
            fault.end()
            await _look(world)
            found += disorder(world, stood=expected.stood, let_down=True)
            if scenario.whole:
                story.promised.clear()
                found += _neither(world, scenario, expected, story)
                found += [f"differs: {d}" for d in world.agent.consistency.report.differences]
        return found + await _later(host, scenario, deploy=fault.at % _DEPLOY_AGAIN == 0)


async def let_down_at_start(
    scenario: Scenario, expected: Expected, kill: Kill, fault: Fault
) -> list[str] | None:
    """What is not in order when an agent was killed, and the next one was let down at its start.

    Returns:
        None where the fault was not met.
    """
    async with _cut_off(scenario, expected, kill) as (host, story):
        records = host.outside.store.operations._records
        earlier, cut_off = set(records), [o for o in records.values() if not o.state.ended]
        async with host.agent(Line(fault), ready=False) as world:
            await world.agent.recovery.run()
            await all_done(world)
            if not fault.met:
                return None
            fault.end()
            # Promises are kept in spite of a kill; whoever is let down is told that it failed.
            story.promised.clear()
            taken_up = [o for o in records.values() if o.id not in earlier and o.kind in _ONCE]
            await _look(world)
            found = disorder(world, stood=expected.stood, let_down=True)
            if scenario.whole:
                found += _neither(world, scenario, expected, story)
            if len(taken_up) > len(cut_off):
                found.append(f"{len(cut_off)} operations were taken up {len(taken_up)} times")
        return found


_ONCE = {OperationKind.RESTART, OperationKind.REBUILD, OperationKind.RESET}
"""What does harm when it is done twice."""


async def _look(world: World) -> None:
    """Lets the agent do what it does every few seconds and minutes."""
    await world.agent.inventory.refresh()
    await world.agent.consistency.look()
    await all_done(world)
    await world.agent.housekeeping.tick(world.agent.library, world.agent.space)
    await world.agent.consistency.look()


def _indefinite(story: Story) -> Iterator[str]:
    """Answers from which nobody learns what has happened."""
    for answer in story.answers:
        if answer.status_code not in _DEFINITE:
            yield f"answered {answer.status_code}: {answer.text}"


_DEFINITE = {200, 201, 202, 204, 404, 409, 422, 502, 503, 504, 507}


async def _later(host: Host, scenario: Scenario, *, deploy: bool) -> list[str]:
    """What a further start changes, and whether all can be deployed again."""
    before = everything(host.outside)
    async with host.agent() as world:
        await all_done(world)
        found = [f"a third start heals: {h}" for h in world.agent.consistency.report.healed]
        found += _different(before, everything(host.outside))
        for name in (scenario.concerns or (LAB,)) if deploy else ():
            answer = await world.launch(name, PLAIN)
            if answer.status_code != 201:
                found.append(f"{name} cannot be deployed again: {answer.text}")
    return found


def _neither(world: World, scenario: Scenario, expected: Expected, story: Story) -> Iterator[str]:
    """What is neither as it was before nor as it would have become."""
    for name in scenario.concerns:
        now = told_of(world, scenario)[name]
        before, after = expected.before[name], expected.after[name]
        undone = now == before or (_nothing_stood(before) and failed_for_good(world, name))
        undone = undone or now == expected.first[name]
        if name in story.promised and now != after:
            yield f"{name} should have gone: {_difference(after, now)}"
        elif now != after and not undone:
            yield f"{name} was: {_difference(before, now)}; would be: {_difference(after, now)}"


def _nothing_stood(before: dict[str, Any]) -> bool:
    record = before["record"]
    return record is None or record["state"] is EnvironmentState.FAILED


def _difference(wanted: Any, found: Any, place: str = "") -> str:
    """Where two trees differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        return ", ".join(_difference(wanted.get(k), found.get(k), f"{place} {k}") for k in keys)
    return f"{place}: {str(wanted)[:300]} → {str(found)[:300]}"


def _different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"a third start changed {key}: {before[key]!r} → {after[key]!r}"
        for key in before
        if before[key] != after[key]
    ]

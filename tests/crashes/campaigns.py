"""Cuts scenarios off, or lets them down, at one point after another."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from domain.errors import (
    AgentError,
    EngineUnavailable,
    StorageFailed,
    StorageFull,
    StoreUnavailable,
)
from tests.crashes.scenarios import Scenario
from tests.crashes.survey import undisturbed
from tests.crashes.survival import killed, let_down, let_down_at_start
from tests.support.crashes import Fault, Kill


@dataclass(frozen=True)
class Ground:
    """Something that agents stand on, and how it fails."""

    name: str
    calls: tuple[str, ...]
    """How the calls begin that fail."""
    error: Callable[[], AgentError]


GROUNDS = (
    Ground(
        "the Engine is away",
        ("engine:", "compose build", "compose up", "compose stop"),
        lambda: EngineUnavailable("The Engine is away."),
    ),
    Ground("no records", ("store.",), lambda: StoreUnavailable("The records are away.")),
    Ground("the disk is full", ("disk.",), lambda: StorageFull("The disk is full.")),
    Ground("the disk fails", ("disk.",), lambda: StorageFailed("The disk fails.")),
)

MOMENT, LONG = 1, 1_000_000
"""How many calls fail: one, or all until the scenario is over."""


@dataclass
class Campaign:
    """What came of many attempts."""

    attempts: int = 0
    wrong: list[str] = field(default_factory=list)
    """What was not in order, and after what."""

    def take(self, after: str, found: Iterable[str]) -> None:
        """Takes down what came of one attempt."""
        self.attempts += 1
        self.wrong += [f"{after}: {fault}" for fault in found]


async def kill_everywhere(scenario: Scenario) -> Campaign:
    """Kills the agent at every point at which that leaves something else than before."""
    expected, campaign = await undisturbed(scenario), Campaign()
    for kill in expected.kills():
        found = await killed(scenario, expected, kill)
        campaign.take(f"{scenario}, {expected.at(kill)}", found or ())
    return campaign


_CALLS_OF_A_START = 50


def _chosen(number: int, every: int) -> Iterable[int]:
    """At which calls of a start after a kill attempts are made, if all starts were in one row."""
    first = -number * _CALLS_OF_A_START % every
    return count(first, every) if first < _CALLS_OF_A_START else ()


async def kill_twice(scenario: Scenario, *, every: int) -> Campaign:
    """Kills the agent, and the next one while it brings the host in order.

    Args:
        scenario: what is cut off.
        every: only every so manyth attempt is made.
    """
    expected, campaign = await undisturbed(scenario), Campaign()
    for number, kill in enumerate(expected.kills()):
        for at in _chosen(number, every):
            again = Kill(at, command=kill.command)
            found = await killed(scenario, expected, kill, again=again)
            if found is None:
                break
            after = f"{scenario}, {expected.at(kill)}, the next one before its call {at}"
            campaign.take(after, found)
    return campaign


async def let_down_at_starts(scenario: Scenario, ground: Ground, *, every: int) -> Campaign:
    """Kills the agent, and lets the next one down for a moment while it brings the host in order.

    Args:
        scenario: what is cut off.
        ground: what fails.
        every: only every so manyth attempt is made.
    """
    expected, campaign = await undisturbed(scenario), Campaign()
    for number, kill in enumerate(expected.kills()):
        for at in _chosen(number, every):
            fault = Fault(ground.calls, at, MOMENT, ground.error)
            found = await let_down_at_start(scenario, expected, kill, fault)
            if found is None:
                break
            after = (
                f"{scenario}, {expected.at(kill)}, then {ground.name} at call {at} ({fault.met})"
            )
            campaign.take(after, found)
    return campaign


async def let_down_everywhere(scenario: Scenario, ground: Ground, *, every: int) -> Campaign:
    """Lets the agent down at every so manyth call, for a moment and until all is over."""
    expected, campaign = await undisturbed(scenario), Campaign()
    for lasting in (MOMENT, LONG):
        for at in count(len(scenario.name) % every, every):
            fault = Fault(ground.calls, at, lasting, ground.error)
            found = await let_down(scenario, expected, fault)
            if found is None:
                break
            long = "from" if lasting == LONG else "at"
            after = f"{scenario}, {ground.name} {long} call {at} of that kind ({fault.met})"
            campaign.take(after, found)
    return campaign

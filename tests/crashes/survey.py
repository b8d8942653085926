"""What scenarios are like when nothing disturbs them, and where they can be cut off."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from adapters.memory.engine import Change
from tests.crashes.acts import Story
from tests.crashes.scenarios import Scenario
from tests.support.agents import Outside, World
from tests.support.crashes import Command, Kill, Line, a_host, all_done
from tests.support.order import everything, told


@dataclass(frozen=True)
class Left:
    """What a kill leaves: all that is outside of the agent, as it is at that moment."""

    outside: Outside
    promised: frozenset[str]
    """Environments whose removal had been accepted."""


@dataclass
class Survey:
    """Takes down what a kill would leave, at each call before which that is something new."""

    outside: Outside
    story: Story
    seen: dict[str, Any] = field(default_factory=dict)
    left: dict[int, Left] = field(default_factory=dict)
    """Number of the call → what is left if the agent is killed before it."""
    requests: list[int] = field(default_factory=list)
    """Numbers of the requests by which Compose changes something."""
    commands: list[int] = field(default_factory=list)
    """Those of them that come first in their command."""
    earlier: str = ""

    def meet(self, line: Line, call: str, change: Change | None) -> None:
        """Looks at a call."""
        now = everything(self.outside)
        if now != self.seen:
            self.seen = now
            left = Left(self.outside.copy(), frozenset(self.story.promised))
            self.left[len(line.calls) - 1] = left
        if change is not None and call.startswith("compose"):
            self.requests.append(len(line.calls) - 1)
            if not self.earlier.startswith(call.partition(":")[0]):
                self.commands.append(len(line.calls) - 1)
        self.earlier = call if call.startswith("compose") and change is not None else ""

    def made(self, line: Line, number: int) -> None:
        """Lets it be."""


@dataclass
class Expected:
    """What an undisturbed scenario is like."""

    outside: Outside
    """What it begins with."""
    before: dict[str, Any]
    after: dict[str, Any]
    first: dict[str, Any]
    """As it is when only the first of two things was done."""
    calls: list[str]
    left: dict[int, Left]
    requests: list[int]
    commands: list[int]
    stood: frozenset[str]
    """Tags of images that may be there in the end though nobody uses them."""

    def kills(self) -> Iterator[Kill]:
        """All kills that leave something else than those before."""
        yield from (Kill(at) for at in self.left)
        yield Kill(len(self.calls) - 1, after=True)
        # Wherever in it the agent is killed, a command that lives on does the same in the end.
        yield from (Kill(at, command=Command.LIVES_ON) for at in self.commands)
        yield from (Kill(at, command=Command.COMES_LATE) for at in self.requests)

    def at(self, kill: Kill) -> str:
        """A kill in words."""
        when = "after" if kill.after else "before"
        command = f", {kill.command.value}" if kill.command is not Command.ENDS else ""
        return f"killed {when} call {kill.at} ({self.calls[kill.at]}){command}"


_known: dict[str, Expected] = {}


async def undisturbed(scenario: Scenario) -> Expected:
    """What a scenario is like; it is run for that only once."""
    if scenario.name not in _known:
        _known[scenario.name] = await _survey(scenario)
    return _known[scenario.name]


async def _survey(scenario: Scenario) -> Expected:
    async with a_host() as host:
        async with host.agent() as world:
            for act in scenario.before:
                await act(world, Story())
            await all_done(world)
        outside = host.outside.copy()
        survey = Survey(host.outside, Story())
        line = Line(survey)

        async def life(world: World) -> None:
            await scenario.act(world, survey.story)

        assert await host.live(line, life, ready=scenario.ready)
        return Expected(
            outside=outside,
            before=told_of(outside, scenario),
            after=told_of(host.outside, scenario),
            first=await _first(outside.copy(), scenario),
            calls=line.calls,
            left=survey.left,
            requests=survey.requests,
            commands=survey.commands,
            stood=frozenset(outside.engine.tags),
        )


async def _first(outside: Outside, scenario: Scenario) -> dict[str, Any]:
    if scenario.first is not None:
        async with a_host(outside) as host, host.agent() as world:
            await scenario.first(world, Story())
            await all_done(world)
    return told_of(outside, scenario)


def told_of(outside: Outside, scenario: Scenario) -> dict[str, Any]:
    """All that there is of the environments that a scenario concerns."""
    found = {name: told(outside, name) for name in scenario.concerns}
    # Of two at once either may get the first address range.
    return _without_ranges(found) if len(found) > 1 else found


def _without_ranges(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _without_ranges(value) for key, value in found.items()}
    return _RANGE.sub("RANGE", found) if isinstance(found, str) else found


_RANGE = re.compile(r"\d+\.\d+\.\d+\.\d+/\d+")

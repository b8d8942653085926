"""Killed between any two steps, an agent leaves what the next one brings in order."""

import pytest

from tests.crashes.campaigns import kill_everywhere, kill_twice
from tests.crashes.scenarios import SCENARIOS, Scenario

pytestmark = [pytest.mark.anyio, pytest.mark.long]

EVERY = 101
"""Of so many second kills one is tried; ``python -m tests.crashes`` tries all."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_killed_anywhere_the_next_start_brings_it_in_order(scenario: Scenario) -> None:
    campaign = await kill_everywhere(scenario)

    assert campaign.attempts
    assert not campaign.wrong, "\n".join(campaign.wrong)


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.short], ids=str)
async def test_killed_again_meanwhile_the_start_after_that_does_so(scenario: Scenario) -> None:
    campaign = await kill_twice(scenario, every=EVERY)

    assert not campaign.wrong, "\n".join(campaign.wrong)

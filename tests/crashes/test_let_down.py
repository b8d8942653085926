"""Let down by what it stands on, an agent gives a definite answer and is in order soon after."""

import pytest

from tests.crashes.campaigns import (
    GROUNDS,
    Ground,
    let_down_at_starts,
    let_down_everywhere,
)
from tests.crashes.scenarios import SCENARIOS, Scenario

pytestmark = [pytest.mark.anyio, pytest.mark.long]

EVERY, EVERY_AT_STARTS = 61, 151
"""Of so many faults one is tried; ``python -m tests.crashes`` tries all."""


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.short], ids=str)
async def test_let_down_at_a_start_it_brings_all_in_order_all_the_same(scenario: Scenario) -> None:
    for ground in GROUNDS:
        campaign = await let_down_at_starts(scenario, ground, every=EVERY_AT_STARTS)

        assert not campaign.wrong, "\n".join(campaign.wrong)


@pytest.mark.parametrize("ground", GROUNDS, ids=lambda ground: ground.name)
@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.ready], ids=str)
async def test_let_down_anywhere_it_is_in_order_when_all_is_well_again(
    scenario: Scenario, ground: Ground
) -> None:
    campaign = await let_down_everywhere(scenario, ground, every=EVERY)

    assert not campaign.wrong, "\n".join(campaign.wrong)

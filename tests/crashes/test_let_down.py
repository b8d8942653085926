"""Let down by what it stands on, an agent gives a definite answer and is in order soon after."""

import pytest

from tests.crashes.campaigns import GROUNDS, Ground, let_down_everywhere
from tests.crashes.scenarios import SCENARIOS, Scenario

pytestmark = [pytest.mark.anyio, pytest.mark.long]

EVERY = 37
"""How many calls lie between two that fail; ``python -m tests.crashes`` leaves out none."""


@pytest.mark.parametrize("ground", GROUNDS, ids=lambda ground: ground.name)
@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.ready], ids=str)
async def test_let_down_anywhere_it_is_in_order_when_all_is_well_again(
    scenario: Scenario, ground: Ground
) -> None:
    campaign = await let_down_everywhere(scenario, ground, every=EVERY)

    assert not campaign.wrong, "\n".join(campaign.wrong)

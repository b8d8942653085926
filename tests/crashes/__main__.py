"""Every kill, every second kill and every fault: ``python -m tests.crashes [SCENARIO]``.

Takes some minutes. SCENARIO is a part of the names of those that are run.
"""

import sys
from collections.abc import AsyncIterator

import anyio

from tests.crashes.campaigns import (
    GROUNDS,
    Campaign,
    kill_everywhere,
    kill_twice,
    let_down_at_starts,
    let_down_everywhere,
)
from tests.crashes.scenarios import SCENARIOS


async def _campaigns(chosen: str) -> AsyncIterator[tuple[str, Campaign]]:
    for scenario in SCENARIOS:
        if chosen in scenario.name:
            yield f"{scenario}, killed", await kill_everywhere(scenario)
            yield f"{scenario}, killed twice", await kill_twice(scenario, every=1)
            for ground in GROUNDS:
                campaign = await let_down_at_starts(scenario, ground, every=1)
                yield f"{scenario}, killed, and then {ground.name}", campaign
                if scenario.ready:
                    campaign = await let_down_everywhere(scenario, ground, every=1)
                    yield f"{scenario}, {ground.name}", campaign


async def _main(chosen: str) -> int:
    wrong = 0
    async for name, campaign in _campaigns(chosen):
        print(f"{name}: {campaign.attempts} attempts, {len(campaign.wrong)} wrong", flush=True)
        for fault in campaign.wrong:
            print(f"  {fault}")
        wrong += len(campaign.wrong)
    return wrong


if __name__ == "__main__":
    sys.exit(1 if anyio.run(_main, " ".join(sys.argv[1:])) else 0)

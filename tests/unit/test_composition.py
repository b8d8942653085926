"""What the operator sets is what the adapters get."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from adapters.compose.projects import ComposeLimits
from adapters.memory.clock import MemoryClock
from adapters.memory.log import MemoryLog
from domain.errors import EngineUnavailable
from entrypoints.composition.limits import compose_limits
from entrypoints.composition.real import open_runtime
from entrypoints.settings import read_settings
from tests.support.fake_engine import fake_engine

pytestmark = pytest.mark.anyio


def test_each_step_of_compose_has_its_own_limit() -> None:
    settings = read_settings(
        {
            "RESOLVE_TIMEOUT": "11",
            "BUILD_TIMEOUT": "12",
            "START_TIMEOUT": "13",
            "STOP_TIMEOUT": "14",
            "STOP_GRACE": "5",
        }
    )

    assert compose_limits(settings) == ComposeLimits(
        resolve_seconds=11, build_seconds=12, start_seconds=13, stop_seconds=14, grace_seconds=5
    )


def test_without_settings_the_limits_are_the_adapters_own() -> None:
    assert compose_limits(read_settings({})) == ComposeLimits()


async def test_questions_changes_and_long_answers_have_limits_of_their_own(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as engine:
        settings = read_settings(
            {
                "DOCKER_SOCKET": engine.url,
                "ENGINE_TIMEOUT": "0.1",
                "ENGINE_CHANGE_TIMEOUT": "0.2",
                "FIREWALL": "off",
            }
        )
        async with AsyncExitStack() as stack:
            runtime = await open_runtime(settings, tmp_path, MemoryClock(), MemoryLog(), stack)

            with anyio.fail_after(5):
                with pytest.raises(EngineUnavailable):
                    await runtime.containers.list()
                with pytest.raises(EngineUnavailable):
                    await runtime.resources.untag("web:1")
                with pytest.raises(EngineUnavailable):
                    async with runtime.events.follow() as events:
                        await anext(events)

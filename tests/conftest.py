"""What every test stands on: one event loop back end, and a loop that nobody may block."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

# How long an example may take is no matter of what it shows, and a busy machine's own.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def loop_stays_free() -> Iterator[BlockBuster]:
    with blockbuster_ctx(["domain", "adapters", "entrypoints"]) as blockbuster:
        # The application is made once, before it serves anybody.
        for function in blockbuster.functions.values():
            function.can_block_in("entrypoints/http/app.py", "create_app")
        yield blockbuster

"""What every test stands on: one event loop back end, and a loop that nobody may block."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def loop_stays_free() -> Iterator[BlockBuster]:
    with blockbuster_ctx(["domain", "adapters", "entrypoints"]) as blockbuster:
        yield blockbuster

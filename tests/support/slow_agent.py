"""An agent on the in-memory runtime whose builds take their time.

``python -m tests.support.slow_agent SECONDS`` serves as the agent does, with ``RUNTIME=memory``.
"""

import sys

from adapters.memory.compose import MemoryCompose
from adapters.memory.engine import MemoryEngine
from adapters.memory.streams import MemoryLogs
from domain.ports.clock import Clock
from entrypoints.cli.main import main
from entrypoints.composition import memory
from entrypoints.composition.memory import memory_runtime
from entrypoints.composition.ports import Runtime

PRINTED = "a line of the lab"
"""What the service ``solo`` of the environment ``quick`` has printed."""


def _slow_runtime(engine: MemoryEngine, clock: Clock) -> Runtime:
    runtime = memory_runtime(engine, clock)
    assert isinstance(runtime.compose, MemoryCompose)
    assert isinstance(runtime.logs, MemoryLogs)
    runtime.compose.build_seconds = float(sys.argv[1])
    runtime.logs.print("quick-solo-1", PRINTED)
    return runtime


if __name__ == "__main__":
    memory.memory_runtime = _slow_runtime
    main(["serve"])

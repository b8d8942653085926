"""Records that are gone with the agent."""

from collections.abc import Sequence

import anyio.lowlevel

from domain.environments import Environment
from domain.errors import StoreUnavailable
from domain.names import EnvironmentName, OperationId
from domain.operations import Operation


class MemoryStore:
    """Twin of ``SqliteStore``; while ``fault`` is set, every call fails with it."""

    def __init__(self) -> None:
        self.fault: StoreUnavailable | None = None
        self._environments = MemoryEnvironments(self)
        self._operations = MemoryOperations(self)

    @property
    def environments(self) -> "MemoryEnvironments":
        """Records of environments."""
        return self._environments

    @property
    def operations(self) -> "MemoryOperations":
        """Records of operations."""
        return self._operations

    async def check(self) -> None:
        """Returns if no fault is set."""
        await anyio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault


class MemoryEnvironments:
    """Records of environments."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._records: dict[EnvironmentName, Environment] = {}

    async def get(self, name: EnvironmentName) -> Environment | None:
        """The record of one environment."""
        await self._store.check()
        return self._records.get(name)

    async def list(self) -> Sequence[Environment]:
        """All records, sorted by name."""
        await self._store.check()
        return [self._records[name] for name in sorted(self._records)]

    async def put(self, environment: Environment) -> None:
        """Writes a record."""
        await self._store.check()
        self._records[environment.name] = environment

    async def remove(self, name: EnvironmentName) -> None:
        """Takes a record away."""
        await self._store.check()
        self._records.pop(name, None)


class MemoryOperations:
    """Records of operations."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._records: dict[OperationId, Operation] = {}

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        await self._store.check()
        return self._records.get(operation)

    async def put(self, operation: Operation) -> None:
        """Writes a record."""
        await self._store.check()
        self._records[operation.id] = operation

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended, oldest request first."""
        await self._store.check()
        return self._sorted(ended=False)

    async def prune(self, keep: int) -> None:
        """Takes away the records of all but the ``keep`` newest that have ended."""
        await self._store.check()
        ended = self._sorted(ended=True)
        for operation in ended[: max(0, len(ended) - keep)]:
            del self._records[operation.id]

    def _sorted(self, *, ended: bool) -> list[Operation]:
        found = [o for o in self._records.values() if o.state.ended is ended]
        return sorted(found, key=lambda o: (o.requested_at, o.id))

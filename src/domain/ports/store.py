"""The agent's records, which outlive it.

Each call is one transaction, on disk when it returns. All may raise ``StoreUnavailable``.
"""

from collections.abc import Sequence
from typing import Protocol

from domain.environments import Environment
from domain.names import EnvironmentName, OperationId
from domain.operations import Operation


class Environments(Protocol):
    """Records of environments."""

    async def get(self, name: EnvironmentName) -> Environment | None:
        """The record of one environment."""
        ...

    async def list(self) -> Sequence[Environment]:
        """All records, sorted by name."""
        ...

    async def put(self, environment: Environment) -> None:
        """Writes a record, in place of an earlier one of the name."""
        ...

    async def remove(self, name: EnvironmentName) -> None:
        """Takes a record away. May be repeated."""
        ...


class OperationRecords(Protocol):
    """Records of operations."""

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        ...

    async def put(self, operation: Operation) -> None:
        """Writes a record, in place of an earlier one of the identifier."""
        ...

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended, oldest request first."""
        ...

    async def prune(self, keep: int) -> None:
        """Takes away the records of all but the ``keep`` newest operations that have ended."""
        ...


class Store(Protocol):
    """All records, and whether they can be had."""

    @property
    def environments(self) -> Environments:
        """Records of environments."""
        ...

    @property
    def operations(self) -> OperationRecords:
        """Records of operations."""
        ...

    async def check(self) -> None:
        """Returns if records can be read and written.

        Raises:
            StoreUnavailable: they cannot.
        """
        ...

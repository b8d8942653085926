"""Identifiers for what is staged for a look, beside those of operations."""

from collections.abc import Iterator
from contextlib import contextmanager

from domain.names import OperationId
from domain.ports.clock import Clock
from domain.usecases.operations import Operations


class Staging:
    """Knows whose staged files are in use, so that only those of nobody are cleared away."""

    def __init__(self, operations: Operations, clock: Clock) -> None:
        self._operations = operations
        self._clock = clock
        self._looks: set[OperationId] = set()

    @contextmanager
    def look(self) -> Iterator[OperationId]:
        """An identifier to stage files under until the block is left."""
        identifier = OperationId(self._clock.new_id())
        self._looks.add(identifier)
        try:
            yield identifier
        finally:
            self._looks.discard(identifier)

    def in_use(self, identifier: OperationId) -> bool:
        """Whether an operation or a look that has not ended stages files under it."""
        return identifier in self._looks or self._operations.live(identifier) is not None

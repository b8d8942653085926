"""How operations ended: written down at once, or as soon as the store can take it."""

from collections.abc import Sequence

import anyio

from domain.errors import AgentError
from domain.names import OperationId
from domain.operations import Operation, OperationEvent
from domain.ports.log import Log
from domain.ports.store import OperationRecords
from domain.shortage import shortage


class Ends:
    """Keeps the ends that could not be written, for all who ask, until they are.

    No more wait than were under way when the store ceased to answer, since an operation is only
    begun once its intent is written, and none is while ends wait.
    """

    def __init__(self, records: OperationRecords, log: Log) -> None:
        self._records = records
        self._log = log
        self._waiting: dict[OperationId, tuple[Operation, Sequence[OperationEvent]]] = {}
        self._one_at_a_time = anyio.Lock()

    async def write(self, operation: Operation, events: Sequence[OperationEvent]) -> None:
        """Writes an end down, now or later; never raises for what the store or the host refuses."""
        try:
            await self._put(operation, events)
        except Exception as fault:
            refusal = fault if isinstance(fault, AgentError) else shortage(fault)
            if refusal is None:
                raise
            self._waiting[operation.id] = operation, events
            self._log.error(
                "end of an operation waits to be written",
                operation=operation.id,
                state=operation.state.value,
                reason=refusal.detail,
            )

    async def write_waiting(self) -> None:
        """Writes down what waits; what cannot be written waits on.

        Raises:
            StoreUnavailable: it cannot.
        """
        if not self._waiting:
            return
        async with self._one_at_a_time:
            while self._waiting:
                operation, events = next(iter(self._waiting.values()))
                await self._put(operation, events)
                del self._waiting[operation.id]
                self._log.info("end of an operation written", operation=operation.id)

    async def _put(self, operation: Operation, events: Sequence[OperationEvent]) -> None:
        await self._records.put_events(operation.id, events)
        await self._records.put(operation)

    def operation(self, operation: OperationId) -> Operation | None:
        """One whose end waits to be written."""
        found = self._waiting.get(operation)
        return found[0] if found is not None else None

    def events(self, operation: OperationId) -> Sequence[OperationEvent] | None:
        """What happened in one whose end waits to be written."""
        found = self._waiting.get(operation)
        return found[1] if found is not None else None

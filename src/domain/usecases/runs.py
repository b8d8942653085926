"""Operations at work: what they write down, and what those who asked for them hold."""

from collections import deque

import anyio
import msgspec

from domain.errors import AgentError, OperationInterrupted, PolicyRefused
from domain.names import OperationId
from domain.operations import (
    OUTPUT_TAIL_LINES,
    EventKind,
    Operation,
    OperationState,
    Replacement,
    Step,
)
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import OperationRecords
from domain.usecases.ends import Ends
from domain.usecases.numbers import Numbers
from domain.usecases.progress import Progress


class Run:
    """An operation at work: takes down its steps, its output and what it is about to replace."""

    def __init__(
        self,
        operation: Operation,
        *,
        records: OperationRecords,
        ends: Ends,
        numbers: Numbers,
        clock: Clock,
        log: Log,
    ) -> None:
        self.operation = operation
        self._records = records
        self._ends = ends
        self._numbers = numbers
        self._clock = clock
        self._log = log
        self._output: deque[str] = deque(maxlen=OUTPUT_TAIL_LINES)
        self._writing = anyio.Lock()
        self.progress = Progress()
        self.cut_off_by: AgentError | None = None
        """Why it is to end before it is done."""
        self._tell(EventKind.STATE, operation.state.value)

    def _tell(self, kind: EventKind, text: str) -> None:
        self.progress.add(kind, text, self._clock.now(), self._numbers.next())

    @property
    def id(self) -> OperationId:
        """The operation's identifier."""
        return self.operation.id

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of output."""
        return tuple(self._output)

    async def step(self, step: Step, **changes: object) -> None:
        """Notes, on disk, that a step begins; nothing of it may be done before this returns."""
        await self.write(step=step, **changes)
        self._tell(EventKind.STEP, step.value)
        self._log.info("operation step", **self._fields(), step=step.value)

    async def pulling(self, images: tuple[str, ...]) -> None:
        """Notes, on disk, which images the host did not have."""
        if images:
            await self.write(pulls=images)

    async def building(self, tags: tuple[str, ...]) -> None:
        """Notes, on disk, that these images are built from now on."""
        await self.step(Step.BUILD, builds=tags)

    async def replacing(self, replacement: Replacement) -> None:
        """Notes, on disk, what stood before."""
        await self.write(replaces=replacement)

    def line(self, text: str) -> None:
        """Takes one line of output."""
        self._output.append(text)
        self._tell(EventKind.OUTPUT, text)
        self._log.debug("operation output", **self._fields(), line=text)

    async def began(self) -> None:
        """Notes, on disk, that the operation left the queue."""
        await self.write(state=OperationState.RUNNING, started_at=self._clock.now())
        self._tell(EventKind.STATE, OperationState.RUNNING.value)
        self._log.info("operation began", **self._fields())

    async def ended(self, state: OperationState, fault: AgentError | None) -> None:
        """Notes, on disk as soon as can be, how it ended."""
        fields = self._fields()
        if fault is None:
            self._log.info("operation ended", **fields, state=state.value)
        else:
            self._log.warning(
                "operation ended",
                **fields,
                state=state.value,
                error=fault.code,
                reason=fault.detail,
            )
        self._tell(EventKind.STATE, state.value)
        self.operation = msgspec.structs.replace(
            self.operation,
            state=state,
            ended_at=self._clock.now(),
            error=fault.code if fault else "",
            reason=fault.detail if fault else "",
            findings=fault.findings if isinstance(fault, PolicyRefused) else (),
            output=tuple(self._output),
            left_open=isinstance(fault, OperationInterrupted) and self.operation.to_be_finished,
        )
        await self._ends.write(self.operation, self.progress.events)

    async def write(self, **changes: object) -> None:
        """Writes the record with ``changes`` to disk."""
        async with self._writing:
            changed = msgspec.structs.replace(self.operation, **changes)
            await self._records.put(changed)
            # Not before, so that nothing is undone by what later looks do not know.
            self.operation = changed

    def _fields(self) -> dict[str, str]:
        operation = self.operation
        return {
            "operation": operation.id,
            "kind": operation.kind.value,
            "subject": operation.subject,
        }


class Ticket:
    """What one who asked for an operation holds to learn of its end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.scope = anyio.CancelScope()
        self.cancelled_by: AgentError | None = None
        self._done = anyio.Event()
        self._fault: AgentError | None = None

    @property
    def operation(self) -> Operation:
        """The operation as it is now."""
        return self._run.operation

    @property
    def run(self) -> Run:
        """The operation at work."""
        return self._run

    def end(self, fault: AgentError | None) -> None:
        """Tells all who wait that it has ended."""
        self._fault = fault
        self._done.set()
        self._run.progress.end()

    def cancel(self, reason: AgentError) -> None:
        """Lets it end as soon as what it began is undone."""
        if not self._done.is_set() and self.cancelled_by is None:
            self.cancelled_by = self._run.cut_off_by = reason
            self.scope.cancel()

    async def ended(self) -> None:
        """Returns when it has ended, well or not."""
        await self._done.wait()

    async def finished(self, seconds: float) -> bool:
        """Whether it ended well within ``seconds``; False if it still goes on.

        Raises:
            AgentError: it failed.
        """
        with anyio.move_on_after(seconds):
            await self._done.wait()
        if not self._done.is_set():
            return False
        if self._fault is not None:
            raise self._fault
        return True

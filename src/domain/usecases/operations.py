"""Runs operations: one after another for each environment, side by side otherwise.

An operation belongs to the agent, not to whoever asked for it: it goes on when nobody waits.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
import msgspec

from domain.errors import (
    AgentError,
    NotAccepting,
    OperationCancelled,
    OperationInterrupted,
    StepTimedOut,
    StoreUnavailable,
)
from domain.names import EnvironmentName, OperationId
from domain.operations import (
    OUTPUT_TAIL_LINES,
    Operation,
    OperationKind,
    OperationState,
    Replacement,
    Step,
)
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import OperationRecords

Work = Callable[["Run"], Awaitable[None]]
"""What an operation does; raises an ``AgentError`` where it fails."""

Afterwards = Callable[[], Awaitable[None]]
"""Tidies up after an operation; never raises."""

KEEP_RECORDS = 1000
"""How many ended operations are remembered."""


class Run:
    """An operation at work: takes down its steps, its output and what it is about to replace."""

    def __init__(
        self, operation: Operation, records: OperationRecords, clock: Clock, log: Log
    ) -> None:
        self.operation = operation
        self._records = records
        self._clock = clock
        self._log = log
        self._output: deque[str] = deque(maxlen=OUTPUT_TAIL_LINES)

    @property
    def id(self) -> OperationId:
        """The operation's identifier."""
        return self.operation.id

    async def step(self, step: Step) -> None:
        """Notes, on disk, that a step begins; nothing of it may be done before this returns."""
        await self.write(step=step)
        self._log.info("operation step", **self._fields(), step=step.value)

    async def pulling(self, images: tuple[str, ...]) -> None:
        """Notes, on disk, which images the host did not have."""
        await self.write(pulls=images)

    async def replacing(self, replacement: Replacement) -> None:
        """Notes, on disk, what stood before."""
        await self.write(replaces=replacement)

    def line(self, text: str) -> None:
        """Takes one line of output."""
        self._output.append(text)
        self._log.debug("operation output", **self._fields(), line=text)

    async def began(self) -> None:
        """Notes, on disk, that the operation left the queue."""
        await self.write(state=OperationState.RUNNING, started_at=self._clock.now())
        self._log.info("operation began", **self._fields())

    async def ended(self, state: OperationState, fault: AgentError | None) -> None:
        """Notes, on disk, how it ended."""
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
        try:
            await self.write(
                state=state,
                ended_at=self._clock.now(),
                error=fault.code if fault else "",
                reason=fault.detail if fault else "",
                output=tuple(self._output),
            )
            await self._records.prune(KEEP_RECORDS)
        except StoreUnavailable as refusal:
            # The change itself is done; the next start finds the record open and looks again.
            self._log.error("operation record not written", **fields, reason=refusal.detail)

    async def write(self, **changes: object) -> None:
        """Writes the record with ``changes`` to disk."""
        self.operation = msgspec.structs.replace(self.operation, **changes)
        await self._records.put(self.operation)

    def _fields(self) -> dict[str, str]:
        operation = self.operation
        return {
            "operation": operation.id,
            "kind": operation.kind.value,
            "environment": operation.environment,
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

    def cancel(self, reason: AgentError) -> None:
        """Lets it end as soon as what it began is undone."""
        if not self._done.is_set() and self.cancelled_by is None:
            self.cancelled_by = reason
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


class _Line:
    """The operations of one environment, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.tickets: list[Ticket] = []


@dataclass(frozen=True)
class _Job:
    ticket: Ticket
    work: Work
    seconds: float
    afterwards: Afterwards | None


class Operations:
    """Takes operations and runs them until the ``async with`` around it ends.

    Begins closed, so that nothing new mixes with what recovery mends; ``open`` lets work in.
    """

    def __init__(self, records: OperationRecords, clock: Clock, log: Log) -> None:
        self._records = records
        self._clock = clock
        self._log = log
        self._lines: dict[EnvironmentName, _Line] = {}
        self._group = anyio.create_task_group()
        self._stack = AsyncExitStack()
        self._refusal: str | None = "The agent is starting and puts its environments in order."

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._group)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, fault, trace)

    def open(self) -> None:
        """Lets operations in."""
        self._refusal = None

    @property
    def accepting(self) -> bool:
        """Whether operations are let in."""
        return self._refusal is None

    async def close(self, seconds: float) -> None:
        """Lets no more in, waits for those under way, and after ``seconds`` interrupts them."""
        self._refusal = "The agent is stopping."
        with anyio.move_on_after(seconds):
            for ticket in self._tickets():
                await ticket.ended()
        for ticket in self._tickets():
            ticket.cancel(
                OperationInterrupted("The agent was stopped before the operation was done.")
            )

    def _tickets(self) -> list[Ticket]:
        return [ticket for line in self._lines.values() for ticket in line.tickets]

    def under_way(self, name: EnvironmentName) -> Ticket | None:
        """The operation of the environment that was asked for last and has not ended."""
        line = self._lines.get(name)
        return line.tickets[-1] if line is not None else None

    @property
    def count(self) -> int:
        """How many have not ended."""
        return len(self._tickets())

    def displace(
        self, name: EnvironmentName, kinds: Collection[OperationKind], reason: AgentError
    ) -> None:
        """Cancels the environment's operations of these kinds, queued and running."""
        line = self._lines.get(name)
        for ticket in line.tickets if line is not None else ():
            if ticket.operation.kind in kinds:
                ticket.cancel(reason)

    async def submit(
        self,
        kind: OperationKind,
        name: EnvironmentName,
        work: Work,
        *,
        seconds: float,
        afterwards: Afterwards | None = None,
    ) -> Ticket:
        """Takes an operation, which runs when all earlier ones of the environment have ended.

        Args:
            kind: what it does.
            name: whom it changes.
            work: does it.
            seconds: limit from now to its end, waiting included; then it is cancelled.
            afterwards: is done at its end, also where it never left the queue.

        Raises:
            NotAccepting: the agent is starting or stopping.
            StoreUnavailable: the intent cannot be written down, so it is not begun.
        """
        if self._refusal is not None:
            raise NotAccepting(self._refusal, hint="Try again shortly.", retry_after=2)
        operation = Operation(
            id=OperationId(self._clock.new_id()),
            kind=kind,
            environment=name,
            state=OperationState.QUEUED,
            requested_at=self._clock.now(),
        )
        ticket = Ticket(Run(operation, self._records, self._clock, self._log))
        line = self._lines.setdefault(name, _Line())
        # In line before the record is written, so that the order is that of the requests.
        line.tickets.append(ticket)
        with anyio.CancelScope(shield=True):
            try:
                await self._records.put(operation)
            except BaseException as fault:
                self._leave(line, ticket)
                ticket.end(fault if isinstance(fault, AgentError) else None)
                raise
        self._group.start_soon(self._run, line, _Job(ticket, work, seconds, afterwards))
        return ticket

    async def _run(self, line: _Line, job: _Job) -> None:
        ticket = job.ticket
        fault: AgentError | None = None
        state = OperationState.SUCCEEDED
        ticket.scope.deadline = anyio.current_time() + job.seconds
        try:
            with ticket.scope:
                async with line.lock:
                    await ticket.run.began()
                    await job.work(ticket.run)
            if ticket.scope.cancelled_caught:
                fault = ticket.cancelled_by or _took_too_long(job)
        except AgentError as trouble:
            fault = trouble
        except Exception as trouble:  # noqa: BLE001 - a fault of ours must not end the agent
            fault = AgentError(f"The agent failed: {trouble!r}", hint="This is a fault of its own.")
            self._log.error("operation broke", operation=ticket.run.id, reason=repr(trouble))
        finally:
            if fault is not None:
                state = _end_state(ticket, fault)
            with anyio.CancelScope(shield=True):
                if job.afterwards is not None:
                    await job.afterwards()
                await ticket.run.ended(state, fault)
            self._leave(line, ticket)
            ticket.end(fault)

    def _leave(self, line: _Line, ticket: Ticket) -> None:
        line.tickets.remove(ticket)
        if not line.tickets:
            self._lines.pop(ticket.operation.environment, None)


def _took_too_long(job: _Job) -> AgentError:
    step = job.ticket.operation.step
    return StepTimedOut(
        step.value if step else "queue",
        f"the operation was not done within {job.seconds:g} s and was undone.",
    )


def _end_state(ticket: Ticket, fault: AgentError) -> OperationState:
    if isinstance(fault, OperationInterrupted):
        return OperationState.INTERRUPTED
    if isinstance(fault, OperationCancelled) and ticket.cancelled_by is not None:
        return OperationState.CANCELLED
    return OperationState.FAILED

"""Runs operations: one after another for each environment, side by side otherwise.

An operation belongs to the agent, not to whoever asked for it: it goes on when nobody waits.
"""

from collections import Counter, deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
import msgspec

from domain.errors import (
    AgentError,
    KeyReused,
    NotAccepting,
    OperationCancelled,
    OperationInterrupted,
    OperationNotCancellable,
    OperationNotFound,
    PolicyRefused,
    StepTimedOut,
    StoreUnavailable,
)
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import (
    BY_AGENT,
    BY_MANAGER,
    OUTPUT_TAIL_LINES,
    Asked,
    EventKind,
    Operation,
    OperationEvent,
    OperationKind,
    OperationState,
    Replacement,
    Step,
)
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import OperationRecords
from domain.usecases.progress import Progress

Work = Callable[["Run"], Awaitable[None]]
"""What an operation does; raises an ``AgentError`` where it fails."""

Afterwards = Callable[[], Coroutine[object, object, None]]
"""Tidies up after an operation; never raises."""

_FINISHED_ONCE_BEGUN = {OperationKind.DELETE, OperationKind.RESET}
"""Half of it is of no use to anybody."""


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
        self.progress = Progress()
        self.cut_off_by: AgentError | None = None
        """Why it is to end before it is done."""
        self._tell(EventKind.STATE, operation.state.value)

    def _tell(self, kind: EventKind, text: str) -> None:
        self.progress.add(kind, text, self._clock.now())

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
        self._tell(EventKind.STATE, state.value)
        try:
            await self._records.put_events(self.id, self.progress.events)
            await self.write(
                state=state,
                ended_at=self._clock.now(),
                error=fault.code if fault else "",
                reason=fault.detail if fault else "",
                findings=fault.findings if isinstance(fault, PolicyRefused) else (),
                output=tuple(self._output),
            )
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


class _Line:
    """The operations of one environment, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.tickets: list[Ticket] = []
        self.lookers = 0
        """How many keep it for a look of the agent's own."""

    @property
    def idle(self) -> bool:
        """Whether nobody needs it any more."""
        return not self.tickets and not self.lookers


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
        self._lines: dict[str, _Line] = {}
        self._keys: dict[str, anyio.Lock] = {}
        self.ended: Counter[tuple[OperationKind, OperationState]] = Counter()
        """How many have ended, and how."""
        self._group = anyio.create_task_group()
        self._stack = AsyncExitStack()
        self._refusal: str | None = "The agent is starting and puts its environments in order."
        self._resuming = False

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

    def resume(self) -> None:
        """Lets the agent's own operations in, which finish what was cut off."""
        self._resuming = True

    def open(self) -> None:
        """Lets operations in."""
        self._refusal = None

    @property
    def accepting(self) -> bool:
        """Whether operations are let in."""
        return self._refusal is None

    def require_open(self) -> None:
        """Returns while changes are let in.

        Raises:
            NotAccepting: the agent is starting or stopping.
        """
        if self._refusal is not None:
            raise NotAccepting(self._refusal, hint="Try again shortly.", retry_after=2)

    async def close(self, seconds: float) -> None:
        """Lets no more in, waits for those under way, and after ``seconds`` interrupts them."""
        self._refusal, self._resuming = "The agent is stopping.", False
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
        return line.tickets[-1] if line is not None and line.tickets else None

    def live(self, operation: OperationId) -> Ticket | None:
        """The ticket of an operation that has not ended."""
        return next((t for t in self._tickets() if t.operation.id == operation), None)

    def needs(self, bundle: BundleDigest) -> bool:
        """Whether an operation that has not ended deploys or builds this bundle."""
        return any(ticket.operation.bundle == bundle for ticket in self._tickets())

    def place(self, operation: Operation) -> int | None:
        """How many operations of its subject come before it; None for one that does not wait."""
        line = self._lines.get(operation.subject)
        if operation.state is not OperationState.QUEUED or line is None:
            return None
        ahead = [t.operation.id for t in line.tickets]
        return ahead.index(operation.id) if operation.id in ahead else None

    async def get(self, operation: OperationId) -> Operation:
        """An operation as it is now.

        Raises:
            OperationNotFound: there is none, or its record has gone.
        """
        ticket = self.live(operation)
        found = ticket.operation if ticket else await self._records.get(operation)
        if found is None:
            raise OperationNotFound(operation)
        return found

    async def latest(self, subject: str | None, limit: int) -> Sequence[Operation]:
        """The newest operations, of one subject or of all, newest first."""
        return await self._records.latest(subject, limit)

    async def events(self, operation: OperationId) -> Sequence[OperationEvent]:
        """What has happened in an operation so far."""
        ticket = self.live(operation)
        if ticket is not None:
            return ticket.run.progress.events
        return await self._records.events(operation)

    async def follow(
        self, operation: OperationId, after: int
    ) -> AsyncIterator[OperationEvent | None]:
        """What happened in an operation after an event, and what happens until it ends.

        None where nothing has happened for a while.
        """
        ticket = self.live(operation)
        if ticket is not None:
            async for event in ticket.run.progress.follow(after):
                yield event
            return
        for event in await self._records.events(operation):
            if event.id > after:
                yield event

    async def cancel(self, operation: OperationId, by: str) -> Ticket:
        """Cancels an operation: one that waits at once, one that runs as soon as it is undone.

        Raises:
            OperationNotFound: there is none.
            OperationNotCancellable: it has ended, or is of a kind that is finished once begun.
        """
        found = await self.get(operation)
        ticket = self.live(operation)
        if ticket is None:
            raise OperationNotCancellable(found.id, f"it has ended ({found.state})")
        running = ticket.operation.state is OperationState.RUNNING
        if running and found.kind in _FINISHED_ONCE_BEGUN:
            raise OperationNotCancellable(found.id, f"a {found.kind} is finished once it has begun")
        ticket.cancel(OperationCancelled(f"Operation {found.id} was cancelled by {by}."))
        return ticket

    @asynccontextmanager
    async def alone(self, name: EnvironmentName) -> AsyncIterator[bool]:
        """Keeps changes of an environment waiting; False, and nothing kept, where one goes on."""
        if self.under_way(name) is not None:
            yield False
            return
        line = self._lines.setdefault(name, _Line())
        line.lookers += 1
        try:
            async with line.lock:
                yield True
        finally:
            line.lookers -= 1
            self._forget_idle(name, line)

    @asynccontextmanager
    async def once(self, asked: Asked) -> AsyncIterator[Operation | None]:
        """Gives the operation that the same request led to before, if it was made before.

        Requests with one Idempotency-Key go one after another through this.

        Raises:
            KeyReused: the key came with another request.
        """
        key = asked.idempotency_key
        if key is None:
            yield None
            return
        lock = self._keys.setdefault(key, anyio.Lock())
        try:
            async with lock:
                found = await self._records.by_key(key)
                if found is not None and found.asked.fingerprint != asked.fingerprint:
                    raise KeyReused
                yield None if found is None else await self.get(found.id)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._keys.pop(key, None)

    def running(self, name: EnvironmentName) -> Ticket | None:
        """The operation of the environment that runs."""
        line = self._lines.get(name)
        tickets = line.tickets if line is not None else ()
        return next((t for t in tickets if t.operation.state is OperationState.RUNNING), None)

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
        name: EnvironmentName | None,
        work: Work,
        *,
        seconds: float,
        afterwards: Afterwards | None = None,
        asked: Asked = BY_MANAGER,
        bundle: BundleDigest | None = None,
    ) -> Ticket:
        """Takes an operation, which runs when all earlier ones of its subject have ended.

        Args:
            kind: what it does.
            name: the environment that it changes; None for what is done to a bundle.
            work: does it.
            seconds: limit from now to its end, waiting included; then it is cancelled.
            afterwards: is done at its end, also where it never left the queue.
            asked: who asks for it.
            bundle: what it deploys or builds.

        Raises:
            NotAccepting: the agent is starting or stopping.
            StoreUnavailable: the intent cannot be written down, so it is not begun.
        """
        if not (self._resuming and asked is BY_AGENT):
            self.require_open()
        operation = Operation(
            id=OperationId(self._clock.new_id()),
            kind=kind,
            environment=name,
            bundle=bundle,
            state=OperationState.QUEUED,
            requested_at=self._clock.now(),
            asked=asked,
        )
        ticket = Ticket(Run(operation, self._records, self._clock, self._log))
        line = self._lines.setdefault(operation.subject, _Line())
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
                async with anyio.create_task_group() as group:
                    if job.afterwards is not None:
                        group.start_soon(job.afterwards)
                    group.start_soon(ticket.run.ended, state, fault)
            self.ended[ticket.operation.kind, state] += 1
            self._leave(line, ticket)
            ticket.end(fault)

    def _leave(self, line: _Line, ticket: Ticket) -> None:
        line.tickets.remove(ticket)
        self._forget_idle(ticket.operation.subject, line)

    def _forget_idle(self, subject: str, line: _Line) -> None:
        if line.idle:
            self._lines.pop(subject, None)


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

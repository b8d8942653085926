"""Runs operations: one after another for each environment, side by side otherwise.

An operation belongs to the agent, not to whoever asked for it: it goes on when nobody waits.
"""

from collections import Counter
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

from domain.environments import Environment
from domain.errors import (
    AgentError,
    KeyReused,
    NotAccepting,
    OperationCancelled,
    OperationInterrupted,
    OperationNotCancellable,
    OperationNotFound,
    StepTimedOut,
)
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import (
    BY_AGENT,
    BY_MANAGER,
    Asked,
    Operation,
    OperationEvent,
    OperationKind,
    OperationState,
)
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import OperationRecords
from domain.shortage import shortage
from domain.usecases.ends import Ends
from domain.usecases.news import News
from domain.usecases.numbers import Numbers
from domain.usecases.runs import Run, Ticket

Work = Callable[[Run], Awaitable[None]]
"""What an operation does; raises an ``AgentError`` where it fails."""

Afterwards = Callable[[Run], Coroutine[object, object, None]]
"""Tidies up after an operation, which is not gone yet; never raises."""

_FINISHED_ONCE_BEGUN = {OperationKind.DELETE, OperationKind.RESET}
"""Half of it is of no use to anybody."""


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

    def __init__(self, records: OperationRecords, clock: Clock, log: Log, news: News) -> None:
        self._records = records
        self._ends = Ends(records, log)
        self._clock = clock
        self._log = log
        self._news = news
        self.numbers = Numbers(clock)
        """Numbers what happens in operations, and beside them."""
        self._counts_on = False
        self._lines: dict[str, _Line] = {}
        self._keys: dict[str, anyio.Lock] = {}
        self.ended: Counter[tuple[OperationKind, OperationState]] = Counter()
        """How many have ended, and how."""
        self.left_over = anyio.Event()
        """Set when an operation left something, or may have; replaced by whoever sees after it."""
        self._group = anyio.create_task_group()
        self._stack = AsyncExitStack()
        self.refusal = "The agent is starting and puts its environments in order."
        """Why operations are not let in; empty when they are."""
        self.stopping = False
        """Whether they will not be let in again."""
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
        self._resuming = not self.stopping

    def open(self) -> None:
        """Lets operations in, but no more once the agent is stopping."""
        if not self.stopping:
            self.refusal = ""
            self._news.tell()

    @property
    def accepting(self) -> bool:
        """Whether operations are let in."""
        return not self.refusal

    def require_open(self) -> None:
        """Returns while changes are let in.

        Raises:
            NotAccepting: the agent is starting or stopping.
        """
        if self.refusal:
            raise NotAccepting(self.refusal, hint="Try again shortly.", retry_after=2)

    async def close(self, seconds: float) -> None:
        """Lets no more in, and returns when all have ended.

        Those that have not after ``seconds`` are interrupted, and undone within their own limits.
        """
        self.stopping, self.refusal = True, "The agent is stopping."
        self._resuming = False
        self._news.tell()
        with anyio.move_on_after(seconds):
            await self._all_ended()
        self.interrupt()
        await self._all_ended()

    def interrupt(self) -> None:
        """Lets all end as soon as what they began is undone."""
        for ticket in self._tickets():
            later = ticket.operation.to_be_finished
            ticket.cancel(
                OperationInterrupted(
                    "The agent was stopped before the operation was done.",
                    hint="It is taken up again when the agent is back." if later else "",
                )
            )

    async def _all_ended(self) -> None:
        while tickets := self._tickets():
            await tickets[0].ended()

    def _tickets(self) -> list[Ticket]:
        return [ticket for line in self._lines.values() for ticket in line.tickets]

    def under_way(self, name: EnvironmentName) -> Ticket | None:
        """The operation of the environment that was asked for last and has not ended."""
        line = self._lines.get(name)
        return line.tickets[-1] if line is not None and line.tickets else None

    def others(
        self, kind: OperationKind, name: EnvironmentName, *, than: OperationId | None
    ) -> bool:
        """Whether the environment has operations of a kind that have not ended, but for one."""
        line = self._lines.get(name)
        found = [ticket.operation for ticket in line.tickets] if line is not None else []
        return any(o.kind is kind and o.id != than for o in found)

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
        if ticket is not None:
            return ticket.operation
        found = self._ends.operation(operation) or await self._records.get(operation)
        if found is None:
            raise OperationNotFound(operation)
        return found

    async def latest(self, subject: str | None, limit: int) -> Sequence[Operation]:
        """The newest operations, of one subject or of all, newest first."""
        found = await self._records.latest(subject, limit)
        return [self._ends.operation(operation.id) or operation for operation in found]

    async def events(self, operation: OperationId) -> Sequence[OperationEvent]:
        """What has happened in an operation so far."""
        ticket = self.live(operation)
        if ticket is not None:
            return ticket.run.progress.events
        waiting = self._ends.events(operation)
        return waiting if waiting is not None else await self._records.events(operation)

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
        for event in await self.events(operation):
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
        ticket = self._ticket(kind, name, asked, bundle)
        line = self._lines.setdefault(ticket.operation.subject, _Line())
        # In line before the record is written, so that the order is that of the requests.
        line.tickets.append(ticket)
        with anyio.CancelScope(shield=True):
            try:
                await self._write_intent(ticket.run)
                self._group.start_soon(self._run, line, _Job(ticket, work, seconds, afterwards))
            except BaseException as fault:
                self._leave(line, ticket)
                ticket.end(fault if isinstance(fault, AgentError) else None)
                raise
        return ticket

    async def _write_intent(self, run: Run) -> None:
        if not self._counts_on:
            # Beyond those of the agent before, whatever the clock was set to.
            newest = await self._records.latest(None, 1)
            self.numbers.after(newest[0].place if newest else 0)
            self._counts_on = True
        await self._ends.write_waiting()
        await run.write(number=self.numbers.next())

    def _ticket(
        self,
        kind: OperationKind,
        name: EnvironmentName | None,
        asked: Asked,
        bundle: BundleDigest | None,
    ) -> Ticket:
        operation = Operation(
            id=OperationId(self._clock.new_id()),
            kind=kind,
            environment=name,
            bundle=bundle,
            state=OperationState.QUEUED,
            requested_at=self._clock.now(),
            asked=asked,
        )
        run = Run(
            operation,
            records=self._records,
            ends=self._ends,
            numbers=self.numbers,
            clock=self._clock,
            log=self._log,
        )
        return Ticket(run)

    async def change_replaced(
        self,
        change: Callable[[Environment], Environment],
        *,
        of: EnvironmentName | None = None,
    ) -> None:
        """Changes what deploys that run would bring back if they failed, of one name or of all."""
        for ticket in self._tickets():
            operation = ticket.operation
            running = operation.state is OperationState.RUNNING
            replaces = operation.replaces
            if (
                running
                and of in {None, operation.environment}
                and replaces is not None
                and replaces.record is not None
            ):
                record = change(replaces.record)
                await ticket.run.replacing(msgspec.structs.replace(replaces, record=record))

    def tell_left_over(self) -> None:
        """Tells those who look after things that an operation left something, or may have."""
        self.left_over.set()

    def see_to_left_over(self) -> None:
        """Takes note that all that was left until now is being seen to."""
        self.left_over = anyio.Event()

    async def write_ends(self) -> None:
        """Writes down ends of operations that could not be written when they came.

        Raises:
            StoreUnavailable: they cannot be yet.
        """
        await self._ends.write_waiting()

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
            fault = shortage(trouble) or self._broken(ticket, trouble)
        finally:
            if fault is not None:
                state = _end_state(ticket, fault)
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as group:
                    if job.afterwards is not None:
                        group.start_soon(self._tidy_up, ticket, job.afterwards)
                    group.start_soon(ticket.run.ended, state, fault)
            self.ended[ticket.operation.kind, state] += 1
            self._leave(line, ticket)
            if fault is not None and ticket.run.operation.builds:
                # The Engine may finish an image though the command that asked for it was ended.
                self.tell_left_over()
            ticket.end(fault)

    def _broken(self, ticket: Ticket, trouble: Exception) -> AgentError:
        self._log.error("operation broke", operation=ticket.run.id, reason=repr(trouble))
        return AgentError(f"The agent failed: {trouble!r}", hint="This is a fault of its own.")

    async def _tidy_up(self, ticket: Ticket, afterwards: Afterwards) -> None:
        """Runs what never raises; but a host that is short of something may cut anything off."""
        try:
            await afterwards(ticket.run)
        except Exception as trouble:
            refusal = shortage(trouble)
            if refusal is None:
                raise
            self._log.warning("not tidied up", operation=ticket.run.id, reason=refusal.detail)

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

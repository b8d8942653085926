"""Agents that are killed, or let down by what they stand on, at a chosen call to the outside.

Every call of an agent to its records, its disk, its Engine and its Compose is counted, and each
request that Compose makes of the Engine. At one of them something happens: the agent is gone, and
nothing of it acts any more; or what it called upon fails.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Protocol, TypeVar, cast

import anyio
import anyio.abc
import anyio.lowlevel

from adapters.memory.clock import MemoryClock
from adapters.memory.engine import Change
from adapters.memory.workspaces import MemoryBundles
from domain.errors import AgentError, StorageFailed, StorageFull
from domain.names import EnvironmentName
from domain.ports.compose import OutputLine, Project
from entrypoints.composition.ports import Adapters
from tests.support.agents import Outside, World, agent_on_twins, outside_of_nobody

T = TypeVar("T")


class Killed(BaseException):
    """The agent is gone: what it calls from now on does nothing, its last wishes included."""


class Trouble(Protocol):
    """What happens to an agent."""

    def meet(self, line: "Line", call: str, change: Change | None) -> None:
        """Looks at a call that is about to be made; what it raises is what the agent gets.

        Args:
            line: the agent's.
            call: in words.
            change: what the Engine would do for it, if it is a request to it.
        """
        ...

    def made(self, line: "Line", number: int) -> None:
        """Looks at a call that was made."""
        ...


class Peace:
    """Nothing happens."""

    def meet(self, line: "Line", call: str, change: Change | None) -> None:
        """Lets it be made."""

    def made(self, line: "Line", number: int) -> None:
        """Lets it be."""


class Command(Enum):
    """What becomes of the Compose command that a killed agent was running."""

    ENDS = "its command ends with it"
    LIVES_ON = "its command lives on until it is ended"
    COMES_LATE = "its command ends, and what it asked the Engine for last comes late"


@dataclass
class Kill:
    """The agent is killed at a call.

    Args:
        at: the number of the call, from 0.
        after: right after it instead of right before.
        command: what becomes of a Compose command under way.
    """

    at: int
    after: bool = False
    command: Command = Command.ENDS

    def meet(self, line: "Line", call: str, change: Change | None) -> None:
        """Ends the agent if this is the call."""
        if len(line.calls) - 1 == self.at and not self.after:
            line.kill()

    def made(self, line: "Line", number: int) -> None:
        """Ends the agent if this was the call."""
        if number == self.at and self.after:
            line.kill()


@dataclass
class Fault:
    """What the agent stands on fails for a while.

    Args:
        of: how the calls begin that fail.
        at: the number of the first, counted among these only, from 0.
        lasting: how many fail.
        error: how.
    """

    of: tuple[str, ...]
    at: int
    lasting: int
    error: Callable[[], AgentError]
    seen: int = 0
    met: str = ""
    """The first that failed."""

    def meet(self, line: "Line", call: str, change: Change | None) -> None:
        """Fails the call if it is one of those."""
        if call.startswith(self.of):
            self.seen += 1
            if self.at < self.seen <= self.at + self.lasting:
                self.met = self.met or call
                raise self.error()

    def made(self, line: "Line", number: int) -> None:
        """Lets it be."""

    def end(self) -> None:
        """All is well again."""
        self.lasting = 0


@dataclass
class Line:
    """All that one agent asks of the outside goes through here."""

    trouble: Trouble = field(default_factory=Peace)
    calls: list[str] = field(default_factory=list)
    """What it has called so far, in words."""
    killed: bool = False

    def check(self) -> None:
        """Returns while the agent lives.

        Raises:
            Killed: it does not.
        """
        if self.killed:
            raise Killed

    def kill(self) -> None:
        """Ends the agent.

        Raises:
            Killed: always.
        """
        self.killed = True
        raise Killed

    def meet(self, call: str, change: Change | None = None) -> int:
        """Lets a call through, or not; its number."""
        self.check()
        self.calls.append(call)
        self.trouble.meet(self, call, change)
        return len(self.calls) - 1

    def made(self, number: int) -> None:
        """Takes note of a call that was made."""
        self.check()
        self.trouble.made(self, number)

    async def request(self, call: str, change: Change | None) -> None:
        """Lets a request to the Engine through."""
        number = self.meet(call, change)
        if isinstance(self.trouble, Kill) and self.trouble.after and number == self.trouble.at:
            # The Engine does it before the agent's end, and nobody learns what came of it.
            if change is not None:
                _done(change)
            self.kill()


def _done(change: Change) -> None:
    try:
        change()
    except AgentError:
        return


class _Port:
    """A port whose calls go through an agent's line."""

    def __init__(self, inner: object, name: str, line: Line) -> None:
        self._inner = inner
        self._name = name
        self._line = line

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        name = f"{self._name}.{attribute}"
        if iscoroutinefunction(found):
            found = partial(self._call, name, found)
        elif attribute in _PARTS_OF_STORE:
            found = _Port(found, name, self._line)
        # The next time it is found at once.
        self.__dict__[attribute] = found
        return found

    async def _call(
        self, name: str, made: Callable[..., Awaitable[T]], /, *arguments: Any, **options: Any
    ) -> T:
        try:
            number = self._line.meet(name)
        except (StorageFull, StorageFailed):
            if name == "disk.bundles.discard":
                # The disk's own adapter learns of it before the disk refuses.
                cast("MemoryBundles", self._inner)._waited_for.discard(arguments[0].id)
            raise
        result = await made(*arguments, **options)
        self._line.made(number)
        return result


_PARTS_OF_STORE = {
    "environments",
    "bundles",
    "images",
    "open_commands",
    "open_orders",
    "operations",
    "timeline",
    "audit",
}


class _Process:
    """A command of Compose's, which need not end with the agent that began it."""

    def __init__(self, host: "Host", line: Line, what: str) -> None:
        self._host = host
        self._line = line
        self._what = what
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()
        """Set when it has ended, or lives on without its agent."""
        self.outlives = anyio.Event()
        """Set when it goes on without its agent."""
        self.gone = anyio.Event()
        self.alone = False
        self.result: Any = None
        self.fault: BaseException | None = None

    async def run(self, work: Callable[[], Awaitable[object]]) -> None:
        """Runs to its end."""
        _process.set(self)
        try:
            with self.scope:
                self.result = await work()
        except (Exception, Killed) as fault:  # noqa: BLE001 - the agent gets it
            self.fault = fault
        finally:
            self.over.set()
            self.gone.set()

    async def request(self, request: str, change: Change | None) -> None:
        """Lets a request of it to the Engine through."""
        if self.alone:
            return
        try:
            await self._line.request(f"compose {self._what}: {request}", change)
        except Killed:
            await self._outlive(change)

    async def _outlive(self, change: Change | None) -> None:
        trouble = self._line.trouble
        command = trouble.command if isinstance(trouble, Kill) else Command.ENDS
        if command is Command.COMES_LATE and change is not None:
            self._host.outside.engine.late.append(change)
        if command is not Command.LIVES_ON:
            raise Killed
        self.alone = True
        self._host.strays.append(self)
        self.over.set()
        await self.outlives.wait()


_process: ContextVar[_Process | None] = ContextVar("_process", default=None)


class _Compose:
    """Compose, whose commands are processes of the host."""

    def __init__(self, inner: Any, host: "Host", line: Line) -> None:
        self._inner = inner
        self._host = host
        self._line = line

    async def version(self) -> str:
        """Its version."""
        version: str = await self._inner.version()
        return version

    async def end_strays(self, *, cut_off: bool) -> int:
        """Ends what earlier agents left, which has done its work by then."""
        self._line.meet("compose: end strays")
        await self._inner.end_strays(cut_off=cut_off)
        return await self._host.end_strays()

    async def resolve(self, *arguments: Any, **options: Any) -> Any:
        """The project as Compose reads it."""
        self._line.meet("compose: resolve")
        return await self._inner.resolve(*arguments, **options)

    async def build(self, project: Project, on_line: OutputLine, *, anew: bool = False) -> None:
        """Builds images."""
        await self._run("build", partial(self._inner.build, project, on_line, anew=anew))

    async def up(self, project: Project, on_line: OutputLine, **how: bool) -> None:
        """Creates and starts everything."""
        await self._run("up", partial(self._inner.up, project, on_line, **how))

    async def stop(self, name: EnvironmentName, on_line: OutputLine) -> None:
        """Stops the project's containers."""
        await self._run("stop", partial(self._inner.stop, name, on_line))

    async def _run(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        process = _Process(self._host, self._line, what)
        self._host.group.start_soon(process.run, work)
        try:
            await process.over.wait()
        finally:
            if not process.over.is_set() and not self._line.killed:
                # Its caller was cancelled, and leaves nothing behind.
                process.scope.cancel()
                with anyio.CancelScope(shield=True):
                    await process.gone.wait()
        self._line.check()
        if process.fault is not None:
            raise process.fault


class Host:
    """A host on which one agent lives after another.

    Args:
        group: in which Compose's commands run.
        outside: what is on it.
    """

    def __init__(self, group: anyio.abc.TaskGroup, outside: Outside) -> None:
        self.group = group
        self.outside = outside
        self.outside.engine.watch = self._watch
        self.strays: list[_Process] = []
        """Commands that go on without their agent."""
        self._line = Line()

    async def _watch(self, request: str, change: Change | None) -> None:
        process = _process.get()
        if process is not None:
            await process.request(request, change)
        else:
            await self._line.request(f"engine: {request}", change)

    async def end_strays(self) -> int:
        """Lets commands that live on do what is left of their work; how many there were."""
        strays, self.strays = self.strays, []
        for process in strays:
            process.outlives.set()
            await process.gone.wait()
        return len(strays)

    @asynccontextmanager
    async def agent(self, line: Line | None = None, *, ready: bool = True) -> AsyncIterator[World]:
        """An agent that starts on what the earlier ones left."""
        self._line = line = line or Line()
        wire = partial(_wired, self, line)
        async with agent_on_twins(outside=self.outside, ready=ready, wire=wire) as world:
            yield world

    async def live(
        self, line: Line, life: Callable[[World], Awaitable[None]], *, ready: bool = True
    ) -> bool:
        """Lets an agent live until its life is over; whether it came so far."""
        try:
            async with self.agent(line, ready=ready) as world:
                await life(world)
                await all_done(world)
        except BaseExceptionGroup as faults:
            _only_killed(faults)
        except Killed:
            pass
        return not line.killed


def _only_killed(faults: BaseExceptionGroup[BaseException]) -> None:
    others = faults.split(Killed)[1]
    if others is not None:
        raise others


def _wired(host: Host, line: Line, adapters: Adapters) -> Adapters:
    credentials = cast("Any", _Port(adapters.runtime.images.credentials, "disk.credentials", line))
    runtime = replace(
        adapters.runtime,
        compose=_Compose(adapters.runtime.compose, host, line),
        images=replace(adapters.runtime.images, credentials=credentials),
    )
    disk = {
        name: _Port(getattr(adapters, name), f"disk.{name}", line)
        for name in ("bundles", "workspaces", "contexts")
    }
    store = cast("Any", _Port(adapters.store, "store", line))
    return replace(adapters, runtime=runtime, store=store, **cast("Any", disk))


class _HurriedClock(MemoryClock):
    """A clock that nobody has to push: who sleeps wakes at once, and so much later."""

    async def sleep(self, seconds: float) -> None:
        """Lets the time pass."""
        await anyio.lowlevel.checkpoint()
        self._pass(seconds)


@asynccontextmanager
async def a_host(outside: Outside | None = None) -> AsyncIterator[Host]:
    """A host with what is outside of agents, or one that nobody has worked on yet."""
    if outside is None:
        outside = outside_of_nobody(clock=_HurriedClock())
    async with anyio.create_task_group() as group:
        yield Host(group, outside)
        group.cancel_scope.cancel()


async def all_done(world: World) -> None:
    """Returns when no operation is under way."""
    for ticket in world.agent.operations._tickets():
        await ticket.ended()
    if world.agent.operations.count:
        await anyio.lowlevel.checkpoint()
        await all_done(world)

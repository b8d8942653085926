"""Calls to the Engine: threads, time limits, and docker-py's errors in our words."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import docker.constants
import docker.errors
import msgspec
import requests.exceptions
import urllib3.exceptions

from adapters.docker.connection import Call, Door, EngineApi
from adapters.docker.refusals import refusal
from domain.errors import AgentError, EngineRefused, EngineUnavailable, HostExhausted
from domain.shortage import shortage, shortages_told

T = TypeVar("T")

Work = Callable[[EngineApi], T]
"""What is asked of the Engine, in a thread."""


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long calls may take, in seconds, waiting for their turn included."""

    ask_seconds: float = 7.0
    """Of one that only asks; the manager waits 10 s for a list."""
    change_seconds: float = 60.0
    """Of one that changes something: killing and unmounting take their time; and of a survey."""


_ASKING = 16
_LOOKING = 8
_CHANGING = 64
_SURVEYING = 4
"""How many calls of each sort may be under way; so many threads hang at a hanging Engine at most.

They are apart, so that what waits for a container that hangs keeps nobody from asking for others.
"""

_FAULTS: tuple[tuple[type[Exception], type[AgentError]], ...] = (
    (docker.errors.APIError, EngineRefused),
    (docker.errors.DockerException, EngineUnavailable),
    (requests.exceptions.RequestException, EngineUnavailable),
    (urllib3.exceptions.HTTPError, EngineUnavailable),
    (OSError, EngineUnavailable),
)
"""Which fault of docker-py and of what lies beneath means what; the first match counts."""

_HINT = "Is the Docker Engine running, and may the agent use DOCKER_SOCKET?"

_TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns docker-py's errors into the domain's.

    Args:
        what: the call in words, for the message: "listing containers".
    """
    try:
        yield
    except Exception as fault:
        if (lacking := shortage_within(fault)) is not None:
            raise lacking from fault
        for theirs, ours in _FAULTS:
            if isinstance(fault, theirs):
                raise _error(ours, what, fault) from fault
        raise


def shortage_within(fault: BaseException) -> HostExhausted | None:
    """The shortage of the host that lies beneath a fault, if there is one."""
    found = (shortage(part) for part in _parts(fault))
    return next((lacking for lacking in found if lacking is not None), None)


def _error(kind: type[AgentError], what: str, fault: Exception) -> AgentError:
    if kind is EngineRefused:
        return refusal(what, fault)
    return _unanswered(what, _reason(fault))


def _unanswered(what: str, reason: str) -> EngineUnavailable:
    return EngineUnavailable(f"The Docker Engine did not answer when {what}: {reason}.", hint=_HINT)


def _reason(fault: BaseException) -> str:
    """The system's own words, which requests and urllib3 wrap in several of their own."""
    found = _parts(fault)
    for part in found:
        if isinstance(part, _TIMEOUTS):
            return "it took too long"
        if isinstance(part, OSError) and part.strerror:
            return part.strerror
    hung_up = any(isinstance(part, urllib3.exceptions.ProtocolError) for part in found)
    return "it hung up before the end of its answer" if hung_up else str(fault)


def _parts(fault: BaseException) -> list[BaseException]:
    """A fault with all that it was made of, the outermost first."""
    found = [fault]
    for outer in found:
        inner = (*outer.args, outer.__cause__, outer.__context__)
        found += [part for part in inner if isinstance(part, BaseException) and part not in found]
    return found


class EngineClient:
    """Calls the Engine from threads of its own, each call within a limit.

    When a call has returned or raised, nothing of it goes on: whoever is told that the Engine did
    not answer can be sure that no request of that call follows. Only a name server that does not
    answer can hold one longer than its limit.

    Learns with the first call which version of the API the Engine speaks, and anew after it did not
    answer, since a new Engine may speak another one.
    """

    def __init__(self, base_url: str, *, limits: EngineLimits | None = None) -> None:
        self.limits = limits or EngineLimits()
        self._asking = anyio.CapacityLimiter(_ASKING)
        self._looking = anyio.CapacityLimiter(_LOOKING)
        self._changing = anyio.CapacityLimiter(_CHANGING)
        self._surveying = anyio.CapacityLimiter(_SURVEYING)
        self._door = Door(base_url, keep=_ASKING + _LOOKING + _CHANGING + _SURVEYING)
        self._lock = threading.Lock()
        self._api: EngineApi | None = None

    async def ask(self, what: str, work: Work[T]) -> T:
        """What ``work`` learns of the Engine.

        Raises:
            EngineUnavailable: the Engine cannot be reached, or does not answer in time.
            EngineRefused: it answered with an error.
            HostExhausted: the host is too short of something to ask.
        """
        return await self._call(what, work, self.limits.ask_seconds, self._asking)

    async def look(self, what: str, work: Work[T]) -> T:
        """What ``work`` learns of single containers, any of which may hang.

        Raises:
            EngineUnavailable: the Engine cannot be reached, or does not answer in time.
            EngineRefused: it answered with an error.
        """
        return await self._call(what, work, self.limits.ask_seconds, self._looking)

    async def survey(self, what: str, work: Work[T]) -> T:
        """What ``work`` finds out that takes the Engine as long as a change: it reads whole disks.

        Raises:
            EngineUnavailable: the Engine cannot be reached, or does not answer in time.
            EngineRefused: it answered with an error.
            HostExhausted: the host is too short of something to ask.
        """
        return await self._call(what, work, self.limits.change_seconds, self._surveying)

    async def change(self, what: str, work: Work[T], *, more_seconds: float = 0) -> T:
        """What comes of ``work``, which changes something.

        Args:
            what: the call in words.
            work: what is asked of the Engine.
            more_seconds: what it may take beyond the limit, as somebody asked for: a grace.

        Raises:
            EngineUnavailable: the Engine cannot be reached, or does not answer in time; what was
                asked for may have been done, or be done yet.
            EngineRefused: it answered with an error.
        """
        limit = self.limits.change_seconds + more_seconds
        return await self._call(what, work, limit, self._changing)

    async def _call(
        self, what: str, work: Work[T], seconds: float, places: anyio.CapacityLimiter
    ) -> T:
        call = Call(seconds)

        def answer() -> T:
            with call, translated(what):
                return work(self._connected())

        try:
            with anyio.fail_after(seconds), shortages_told():
                return await _ended_with_its_caller(call, answer, places)
        except TimeoutError as fault:
            self._forget()
            reason = "it took too long" if call.begun else "others before it take too long"
            raise _unanswered(what, reason) from fault
        except (EngineUnavailable, HostExhausted):
            self._forget()
            raise

    def _connected(self) -> EngineApi:
        with self._lock:
            api = self._api
        if api is None:
            # Outside the lock: a hanging Engine must not hold up those that may end sooner.
            api = connect(self._door)
            with self._lock:
                self._api = api
        return api

    def _forget(self) -> None:
        with self._lock:
            self._api = None

    async def aclose(self) -> None:
        """Closes the connections."""
        await anyio.to_thread.run_sync(self._door.close)


async def _ended_with_its_caller(
    call: Call, answer: Callable[[], T], places: anyio.CapacityLimiter
) -> T:
    """What ``answer`` gives in a thread, whose end is waited for whatever happens.

    That costs no time, since a call ends at once when it is told to; and as it keeps its place
    until then, no more threads hang than there are places.
    """
    fault: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_end_when_cancelled, call)
        try:
            given = await anyio.to_thread.run_sync(answer, limiter=places)
        except Exception as raised:  # noqa: BLE001 - raised again, past the group that would wrap it
            fault = raised
        group.cancel_scope.cancel()
    # What a call says that was cut off is not why it was.
    await anyio.lowlevel.checkpoint_if_cancelled()
    if fault is not None:
        raise fault
    return given


async def _end_when_cancelled(call: Call) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        call.end()


def connect(door: Door) -> EngineApi:
    """A client that speaks the Engine's version, in the thread of a call.

    Raises:
        DockerException, RequestException, OSError: it cannot be reached; see ``translated``.
    """
    oldest = EngineApi(door, docker.constants.MINIMUM_DOCKER_API_VERSION)
    version = oldest.version(api_version=False).get("ApiVersion")
    if not isinstance(version, str):
        raise docker.errors.DockerException("it does not say which version it speaks")
    return EngineApi(door, version)

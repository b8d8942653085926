"""The connection to the Engine: threads, time limits, and docker-py's errors in our words."""

import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import anyio
import anyio.to_thread
import docker.constants
import docker.errors
import requests.exceptions
from docker import APIClient

from adapters.docker.refusals import refusal
from domain.errors import AgentError, EngineRefused, EngineUnavailable

T = TypeVar("T")

CALL_SECONDS = 7.0
"""Limit of a call that only asks; the manager waits 10 s for a list."""

CHANGE_SECONDS = 60.0
"""Limit of a call that changes something: killing and unmounting take their time."""

_THREADS = 16

# Beyond the socket's own limit, so that the clearer of the two messages wins.
_MARGIN_SECONDS = 1.0

_FAULTS: tuple[tuple[type[Exception], type[AgentError]], ...] = (
    (docker.errors.APIError, EngineRefused),
    (docker.errors.DockerException, EngineUnavailable),
    (requests.exceptions.RequestException, EngineUnavailable),
    (OSError, EngineUnavailable),
)
"""Which fault of docker-py and of what lies beneath means what; the first match counts."""

_HINT = "Is the Docker Engine running, and may the agent use DOCKER_SOCKET?"


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns docker-py's errors into the domain's.

    Args:
        what: the call in words, for the message: "listing containers".
    """
    try:
        yield
    except Exception as fault:
        for theirs, ours in _FAULTS:
            if isinstance(fault, theirs):
                raise _error(ours, what, fault) from fault
        raise


def _error(kind: type[AgentError], what: str, fault: Exception) -> AgentError:
    if kind is EngineRefused:
        return refusal(what, fault)
    reason = _reason(fault)
    return EngineUnavailable(f"The Docker Engine did not answer when {what}: {reason}.", hint=_HINT)


def _reason(fault: BaseException) -> str:
    """The system's own words, which requests and urllib3 wrap in several of their own."""
    if isinstance(fault, requests.exceptions.Timeout):
        return "it took too long"
    found: list[BaseException] = [fault]
    for outer in found:
        if isinstance(outer, OSError) and outer.strerror:
            return outer.strerror
        inner = (*outer.args, outer.__cause__, outer.__context__)
        found += [part for part in inner if isinstance(part, BaseException) and part not in found]
    return str(fault)


class EngineClient:
    """Calls the Engine from threads of its own, each call within a limit.

    Connects with the first call, and anew after the Engine was away, since a new Engine may speak
    another version of the API.
    """

    def __init__(self, base_url: str, *, call_seconds: float = CALL_SECONDS) -> None:
        self._base_url = base_url
        self._call_seconds = call_seconds
        self._limiter = anyio.CapacityLimiter(_THREADS)
        self._lock = threading.Lock()
        self._connections: dict[float, APIClient] = {}

    async def call(
        self, what: str, function: Callable[[APIClient], T], *, seconds: float | None = None
    ) -> T:
        """What ``function`` gives when it is called with docker-py's client in a thread.

        Raises:
            EngineUnavailable: the Engine cannot be reached, or does not answer in time.
            EngineRefused: it answered with an error.
        """
        limit = self._call_seconds if seconds is None else seconds

        def work() -> T:
            try:
                with translated(what):
                    return function(self._connection(limit))
            except EngineUnavailable:
                self._disconnect(limit)
                raise

        try:
            with anyio.fail_after(limit + _MARGIN_SECONDS):
                # An abandoned thread ends by the socket's own time limit.
                return await anyio.to_thread.run_sync(
                    work, abandon_on_cancel=True, limiter=self._limiter
                )
        except TimeoutError as fault:
            raise EngineUnavailable(
                f"The Docker Engine did not answer within {limit:g} s when {what}.", hint=_HINT
            ) from fault

    def _connection(self, seconds: float) -> APIClient:
        """docker-py keeps one time limit for each client, so there is one client for each limit."""
        with self._lock:
            connection = self._connections.get(seconds)
        if connection is None:
            # Outside the lock: a hanging Engine must not hold up calls with other limits.
            connection = connect(self._base_url, seconds)
            with self._lock:
                connection = self._connections.setdefault(seconds, connection)
        return connection

    def _disconnect(self, seconds: float) -> None:
        with self._lock:
            connection = self._connections.pop(seconds, None)
        if connection is not None:
            connection.close()

    async def aclose(self) -> None:
        """Closes the connections."""
        for seconds in tuple(self._connections):
            await anyio.to_thread.run_sync(self._disconnect, seconds)


def _knock(base_url: str, timeout_seconds: int) -> None:
    """Raises OSError where nobody listens on the Engine's socket.

    docker-py leaves the socket of a connection that failed to the garbage collector.
    """
    if base_url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(timeout_seconds)
            door.connect(base_url.removeprefix("unix://"))


def connect(base_url: str, timeout_seconds: float) -> APIClient:
    """A client that speaks the Engine's version.

    docker-py finds the version out by itself, but leaves its connection open where that fails.

    Raises:
        DockerException, RequestException, OSError: it cannot be reached; see ``translated``.
    """
    timeout = math.ceil(timeout_seconds)
    _knock(base_url, timeout)
    oldest = docker.constants.MINIMUM_DOCKER_API_VERSION
    with closing(APIClient(base_url, version=oldest, timeout=timeout)) as probe:
        newest = probe.version(api_version=False)["ApiVersion"]
    return APIClient(base_url, version=newest, timeout=timeout, max_pool_size=_THREADS)

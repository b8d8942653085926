"""Long answers of the Engine: read in threads of their own, ended within a second."""

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from docker.types import CancellableStream

from adapters.docker.client import CALL_SECONDS, connect, translated
from adapters.docker.refusals import refused
from domain.errors import AgentError, EngineUnavailable

T = TypeVar("T")

MAX_WAITING = 5_000
"""How many items wait for a slow reader."""

THREAD_NAME = "engine-stream"

# The Engine would compress what it sends, and with it hold back what it has sent only in part.
_AS_IT_IS = {"Accept-Encoding": "identity"}

_PIECE_BYTES = 64 * 1024
_LOOK_SECONDS = 0.5
_END_SECONDS = 2.0


class Feed(Generic[T]):
    """Hands items from threads to the event loop.

    Args:
        lossy: while the reader is slow, the oldest items go; else the threads wait for it.
        most: how much waits for the reader.
        weigh: how much one item is.
        patience_seconds: how long a thread waits for the reader; None for any time.
    """

    def __init__(
        self,
        *,
        lossy: bool,
        most: int = MAX_WAITING,
        weigh: Callable[[T], int] = lambda _: 1,
        patience_seconds: float | None = None,
    ) -> None:
        self._lossy = lossy
        self._most = most
        self._weigh = weigh
        self._patience_seconds = patience_seconds
        self._weight = 0
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._news = anyio.Event()
        self._loop = anyio.lowlevel.current_token()
        self._writers = 0
        self._closed = False
        self._dropped = 0
        self._fault: AgentError | None = None

    def open(self) -> None:
        """Counts one thread more that writes."""
        self._writers += 1

    def end(self, fault: AgentError | None) -> None:
        """Counts one thread less, in that thread; a fault is told when all is read."""
        with self._changed:
            self._writers -= 1
            self._fault = self._fault or fault
        self._tell()

    def put(self, item: T, *, lossy: bool | None = None) -> None:
        """Takes an item, in a thread.

        Args:
            item: the item.
            lossy: for this one alone.

        Raises:
            EngineUnavailable: the reader tried its patience.
        """
        with self._changed:
            if not (self._lossy if lossy is None else lossy):
                self._wait_for_room()
            if self._closed:
                return
            while self._items and self._weight >= self._most:
                self._weight -= self._weigh(self._items.popleft())
                self._dropped += 1
            self._items.append(item)
            self._weight += self._weigh(item)
            first = len(self._items) == 1
        if first:
            self._tell()

    def _wait_for_room(self) -> None:
        patience = self._patience_seconds
        until = None if patience is None else time.monotonic() + patience
        while self._weight >= self._most and not self._closed:
            if until is not None and time.monotonic() > until:
                raise EngineUnavailable(f"Nobody read on for {patience:g} s, so it was ended.")
            self._changed.wait(_LOOK_SECONDS)

    def _tell(self) -> None:
        """Wakes the reader, if anybody is left who reads."""
        if not self._closed:
            with suppress(RuntimeError, anyio.RunFinishedError):
                anyio.from_thread.run_sync(self._wake, token=self._loop)

    def _wake(self) -> None:
        self._news.set()

    def close(self) -> None:
        """Lets threads that wait go on to their end, and the reader too; on the event loop."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._weight = 0
            self._changed.notify_all()
        self._news.set()

    async def next(self) -> tuple[T | None, int]:
        """The next item, and how many before it were lost; None at the end.

        Raises:
            AgentError: what ended the stream.
        """
        while True:
            self._news = anyio.Event()
            with self._changed:
                dropped, self._dropped = self._dropped, 0
                if self._items:
                    item = self._items.popleft()
                    self._weight -= self._weigh(item)
                    self._changed.notify_all()
                    return item, dropped
                ended = self._closed or not self._writers
            if ended:
                if self._fault is not None:
                    raise self._fault
                return None, 0
            await self._news.wait()


class Answer:
    """One answer of the Engine that goes on, on a connection of its own.

    Args:
        base_url: address of the Engine.
        path: what is asked for.
        parameters: of the query.
        begun: called in the thread when the Engine has begun to answer.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        parameters: Mapping[str, Any],
        *,
        begun: Callable[[], None] | None = None,
    ) -> None:
        self._base_url = base_url
        self._path = path
        self._parameters = parameters
        self._begun = begun
        self._closing = threading.Lock()
        self._closed = False
        self._stream: CancellableStream[bytes] | None = None

    def pieces(self) -> Iterator[bytes]:
        """The answer in pieces, in a thread.

        Raises:
            EngineUnavailable: the Engine cannot be reached.
            EngineRefused: it answers with an error.
        """
        with translated(f"reading {self._path}"):
            api = connect(self._base_url, CALL_SECONDS)
            try:
                yield from self._read(api)
            finally:
                api.close()

    def _read(self, api: Any) -> Iterator[bytes]:
        response = api.get(
            f"{api.base_url}/v{api.api_version}{self._path}",
            params=self._parameters,
            headers=_AS_IT_IS,
            stream=True,
            timeout=(CALL_SECONDS, None),
        )
        try:
            if response.status_code != 200:
                raise refused(self._path, response.status_code, response.text)
            if self._begun is not None:
                self._begun()
            stream = CancellableStream(
                response.raw.stream(_PIECE_BYTES, decode_content=False), response
            )
            with self._closing:
                self._stream = stream
                if self._closed:
                    return
            yield from stream
        finally:
            response.close()

    def close(self) -> None:
        """Ends it, whoever waits for a piece. May be repeated."""
        with self._closing:
            self._closed = True
            # It may have ended by itself just now.
            with suppress(OSError, AttributeError, ValueError):
                if self._stream is not None:
                    self._stream.close()


Pump = Callable[[Answer], None]
"""Reads an answer to its end, in a thread."""


class Streams:
    """Threads for long answers, apart from those of calls."""

    def __init__(self, limit: int) -> None:
        self._limiter = anyio.CapacityLimiter(limit)
        self._open: set[Stream] = set()
        self._ended = False

    def end(self) -> None:
        """Ends all that is read at the moment, and whatever is about to be."""
        self._ended = True
        for stream in self._open:
            stream.close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Stream"]:
        """A place to read answers in; leaving it ends them all."""
        stream = Stream(self._limiter)
        if self._ended:
            stream.close()
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)
            with anyio.CancelScope(shield=True):
                await stream.aclose()


class Stream:
    """Answers that are read side by side."""

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._answers: list[Answer] = []
        self._feeds: list[Feed[Any]] = []
        self._threads: list[threading.Thread] = []
        self._closed = False

    async def start(self, answer: Answer, feed: Feed[Any], pump: Pump) -> None:
        """Reads an answer into a feed, as soon as there is a thread for it."""
        await self._limiter.acquire_on_behalf_of(answer)
        self._answers.append(answer)
        if self._closed:
            feed.close()
            return
        self._feeds.append(feed)
        feed.open()
        thread = threading.Thread(
            target=_run, args=(answer, feed, pump), name=THREAD_NAME, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Ends all answers, and those that are about to begin."""
        self._closed = True
        for feed in self._feeds:
            feed.close()
        for answer in self._answers:
            answer.close()

    async def aclose(self) -> None:
        """Ends all answers, and waits for their threads."""
        self.close()
        until = time.monotonic() + _END_SECONDS

        def join() -> None:
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))

        if self._threads:
            await anyio.to_thread.run_sync(join)
        for answer in self._answers:
            self._limiter.release_on_behalf_of(answer)


def _run(answer: Answer, feed: Feed[Any], pump: Pump) -> None:
    fault: AgentError | None = None
    try:
        pump(answer)
    except AgentError as trouble:
        fault = trouble
    finally:
        feed.end(fault)

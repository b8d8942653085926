"""Long answers of the Engine: read in threads of their own, ended within a second."""

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from adapters.docker.chunks import PIECE_BYTES, contents
from adapters.docker.client import connect, translated
from adapters.docker.connection import Call, Door
from adapters.docker.refusals import refused
from domain.errors import AgentError, EngineUnavailable
from domain.shortage import shortage, shortages_told

T = TypeVar("T")

MAX_WAITING = 5_000
"""How many items wait for a slow reader."""

LOST_PER_SECOND = 30_000
"""How many lines of all slow readers together are thrown away in a second."""

LOST_AT_ONCE = 30_000
"""How many at once, after a time without losses."""

THREAD_NAME = "engine-stream"

# The Engine would compress what it sends, and with it hold back what it has sent only in part.
_AS_IT_IS = {"Accept-Encoding": "identity"}

_FEW_BYTES = 4 * 1024
_FEW_SECONDS = 0.05
_PLENTY_BYTES = 16 * 1024
_MORE_SECONDS = 0.002
_LOOK_SECONDS = 0.5
_JOIN_SECONDS = 0.01
_END_SECONDS = 2.0


class Losses:
    """How fast items of slow readers are thrown away, all readers together.

    What nobody reads must be taken apart before it can be thrown away. Were that done as fast as a
    container prints, a few readers that have gone to sleep would keep the interpreter busy, and the
    event loop with it.

    Args:
        per_second: how many items.
        at_once: how many after a time without losses.
        clock: seconds that pass.
    """

    def __init__(
        self,
        per_second: float = LOST_PER_SECOND,
        at_once: float = LOST_AT_ONCE,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._each_seconds = 1 / per_second
        self._ahead_seconds = at_once / per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock() - self._ahead_seconds

    def turn(self, items: int = 1) -> float:
        """Takes the next turn to lose so many items; how many seconds from now that is."""
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now - self._ahead_seconds) + self._each_seconds * items
            return max(0.0, self._next - now)


_ALL_LOSSES = Losses()
"""One for all feeds, as the interpreter that they take their time from is one."""


class Feed(Generic[T]):
    """Hands items from threads to the event loop.

    Args:
        lossy: while the reader is slow, the oldest items go; else the threads wait for it.
        most: how much waits for the reader.
        weigh: how much one item is.
        count: for how many one item counts when it is lost.
        patience_seconds: how long a thread waits for the reader; None for any time.
        losses: how fast the oldest go.
    """

    def __init__(
        self,
        *,
        lossy: bool,
        most: int = MAX_WAITING,
        weigh: Callable[[T], int] = lambda _: 1,
        count: Callable[[T], int] = lambda _: 1,
        patience_seconds: float | None = None,
        losses: Losses = _ALL_LOSSES,
    ) -> None:
        self._lossy = lossy
        self._most = most
        self._weigh = weigh
        self._count = count
        self._patience_seconds = patience_seconds
        self._losses = losses
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
        with self._changed:
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
            if self._lossy if lossy is None else lossy:
                self._wait_to_lose(item)
            else:
                self._wait_for_room()
            if self._closed:
                return
            while self._items and self._weight >= self._most:
                oldest = self._items.popleft()
                self._weight -= self._weigh(oldest)
                self._dropped += self._count(oldest)
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

    def _wait_to_lose(self, item: T) -> None:
        """Waits for the turn to lose something, or until that is not needed any more."""
        if self._weight < self._most or self._closed:
            return
        until = time.monotonic() + self._losses.turn(self._count(item))
        while self._weight >= self._most and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(min(left, _LOOK_SECONDS))

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
        if not await self.ready():
            return None, 0
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            item = self._items.popleft()
            self._weight -= self._weigh(item)
            self._changed.notify_all()
            return item, dropped

    def take(self, most: int) -> tuple[list[T], int]:
        """The items that wait, up to so much of them, and how many before them were lost."""
        found: list[T] = []
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            taken = 0
            while self._items and taken < most:
                found.append(self._items.popleft())
                taken += self._weigh(found[-1])
            self._weight -= taken
            self._changed.notify_all()
        return found, dropped

    async def ready(self) -> bool:
        """Waits for the next item, and leaves it where it is; False at the end.

        Raises:
            AgentError: what ended the stream.
        """
        while True:
            self._news = anyio.Event()
            with self._changed:
                if self._items:
                    return True
                ended = self._closed or not self._writers
            if ended:
                if self._fault is not None:
                    raise self._fault
                return False
            await self._news.wait()


class Answer:
    """One answer of the Engine that goes on, on a connection of its own.

    Args:
        base_url: address of the Engine.
        path: what is asked for, without the API's version.
        parameters: of the query.
        seconds: how long it may take to begin, and then how long it may say nothing.
        endless: it may say nothing for as long as it likes.
        begun: called in the thread when the Engine has begun to answer.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float,
        endless: bool,
        begun: Callable[[], None] | None = None,
    ) -> None:
        self._base_url = base_url
        self._path = path
        self._parameters = parameters
        self._silence_seconds = None if endless else seconds
        self.endless = endless
        """Whether it goes on until it is closed."""
        self._begun = begun
        self._call = Call(seconds)

    def pieces(self) -> Iterator[bytes]:
        """The answer in pieces, in a thread, to its end or until it is closed.

        Raises:
            EngineUnavailable: the Engine cannot be reached, or hangs up in the middle.
            EngineRefused: it answers with an error.
        """
        try:
            with self._call, translated(f"reading {self._path}"):
                yield from self._read()
        except EngineUnavailable:
            if not self._call.over:
                raise

    def _read(self) -> Iterator[bytes]:
        with closing(Door(self._base_url, keep=1)) as door:
            api = connect(door)
            url = f"{api.base_url}/v{api.api_version}{self._path}"
            answer = api.get(url, params=self._parameters, headers=_AS_IT_IS, stream=True)
            with closing(answer) as response:
                if response.status_code != 200:
                    raise refused(self._path, response.status_code, response.text)
                self._call.go_on(self._silence_seconds)
                if self._begun is not None:
                    self._begun()
                yield from self._content(response.raw)

    def _content(self, raw: Any) -> Iterator[bytes]:
        if raw.chunked:
            # What lies beneath gives each chunk out alone, and a chunk is a line.
            return contents(raw._fp.fp, self._gather)  # noqa: SLF001 - see above
        content: Iterator[bytes] = raw.stream(PIECE_BYTES, decode_content=False)
        return content

    def _gather(self, size: int) -> None:
        """Lets more come after so many bytes; to be woken for each line would cost far more."""
        if size < _PLENTY_BYTES:
            few = self.endless and size < _FEW_BYTES
            self._call.pause(_FEW_SECONDS if few else _MORE_SECONDS)

    def close(self) -> None:
        """Ends it, whatever it waits for. May be repeated."""
        self._call.end()


Pump = Callable[[Answer], None]
"""Reads an answer to its end, in a thread."""


class Streams:
    """Threads for long answers, apart from those of calls.

    Args:
        limit: how many answers are read at once.
        wait_seconds: how long an answer waits for another to end.
    """

    def __init__(self, limit: int, *, wait_seconds: float) -> None:
        self._limiter = anyio.CapacityLimiter(limit)
        self._wait_seconds = wait_seconds
        self._open: set[Stream] = set()
        self.ending = False
        """Whether nothing goes on any more."""

    def end(self) -> None:
        """Ends answers that go on, now and from now on; what came of them is still read."""
        self.ending = True
        for stream in self._open:
            stream.end()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Stream"]:
        """A place to read answers in; leaving it ends them all."""
        stream = Stream(self._limiter, self._wait_seconds)
        if self.ending:
            stream.end()
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)
            with anyio.CancelScope(shield=True):
                await stream.aclose()


class Stream:
    """Answers that are read side by side."""

    def __init__(self, limiter: anyio.CapacityLimiter, wait_seconds: float) -> None:
        self._limiter = limiter
        self._wait_seconds = wait_seconds
        self._loop = anyio.lowlevel.current_token()
        self._answers: list[Answer] = []
        self._feeds: list[Feed[Any]] = []
        self._threads: list[threading.Thread] = []
        self._ending = False
        self._closed = False

    async def start(self, answer: Answer, feed: Feed[Any], pump: Pump) -> None:
        """Reads an answer into a feed, as soon as there is a thread for it.

        Raises:
            EngineUnavailable: there is none in time.
        """
        await self._take_place(answer)
        self._answers.append(answer)
        if self._closed:
            feed.close()
            self._limiter.release_on_behalf_of(answer)
            return
        if self._ending and answer.endless:
            answer.close()
        self._feeds.append(feed)
        thread = threading.Thread(
            target=self._read, args=(answer, feed, pump), name=THREAD_NAME, daemon=True
        )
        feed.open()
        try:
            with shortages_told():
                thread.start()
        except BaseException:
            feed.close()
            self._limiter.release_on_behalf_of(answer)
            raise
        self._threads.append(thread)

    async def _take_place(self, answer: Answer) -> None:
        try:
            with anyio.fail_after(self._wait_seconds):
                await self._limiter.acquire_on_behalf_of(answer)
        except TimeoutError:
            raise EngineUnavailable(
                f"{self._limiter.total_tokens:g} long answers of the Docker Engine are read "
                "already, and no more can be.",
                hint="Try again when one of them has ended.",
            ) from None

    def _read(self, answer: Answer, feed: Feed[Any], pump: Pump) -> None:
        """Reads an answer, in its thread, which keeps its place as long as it lives."""
        fault: AgentError | None = None
        try:
            pump(answer)
        except AgentError as trouble:
            fault = trouble
        except Exception as trouble:  # noqa: BLE001 - what broke off must not look like an end
            fault = shortage(trouble) or EngineUnavailable(
                f"What the Docker Engine answers could not be read on: {trouble!r}."
            )
        finally:
            feed.end(fault)
            # The agent may have ended.
            with suppress(RuntimeError, anyio.RunFinishedError):
                anyio.from_thread.run_sync(
                    self._limiter.release_on_behalf_of, answer, token=self._loop
                )

    def end(self) -> None:
        """Ends the answers that go on; what came of them can still be read."""
        self._ending = True
        for answer in self._answers:
            if answer.endless:
                answer.close()

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
        # Looked at now and then: to wait for them in a thread would want another one.
        with anyio.move_on_after(_END_SECONDS):
            while any(t.is_alive() for t in self._threads):  # noqa: ASYNC110 - see above
                await anyio.sleep(_JOIN_SECONDS)

"""Work on disk: in threads, never cut in two, with the disk's faults in our words."""

import errno
import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from domain.errors import HostExhausted, StorageFailed, StorageFull
from domain.shortage import shortages_told

T = TypeVar("T")

_THREADS = 8
_LOOK_SECONDS = 0.01
_RETRY_SECONDS = 0.1
_TRIES = 50
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class GivenUp(Exception):
    """Whoever asked for the work no longer wants it."""


class Storage:
    """Runs blocking work on disk."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_THREADS)
        self._glancing = threading.Lock()

    async def run(self, what: str, work: Callable[[], T]) -> T:
        """What ``work`` gives; it runs to its end even when the caller is cancelled.

        Args:
            what: the work in words, for the message: "unpacking the bundle".
            work: does it.

        Raises:
            StorageFull: the disk has no room.
            StorageFailed: the disk refuses.
            HostExhausted: there is no thread, memory or file for it.
        """
        try:
            with shortages_told():
                return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        except OSError as fault:
            raise _translated(what, fault) from fault

    async def glance(self, what: str, work: Callable[[], T], *, seconds: float) -> T:
        """Like ``run``, for what a disk that hangs may keep in its thread: that one and no other.

        Args:
            what: the work in words.
            work: does it.
            seconds: how long it may take.

        Raises:
            StorageFull: the disk has no room.
            StorageFailed: the disk refuses, or does not answer in time.
            HostExhausted: there is no thread, memory or file for it.
        """

        def alone() -> T:
            # Whoever waits here gives up by himself.
            if not self._glancing.acquire(timeout=seconds):
                raise TimeoutError(errno.ETIMEDOUT, "it hangs")
            try:
                return work()
            finally:
                self._glancing.release()

        try:
            with anyio.move_on_after(seconds), shortages_told():
                return await anyio.to_thread.run_sync(
                    alone, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
                )
        except OSError as fault:
            raise _translated(what, fault) from fault
        raise StorageFailed(
            f"The disk does not answer: {what} takes longer than {seconds:g} s.",
            hint="Is the disk well?",
        )

    async def clear(self, what: str, work: Callable[[], T]) -> T:
        """Like ``run``, for what takes away and may be repeated.

        Where the host is short of something it is tried again for some seconds: what stayed would
        be in the way of others.
        """
        for _ in range(_TRIES):
            try:
                return await self.run(what, work)
            except HostExhausted:
                await anyio.sleep(_RETRY_SECONDS)
        return await self.run(what, work)

    async def run_cancellable(self, what: str, work: Callable[[Callable[[], None]], T]) -> T:
        """Like ``run``, for long work that looks now and then whether it is still wanted.

        Args:
            what: the work in words.
            work: is given a function to call between pieces, which raises ``GivenUp``.
        """
        unwanted, started, ended = threading.Event(), threading.Event(), threading.Event()

        def checkpoint() -> None:
            if unwanted.is_set():
                raise GivenUp

        def whole() -> T:
            started.set()
            try:
                checkpoint()
                return work(checkpoint)
            finally:
                ended.set()

        try:
            with shortages_told():
                return await anyio.to_thread.run_sync(
                    whole, abandon_on_cancel=True, limiter=self._limiter
                )
        except OSError as fault:
            raise _translated(what, fault) from fault
        except anyio.get_cancelled_exc_class():
            # In this order: a thread that has not started by now gives up before it does anything.
            unwanted.set()
            if started.is_set():
                with anyio.CancelScope(shield=True):
                    # Looked at now and then: waiting for it in a thread would want another one.
                    while not ended.is_set():  # noqa: ASYNC110 - see above
                        await anyio.sleep(_LOOK_SECONDS)
            raise


def is_full(fault: OSError) -> bool:
    """Whether the disk has no room, in bytes or in inodes."""
    return fault.errno in _FULL


def _translated(what: str, fault: OSError) -> StorageFull | StorageFailed:
    if is_full(fault):
        return StorageFull(
            f"The disk is full: {what} failed ({fault.strerror}).",
            hint="Remove environments or images, then try again.",
        )
    place = f" at {fault.filename}" if fault.filename else ""
    return StorageFailed(f"The disk refuses: {what} failed{place} ({fault.strerror}).")

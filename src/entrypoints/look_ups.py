"""Looking up names, which the event loop does in threads, without waiting for a name server."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MOST_AT_ONCE = 32
"""How many look-ups may hang; a name server that is away holds each for a minute or so."""


class LookUps(ThreadPoolExecutor):
    """Gives every look-up a thread of its own, which nobody waits for in the end.

    Python's own executor has a few threads, which look-ups that hang would take from those that
    come after them, and the process could not end before the last of them does.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begins a look-up.

        Raises:
            OSError: too many hang already, or there can be no more threads.
        """
        if not self._places.acquire(blocking=False):
            raise OSError(f"{MOST_AT_ONCE} look-ups of names hang; is the name server away?")
        future: Future[T] = Future()

        def work() -> None:
            try:
                _fulfil(future, lambda: fn(*args, **kwargs))
            finally:
                self._places.release()

        try:
            threading.Thread(target=work, name="look-up", daemon=True).start()
        except RuntimeError as fault:
            self._places.release()
            raise OSError(f"No thread can be had to look up a name: {fault}") from fault
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Waits for nobody."""


def _fulfil(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except Exception as fault:  # noqa: BLE001 - whoever waits is told
        future.set_exception(fault)
    else:
        future.set_result(result)

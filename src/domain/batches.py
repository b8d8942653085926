"""Items that come as they come, many at a time where many are there.

To hand each line of a container that prints without end on alone costs more than all else that is
done for it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Batches(Generic[T]):
    """Items in batches, or one by one for those who have time.

    Waiting for the next ones may be cancelled where ``take`` may, and nothing is lost by it.

    Args:
        take: gives the next items, at least one; none at the end.
    """

    def __init__(self, take: Callable[[], Awaitable[Sequence[T]]]) -> None:
        self._take = take
        self._waiting: Sequence[T] = ()
        self._at = 0

    @classmethod
    def of(cls, batches: AsyncIterator[Sequence[T]]) -> "Batches[T]":
        """Those that something gives, none of them empty."""

        async def take() -> Sequence[T]:
            try:
                return await anext(batches)
            except StopAsyncIteration:
                return ()

        return cls(take)

    async def next(self) -> Sequence[T]:
        """The next items, as many as are there; none at the end."""
        left, self._waiting = self._waiting[self._at :], ()
        self._at = 0
        return left or await self._take()

    def __aiter__(self) -> "Batches[T]":
        return self

    async def __anext__(self) -> T:
        if self._at == len(self._waiting):
            self._waiting, self._at = await self._take(), 0
            if not self._waiting:
                raise StopAsyncIteration
        item = self._waiting[self._at]
        self._at += 1
        return item


class Common(tuple[T, ...]):  # noqa: SLOT001 - a tuple cannot have any
    """A batch that many are given: what is made of it for one serves all."""

    def __init__(self, _items: Sequence[T]) -> None:
        self._made: dict[str, bytes] = {}

    def made(self, form: str, make: Callable[[Sequence[T]], bytes]) -> bytes:
        """What ``make`` makes of it; asked for once for each form."""
        if form not in self._made:
            self._made[form] = make(self)
        return self._made[form]


def made(batch: Sequence[T], form: str, make: Callable[[Sequence[T]], bytes]) -> bytes:
    """What ``make`` makes of a batch, or has made of it for another before."""
    return batch.made(form, make) if isinstance(batch, Common) else make(batch)

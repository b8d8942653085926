"""Items that come many at a time."""

from collections.abc import AsyncIterator, Sequence

import pytest

from domain.batches import Batches

pytestmark = pytest.mark.anyio


def some() -> Batches[int]:
    async def give() -> AsyncIterator[Sequence[int]]:
        yield [1, 2, 3]
        yield [4]

    return Batches.of(give())


async def test_they_come_as_they_were_given_and_then_none() -> None:
    batches = some()

    assert [list(await batches.next()) for _ in range(4)] == [[1, 2, 3], [4], [], []]


async def test_they_can_be_had_one_by_one() -> None:
    assert [item async for item in some()] == [1, 2, 3, 4]


async def test_what_is_left_of_a_batch_comes_first() -> None:
    batches = some()

    assert await anext(batches) == 1
    assert await batches.next() == [2, 3]
    assert await anext(batches) == 4
    assert await batches.next() == ()

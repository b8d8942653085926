"""What the log is told of the heartbeat: enough to know, and no more in days than in minutes."""

from collections.abc import Callable, Iterator
from itertools import cycle

import anyio
import pytest

from adapters.memory.log import MemoryLog
from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult
from tests.support.hearts import BeatingHost
from tests.support.virtual_time import VirtualClock, run_virtually

HOUR = 3600.0
DAY = 24 * HOUR

GOOD = HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
SILENT = HeartbeatAnswer(
    result=HeartbeatResult.UNREACHABLE, detail="The manager cannot be reached: no answer."
)
CLOSED = HeartbeatAnswer(
    result=HeartbeatResult.UNREACHABLE, detail="The manager cannot be reached: refused."
)
BROKEN = HeartbeatAnswer(
    result=HeartbeatResult.BUSY, status=502, detail="The manager answered 502: bad gateway."
)
REFUSED = HeartbeatAnswer(
    result=HeartbeatResult.REFUSED, status=401, detail="Register the host again."
)

Answers = Callable[[float], HeartbeatAnswer]
"""What the manager answers at a moment."""


class Manager:
    """A manager that answers as it is told."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Takes one heartbeat."""
        await anyio.sleep(0.01)
        return self._answers(anyio.current_time())


def logged(answers: Answers, seconds: float) -> MemoryLog:
    """What was logged while a manager answered so."""

    async def beat() -> MemoryLog:
        log = MemoryLog()
        host = await BeatingHost.open(VirtualClock(), log)
        heartbeat = host.heartbeat(Manager(answers), interval_seconds=20)
        with anyio.move_on_after(seconds):
            await heartbeat.run()
        return log

    return run_virtually(beat)


def lines(log: MemoryLog) -> list[str]:
    """The events that an operator sees."""
    return [event for level, event, _ in log.events if level != "DEBUG"]


def in_turns(*answers: HeartbeatAnswer) -> Answers:
    turns: Iterator[HeartbeatAnswer] = cycle(answers)
    return lambda _: next(turns)


def away(begin: float, end: float, fault: Answers) -> Answers:
    return lambda now: fault(now) if begin <= now < end else GOOD


@pytest.mark.parametrize(
    "fault",
    [
        in_turns(SILENT),
        in_turns(SILENT, CLOSED),
        in_turns(SILENT, CLOSED, BROKEN, REFUSED, CLOSED),
        lambda now: HeartbeatAnswer(result=HeartbeatResult.BUSY, status=500, detail=f"{now}"),
    ],
    ids=["one", "two in turns", "many in turns", "always another"],
)
def test_a_day_without_a_manager_fills_no_log(fault: Answers) -> None:
    log = logged(fault, DAY)

    assert 100 <= len(lines(log)) <= 150


def test_a_day_of_single_faults_fills_no_log() -> None:
    log = logged(in_turns(GOOD, CLOSED), DAY)

    assert len(lines(log)) <= 300


def test_the_first_fault_is_told_at_once_and_the_return_with_what_was_missed() -> None:
    log = logged(away(HOUR, 3 * HOUR, in_turns(CLOSED)), 4 * HOUR)

    first, *others = log.named("heartbeat failed")
    (back,) = log.named("heartbeat acknowledged again")
    assert (first["reason"], first["failed"]) == (CLOSED.detail, 1)
    assert len(others) == 11
    assert 2 * HOUR - 20 <= float(back["away_seconds"] or 0) <= 2 * HOUR + 20
    assert int(back["failed"] or 0) > 300


def test_a_fault_that_changes_is_told_at_once_for_the_first_few_times() -> None:
    log = logged(away(HOUR, HOUR + 60, in_turns(CLOSED, BROKEN)), HOUR + 60)

    assert [line["reason"] for line in log.named("heartbeat failed")] == [
        CLOSED.detail,
        BROKEN.detail,
        CLOSED.detail,
        BROKEN.detail,
    ]


def test_what_lasts_is_told_with_its_newest_words() -> None:
    def fault(now: float) -> HeartbeatAnswer:
        return CLOSED if now < 2 * HOUR else REFUSED

    log = logged(away(HOUR, 3 * HOUR, fault), 3 * HOUR)

    refused = log.named("heartbeat refused")
    assert refused[0]["reason"] == REFUSED.detail
    assert 5 <= len(refused) <= 7


def test_when_all_is_well_a_line_comes_now_and_then() -> None:
    log = logged(lambda _: GOOD, HOUR)

    assert lines(log) == ["heartbeat acknowledged"] * 6

"""Heartbeats: what is reported to the manager, and when the next one is due.

The schedule holds two promises. A manager that was away hears of this host within one interval of
its return: pauses count from the beginning of the beat before, also of one that hung until its
limit. And a fleet that lost the same manager does not come back in one wave: whatever brings agents
into step, the next pause spreads them again.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

SLOW_SECONDS = 60.0
"""Pause after a refusal that only an operator can mend."""

FIRST_RETRY_SECONDS = 10.0
"""Longest pause after the first failure; it doubles with each further one, up to an interval."""

LONGEST_RETRY_AFTER_SECONDS = 300.0
"""Longest wait that a manager can ask for; a proxy's maintenance page may well ask for a day."""

LONGEST_BEAT_SECONDS = 10.0
"""Limit of one heartbeat, where the interval is long."""

FIRST_WITHIN_SECONDS = 10.0
"""How late the first heartbeat may be, where the interval is long."""

_JITTER = 0.1
"""Share of a pause by which it varies, so that a fleet does not beat in step."""

_BEAT_SHARE = 0.8
"""Share of an interval that one heartbeat may take."""

_LATEST_SHARE = 0.95
"""Share of an interval after which the next one begins at the latest when one has failed."""


class HeartbeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """The body of one heartbeat; the manager refuses anything but integers."""

    cpu: int
    """Percent, 0 to 100, average since the last heartbeat; 100 where no work is taken."""
    mem: int
    """Percent, 0 to 100."""
    containers: int
    """Running containers on the host."""


class HeartbeatResult(StrEnum):
    """How the manager took a heartbeat."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """Only an operator can mend it: wrong key, unknown host, wrong address."""
    BUSY = "busy"
    """The manager is there and cannot take it now."""
    UNREADABLE = "unreadable"
    """Somebody answered, but not as a manager does."""
    UNREACHABLE = "unreachable"


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The manager's answer to one heartbeat."""

    result: HeartbeatResult
    status: int | None = None
    """The HTTP status, where there was one."""
    detail: str = ""
    """What went wrong and what to do, for the log and ``/health``."""
    retry_after_seconds: float | None = None

    @property
    def wait_seconds(self) -> float:
        """How long the manager wants to be left alone, as far as it may ask for it."""
        return min(self.retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS)


class HeartbeatStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the heartbeat fares, for ``/health`` and the metrics."""

    enabled: bool
    last_acknowledged_at: datetime | None = None
    last_result: HeartbeatResult | None = None
    detail: str = ""
    consecutive_failures: int = 0
    sent_total: int = 0
    failed_total: int = 0
    last_report: HeartbeatReport | None = None
    full_because: str = ""
    """Why the last one reported the host as full; empty where it told its load."""
    withheld: bool = False
    """Kept back on purpose, since the Engine is down and the settings ask for silence."""


def beat_seconds(interval_seconds: float) -> float:
    """How long one heartbeat may take, so that the next one is still in time."""
    return min(LONGEST_BEAT_SECONDS, _BEAT_SHARE * interval_seconds)


def first_pause_seconds(*, interval_seconds: float, chance: float) -> float:
    """How long to wait after the agent's start, which may be the start of a whole fleet."""
    return chance * min(interval_seconds, FIRST_WITHIN_SECONDS)


def next_pause_seconds(
    answer: HeartbeatAnswer,
    *,
    interval_seconds: float,
    took_seconds: float,
    consecutive_failures: int,
    chance: float,
) -> float:
    """How long to wait after ``answer``, from when it came.

    Args:
        answer: the manager's last answer.
        interval_seconds: how far apart the beginnings of heartbeats are that succeed.
        took_seconds: how long the heartbeat took, from its beginning to the answer.
        consecutive_failures: how many in a row have failed, this one included.
        chance: a random number from 0 to 1 that spreads the agents of a fleet.
    """
    early = 1 - _JITTER * chance
    if answer.result is HeartbeatResult.ACKNOWLEDGED:
        return max(0.0, interval_seconds * early - took_seconds)
    wait = 0.0
    if answer.retry_after_seconds is not None:
        # All may have been asked to come at the same moment: never sooner, and not all at once.
        wait = answer.wait_seconds + chance * interval_seconds
    if answer.result is HeartbeatResult.REFUSED:
        return max(wait, max(SLOW_SECONDS, interval_seconds) * early - took_seconds)
    if answer.retry_after_seconds is not None:
        return wait
    doublings = min(max(consecutive_failures - 1, 0), 16)
    # What is left of the interval, so that those whose beats all hung until now are spread too.
    left = max(0.0, _LATEST_SHARE * interval_seconds - took_seconds)
    return min(left, FIRST_RETRY_SECONDS * (1 << doublings)) * (0.5 + 0.5 * chance)

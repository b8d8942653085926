"""Heartbeats: what is reported to the manager, and when the next one is due."""

from datetime import datetime
from enum import StrEnum

import msgspec

SLOW_SECONDS = 60.0
"""Pause after a refusal that only an operator can mend."""

FIRST_RETRY_SECONDS = 1.0
"""Longest pause after the first failure; it doubles with each further one, up to an interval."""

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""Beyond this a manager's Retry-After is taken for a mistake."""

JITTER = 0.1
"""Share of a pause by which it varies, so that a fleet does not beat in step."""


class HeartbeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """The body of one heartbeat; the manager refuses anything but integers."""

    cpu: int
    """Percent, 0 to 100, average since the last heartbeat."""
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


class HeartbeatStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the heartbeat fares, for ``/health`` and the metrics."""

    enabled: bool
    last_sent_at: datetime | None = None
    last_acknowledged_at: datetime | None = None
    last_result: HeartbeatResult | None = None
    detail: str = ""
    consecutive_failures: int = 0
    sent_total: int = 0
    failed_total: int = 0
    last_report: HeartbeatReport | None = None
    withheld: bool = False
    """Kept back on purpose, since the Engine is down and the settings ask for silence."""


def next_pause_seconds(
    answer: HeartbeatAnswer,
    *,
    interval_seconds: float,
    consecutive_failures: int,
    chance: float,
) -> float:
    """How long to wait after ``answer``.

    Args:
        answer: the manager's last answer.
        interval_seconds: the pause between heartbeats that succeed.
        consecutive_failures: how many in a row have failed, this one included.
        chance: a random number from 0 to 1 that spreads the agents of a fleet.
    """
    if answer.retry_after_seconds is not None:
        wait = min(answer.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)
        # Never sooner than the manager asked, and never all agents at the same moment.
        return wait + chance * JITTER * interval_seconds
    if answer.result is HeartbeatResult.ACKNOWLEDGED:
        return interval_seconds * (1 - JITTER * chance)
    if answer.result is HeartbeatResult.REFUSED:
        return max(SLOW_SECONDS, interval_seconds) * (1 - JITTER * chance)
    doublings = min(max(consecutive_failures - 1, 0), 16)
    longest = min(interval_seconds, FIRST_RETRY_SECONDS * (1 << doublings))
    return longest * (0.5 + 0.5 * chance)

"""What the log is told of the heartbeat: each turn of it, in few lines however long it fails."""

from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult
from domain.ports.clock import Clock
from domain.ports.log import Log, LogValue

REMIND_SECONDS = 600.0
"""How often what lasts is told again, and beyond a few lines what changes."""

AT_ONCE = 4
"""How many lines about failures may come close together."""


class HeartbeatJournal:
    """Takes every answer and writes down the few that tell something.

    The first failure, and the first few whose words change, are told at once; then the newest at
    most once in ``REMIND_SECONDS``. An end that follows is told if the failure was.
    """

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._lines = float(AT_ONCE)
        """How many lines about failures may be written now; it grows with time."""
        self._counted_at = clock.monotonic()
        self._told: HeartbeatAnswer | None = None
        """What was told last; of the present failures, else of the last acknowledgement."""
        self._told_at = 0.0
        self._failures = 0
        self._failing_since = 0.0
        self._failure_told = False

    def takes(self, report: HeartbeatReport, answer: HeartbeatAnswer) -> None:
        """Takes one answer, and what it answers."""
        fields = {"cpu": report.cpu, "mem": report.mem, "containers": report.containers}
        if answer.result is not HeartbeatResult.ACKNOWLEDGED:
            self._failed(answer)
        elif self._failures:
            self._recovered(answer, fields)
        elif self._told is None or self._is_time():
            self._log.info("heartbeat acknowledged", **fields)
            self._remember(answer)
        else:
            self._log.debug("heartbeat sent", **fields, result=answer.result.value)

    def withheld(self, reason: str) -> None:
        """Takes that heartbeats are withheld from now on."""
        if self._may_write():
            self._log.warning("heartbeat withheld", reason=reason)

    def _failed(self, answer: HeartbeatAnswer) -> None:
        if not self._failures:
            self._failing_since = self._clock.monotonic()
        self._failures += 1
        if (self._is_new(answer) or self._is_time()) and self._may_write():
            self._write(answer)
            self._remember(answer)
            self._failure_told = True
        else:
            self._log.debug("heartbeat failed again", **_what(answer))

    def _write(self, answer: HeartbeatAnswer) -> None:
        fields: dict[str, LogValue] = {
            **_what(answer),
            "status": answer.status,
            "failed": self._failures,
        }
        if answer.result is HeartbeatResult.REFUSED:
            self._log.error("heartbeat refused", **fields)
        else:
            self._log.warning("heartbeat failed", **fields)

    def _recovered(self, answer: HeartbeatAnswer, fields: dict[str, int]) -> None:
        if self._failure_told:
            away = self._clock.monotonic() - self._failing_since
            self._log.info(
                "heartbeat acknowledged again",
                **fields,
                away_seconds=round(away, 1),
                failed=self._failures,
            )
        self._failures, self._failure_told = 0, False
        self._remember(answer)

    def _is_new(self, answer: HeartbeatAnswer) -> bool:
        told = self._told
        return told is None or (answer.result, answer.detail) != (told.result, told.detail)

    def _is_time(self) -> bool:
        return self._clock.monotonic() - self._told_at >= REMIND_SECONDS

    def _remember(self, answer: HeartbeatAnswer) -> None:
        self._told, self._told_at = answer, self._clock.monotonic()

    def _may_write(self) -> bool:
        now = self._clock.monotonic()
        grown = self._lines + (now - self._counted_at) / REMIND_SECONDS
        self._lines, self._counted_at = min(grown, AT_ONCE), now
        # Sums of fractions may stay a hair below.
        if self._lines < 0.999:
            return False
        self._lines -= 1
        return True


def _what(answer: HeartbeatAnswer) -> dict[str, str]:
    return {"result": answer.result.value, "reason": answer.detail}

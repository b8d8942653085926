"""Writes what the agent does and finds into the journal, as it writes it down elsewhere."""

from domain.audit import AuditEntry
from domain.consistency import ConsistencyReport
from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult
from domain.host_events import Happened, Source
from domain.ports.clock import Clock
from domain.ports.manager import Manager
from domain.usecases.consistency import Consistency
from domain.usecases.journal import Journal


class ToldManager:
    """The manager; that heartbeats fail, and that they are taken again, is told."""

    def __init__(self, manager: Manager, journal: Journal, clock: Clock) -> None:
        self._manager = manager
        self._journal = journal
        self._clock = clock
        self._last: HeartbeatResult | None = None

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Sends one heartbeat and says how the manager took it."""
        answer = await self._manager.heartbeat(report)
        if answer.result is not self._last:
            self._last = answer.result
            self._journal.note(
                Happened(
                    at=self._clock.now(),
                    source=Source.AGENT,
                    kind="heartbeat",
                    action=answer.result.value,
                    text=answer.detail,
                )
            )
        return answer


class AgentEntries:
    """Tells what the agent finds, and of changes that were asked for."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._report: ConsistencyReport | None = None

    def asked(self, entry: AuditEntry) -> None:
        """Tells of a change that somebody with a right key asked for.

        Strangers could else push everything out of the journal.
        """
        if not entry.subject and not entry.key_id:
            return
        told = {
            "method": entry.method,
            "path": entry.path,
            "subject": entry.subject,
            "status": str(entry.status),
            "code": entry.code,
            "operation": entry.operation,
        }
        self._journal.note(
            Happened(
                at=entry.at,
                source=Source.AGENT,
                kind="change",
                action=entry.outcome.value,
                name=entry.target,
                text=f"{entry.method} {entry.path}",
                attributes={key: value for key, value in told.items() if value},
            )
        )

    async def follow(self, consistency: Consistency) -> None:
        """Tells what each look at records, Engine and disk finds, for the agent's life."""
        if self._report is None:
            self._started()
            self._report = ConsistencyReport()
        while True:
            looked = consistency.looked
            before, self._report = self._report, consistency.report
            if self._report is not before:
                self._differences(before, self._report)
            await looked.wait()

    def _started(self) -> None:
        self._journal.note(
            Happened(at=self._clock.now(), source=Source.AGENT, kind="agent", action="started")
        )

    def _differences(self, before: ConsistencyReport, after: ConsistencyReport) -> None:
        then = {difference.key: difference for difference in before.differences}
        now = {difference.key: difference for difference in after.differences}
        known = set(before.healed)
        for healed in reversed(after.healed):
            if healed not in known:
                self._found("healed", healed.kind.value, healed.subject, healed.detail)
        for key in sorted(now.keys() - then.keys()):
            self._found("found", key[0], key[1], now[key].detail)
        for key in sorted(then.keys() - now.keys()):
            self._found("gone", key[0], key[1], "")

    def _found(self, action: str, kind: str, subject: str, text: str) -> None:
        self._journal.note(
            Happened(
                at=self._clock.now(),
                source=Source.AGENT,
                kind="consistency",
                action=action,
                name=subject,
                text=text,
                attributes={"difference": kind},
            )
        )

"""The audit trail: every change that is asked for, in the log and for a time in the store."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta

import anyio

from domain.audit import AuditEntry, Outcome
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Audit

KEEP_ENTRIES = 100_000
"""How many entries are kept at most."""

MOST_WAITING = 10_000
"""How many entries wait to be written at most, while the store cannot."""

STRANGERS_PER_MINUTE = 60
"""How many requests without an accepted key are stored in a minute; the log has them all."""

_AT_ONCE = 500


class AuditTrail:
    """Takes entries without making anybody wait, and writes them in batches.

    Args:
        keep_seconds: how long entries stay in the store; 0 for not at all.
        tell: is told of each entry, too; never waits and never raises.
    """

    def __init__(
        self,
        records: Audit,
        clock: Clock,
        log: Log,
        *,
        keep_seconds: float,
        tell: Callable[[AuditEntry], None],
    ) -> None:
        self._records = records
        self._clock = clock
        self._log = log
        self._keep_seconds = keep_seconds
        self._tell = tell
        self._one_at_a_time = anyio.Lock()
        self._waiting: deque[AuditEntry] = deque()
        self._minute = 0
        self._strangers = 0
        self.left_out = 0
        """How many entries are in the log only: of a flood of strangers, or lost by the store."""

    def note(self, entry: AuditEntry) -> None:
        """Takes an entry; never raises and never waits."""
        self._log.info(
            "audit",
            subject=entry.subject,
            key_id=entry.key_id,
            address=entry.address,
            method=entry.method,
            route=entry.route,
            path=entry.path,
            target=entry.target,
            operation=entry.operation,
            status=entry.status,
            outcome=entry.outcome.value,
            code=entry.code,
        )
        self._tell(entry)
        if not self._keep_seconds:
            return
        if len(self._waiting) >= MOST_WAITING or self._is_flood(entry):
            self.left_out += 1
            return
        self._waiting.append(entry)

    def _is_flood(self, entry: AuditEntry) -> bool:
        if entry.subject or entry.key_id:
            return False
        minute = int(entry.at.timestamp() // 60)
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        return self._strangers > STRANGERS_PER_MINUTE

    async def flush(self) -> None:
        """Writes what waits; what cannot be written waits on.

        Raises:
            StoreUnavailable: it cannot.
        """
        async with self._one_at_a_time:
            while self._waiting:
                batch = [self._waiting[index] for index in range(min(_AT_ONCE, len(self._waiting)))]
                await self._records.append(batch)
                for _ in batch:
                    self._waiting.popleft()

    async def latest(
        self,
        limit: int,
        *,
        before: int | None = None,
        subject: str | None = None,
        target: str | None = None,
        outcome: Outcome | None = None,
    ) -> Sequence[AuditEntry]:
        """The newest entries, newest first, those that wait included.

        Args:
            limit: how many.
            before: only those with a lower number.
            subject: only of this one.
            target: only about this environment, bundle or operation.
            outcome: only with this one.
        """
        await self.flush()
        return await self._records.latest(
            limit, before=before, subject=subject, target=target, outcome=outcome
        )

    async def prune(self) -> None:
        """Takes away what is old enough."""
        old = self._clock.now() - timedelta(seconds=self._keep_seconds)
        await self._records.prune(before=old, keep=KEEP_ENTRIES if self._keep_seconds else 0)

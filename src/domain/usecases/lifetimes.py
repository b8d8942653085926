"""Ends environments when their time is over, and lets it be extended."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from domain.environments import Environment, Hold
from domain.errors import AgentError, EnvironmentNotFound, RequestUnreadable
from domain.names import EnvironmentName
from domain.operations import BY_AGENT, OperationKind
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Environments
from domain.timeline import EntryKind
from domain.usecases.chronicle import Chronicle
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.memos import Memos
from domain.usecases.operations import Operations
from domain.usecases.timekeeping import Timekeeping


class LifetimeRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long environments live; 0 for no limit."""

    default_seconds: float = 0.0
    """Where a request through the API says nothing."""
    max_seconds: float = 0.0
    """From the creation to the end, extensions included."""
    warning_seconds: float = 300.0
    """How long before the end it is told of."""


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed of an environment without touching its containers."""

    expires_at: datetime | None = None
    forever: bool = False
    """Takes the end of its time away."""
    hold: Hold | None = None
    release: bool = False
    """Takes the hold away."""
    labels: Mapping[str, str] | None = None


class Lifetimes:
    """Watches over the time of environments."""

    def __init__(
        self,
        *,
        environments: Environments,
        lifecycle: Lifecycle,
        operations: Operations,
        chronicle: Chronicle,
        memos: Memos,
        timekeeping: Timekeeping,
        clock: Clock,
        log: Log,
        rules: LifetimeRules,
    ) -> None:
        self._environments = environments
        self._lifecycle = lifecycle
        self._operations = operations
        self._chronicle = chronicle
        self._memos = memos
        self._timekeeping = timekeeping
        self._clock = clock
        self._log = log
        self.rules = rules

    async def end(
        self, *, seconds: float | None, moment: datetime | None, earlier: EnvironmentName
    ) -> datetime | None:
        """When an environment expires that may live for ``seconds`` or until ``moment``.

        Args:
            seconds: how long, 0 for ever; None where nothing was said.
            moment: until when; None where nothing was said.
            earlier: the name that it bears, and perhaps one that it replaces.

        Raises:
            RequestUnreadable: that is in the past, or longer than environments may live.
        """
        await self._timekeeping.settle()
        record = await self._environments.get(earlier)
        stands = record is not None and record.deployed
        created_at = record.created_at if record is not None and stands else None
        return self._end(seconds, moment, created_at)

    def _end(
        self, seconds: float | None, moment: datetime | None, created_at: datetime | None
    ) -> datetime | None:
        now = self._clock.now()
        if moment is None:
            seconds = self.rules.default_seconds if seconds is None else seconds
            moment = now + timedelta(seconds=seconds) if seconds else None
        most = self.rules.max_seconds
        latest = (created_at or now) + timedelta(seconds=most) if most else None
        if latest is not None and latest <= now:
            raise RequestUnreadable(
                f"The environment has lived for the {most:g} s that the host allows (MAX_TTL).",
                hint="Delete it and deploy it anew.",
            )
        moment = moment or latest
        if moment is None:
            return None
        if moment <= now:
            raise RequestUnreadable("The environment would expire in the past.")
        if latest is not None and moment > latest + timedelta(seconds=1):
            raise RequestUnreadable(
                f"The environment would live longer than the {most:g} s that the host allows "
                f"(MAX_TTL), which end at {latest.isoformat(timespec='seconds')}."
            )
        return moment

    def after(self, seconds: float) -> datetime | None:
        """The moment so many seconds from now; None for 0."""
        return self._clock.now() + timedelta(seconds=seconds) if seconds else None

    async def amend(self, name: EnvironmentName, change: Amendment, *, by: str) -> Environment:
        """Changes the end, the hold or the labels of an environment.

        Raises:
            EnvironmentNotFound: there is none.
            RequestUnreadable: the new end cannot be.
        """
        await self._timekeeping.settle()
        before: list[Environment] = []

        def amended(record: Environment) -> Environment:
            if not record.deployed:
                raise EnvironmentNotFound(name)
            before.append(record)
            return self._amended(record, change)

        changed = await self._environments.update(name, amended)
        if changed is None:
            raise EnvironmentNotFound(name)
        await self._remember(changed)
        await self._operations.change_replaced(
            lambda earlier: self._amended(earlier, change), of=name
        )
        for kind, text in _told(before[-1], changed):
            await self._chronicle.note(name, kind, text, by=by)
        return changed

    async def _remember(self, record: Environment) -> None:
        try:
            await self._memos.keep(record)
        except AgentError as fault:
            # The next look at consistency tries again.
            self._log.warning("memo not written", environment=record.name, reason=fault.detail)

    def _amended(self, record: Environment, change: Amendment) -> Environment:
        if change.expires_at is not None or change.forever:
            until = self._end(0.0, change.expires_at, record.created_at)
            record = msgspec.structs.replace(record, expires_at=until, warned=False)
        if change.hold is not None or change.release:
            record = msgspec.structs.replace(record, hold=change.hold)
        if change.labels is not None:
            record = msgspec.structs.replace(record, labels=change.labels)
        return record

    async def tick(self) -> None:
        """Warns of ends that come, and removes what has expired."""
        await self._timekeeping.settle()
        for name in [record.name for record in await self._environments.list()]:
            # Anew for each, since others change them meanwhile.
            record = await self._environments.get(name)
            if record is not None and record.deployed:
                await self._look_at(record)

    async def _look_at(self, record: Environment) -> None:
        now = self._clock.now()
        if record.expires_at is None or record.held(now):
            return
        left = (record.expires_at - now).total_seconds()
        if left <= 0:
            await self._expire(record)
        elif left <= self.rules.warning_seconds and not record.warned:
            await self._environments.update(
                record.name, lambda known: msgspec.structs.replace(known, warned=True)
            )
            await self._chronicle.note(
                record.name,
                EntryKind.LIFETIME,
                f"Expires in {left:.0f} s, at {record.expires_at.isoformat(timespec='seconds')}.",
            )
            self._log.info("environment expires soon", environment=record.name, seconds=round(left))

    async def _expire(self, record: Environment) -> None:
        under_way = self._operations.under_way(record.name)
        if under_way is not None and under_way.operation.kind is OperationKind.DELETE:
            return
        try:
            await self._lifecycle.delete(record.name, asked=BY_AGENT)
            self._log.info("environment expired", environment=record.name)
            await self._chronicle.note(record.name, EntryKind.LIFETIME, "Has expired.")
        except AgentError as fault:
            self._log.warning(
                "expired environment not removed", environment=record.name, reason=fault.detail
            )


def _told(before: Environment, after: Environment) -> list[tuple[EntryKind, str]]:
    """What an amendment did, in words."""
    told = []
    if before.expires_at != after.expires_at:
        until = after.expires_at.isoformat(timespec="seconds") if after.expires_at else "never"
        told.append((EntryKind.LIFETIME, f"Expires now at {until}."))
    if before.hold != after.hold and after.hold is not None:
        told.append((EntryKind.HOLD, f"Held by {after.hold.owner}: {after.hold.reason}."))
    elif before.hold != after.hold:
        told.append((EntryKind.HOLD, "No longer held."))
    return told

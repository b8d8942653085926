"""Writes what the Engine tells into the journal."""

from domain.arrangement import ENVIRONMENT_LABEL
from domain.containers import PROJECT_LABEL
from domain.engine_events import EngineEvent, Gap
from domain.errors import StoreUnavailable
from domain.host_events import Happened, Source, of_engine
from domain.names import EnvironmentName
from domain.ports.clock import Clock
from domain.ports.store import Environments
from domain.usecases.engine_events import EventHub
from domain.usecases.journal import Journal

_MOST_WAITING = 5000


class EngineEntries:
    """Follows the Engine's events for the agent's life."""

    def __init__(
        self, events: EventHub, environments: Environments, journal: Journal, clock: Clock
    ) -> None:
        self._events = events
        self._environments = environments
        self._journal = journal
        self._clock = clock
        self._listening = False

    async def run(self) -> None:
        """Writes until the events end."""
        self._listening = self._events.listening
        with self._events.follow(most=_MOST_WAITING) as events:
            async for item in events:
                if isinstance(item, EngineEvent):
                    self._journal.note(of_engine(item, await self._environment(item)))
                else:
                    self._gap(item)

    def _gap(self, gap: Gap) -> None:
        """Marks what may be missing, where the stream breaks off; not where it begins again."""
        if gap.missed is None:
            self._listening = not self._listening
            if self._listening:
                return
        self._journal.note(
            Happened(
                at=self._clock.now(),
                source=Source.AGENT,
                kind="daemon",
                action="gap",
                text="Docker's events broke off; some may be missing here.",
                attributes={} if gap.missed is None else {"missed": str(gap.missed)},
            )
        )

    async def _environment(self, event: EngineEvent) -> str:
        """The environment whose labels something bears, if there is a record of it."""
        for label in (ENVIRONMENT_LABEL, PROJECT_LABEL):
            name = event.attributes.get(label)
            if name is None:
                continue
            try:
                if await self._environments.get(EnvironmentName(name)) is not None:
                    return name
            except StoreUnavailable:
                return ""
        return ""

"""What happens on the host, of Docker's doing or the agent's, in one form."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.engine_events import EngineEvent

MOST_ATTRIBUTES = 64
"""How many attributes of one event are kept; labels of containers are among them."""

MOST_LENGTH = 512
"""How many characters of an attribute's name or value are kept."""


class Source(StrEnum):
    """Who tells of an event."""

    ENGINE = "engine"
    AGENT = "agent"


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, before it has its place in the journal."""

    at: datetime
    source: Source
    kind: str
    """What it happened to: `container`, `image`, `network`, `volume`, … as Docker has them;
    `operation`, `environment`, `heartbeat`, `consistency`, `change` and `agent` of the agent's."""
    action: str
    id: str = ""
    """The identifier of what it happened to."""
    name: str = ""
    environment: str = ""
    """The environment that it belongs to."""
    text: str = ""
    """In words, where there is more to say."""
    attributes: Mapping[str, str] = {}
    """What else is known: Docker's attributes, among them labels."""


class HostEvent(Happened, frozen=True, kw_only=True):
    """One event of the journal."""

    number: int
    """Counts up from 1 in each life of the agent."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted; what is empty lets all through."""

    sources: frozenset[Source] = frozenset()
    kinds: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    """Also without what comes after a colon, as in ``health_status: healthy``."""
    environment: str = ""
    container: str = ""
    """A name, or how an identifier begins."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value`` of the attributes, all of them."""
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, event: Happened) -> bool:
        """Whether it lets an event through."""
        return (
            (not self.sources or event.source in self.sources)
            and (not self.kinds or event.kind in self.kinds)
            and self._acts(event.action)
            and self.environment in {"", event.environment}
            and (not self.container or _concerns(event, self.container))
            and all(_labelled(event.attributes, label) for label in self.labels)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )

    def _acts(self, action: str) -> bool:
        return not self.actions or bool(self.actions & {action, action.partition(":")[0]})


def _concerns(event: Happened, container: str) -> bool:
    if event.kind == "container":
        return event.name == container or event.id.startswith(container)
    # Networks and volumes tell which container joined or mounted them.
    return event.attributes.get("container", "").startswith(container)


def _labelled(attributes: Mapping[str, str], wanted: str) -> bool:
    key, sign, value = wanted.partition("=")
    return key in attributes and (not sign or attributes[key] == value)


_TELLING = ("name", "image", "exitCode", "signal", "container", "type", "driver", "destination")
"""Attributes of the Engine's own, which labels of a container's must not push out."""


def of_engine(event: EngineEvent, environment: str = "") -> Happened:
    """An event of the Engine, with attributes that take up a bounded amount of memory."""
    return Happened(
        at=event.at,
        source=Source.ENGINE,
        kind=event.kind,
        action=event.action[:MOST_LENGTH],
        id=event.id[:MOST_LENGTH],
        name=event.attributes.get("name", "")[:MOST_LENGTH],
        environment=environment,
        attributes=bounded(event.attributes),
    )


def bounded(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """Attributes, as far as they are kept."""
    keys = sorted(attributes, key=lambda key: (key not in _TELLING, key))[:MOST_ATTRIBUTES]
    return {key[:MOST_LENGTH]: attributes[key][:MOST_LENGTH] for key in sorted(keys)}

"""Which events a filter lets through."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.host_events import EventFilter, Happened, Source

NOW = datetime(2026, 1, 1, tzinfo=UTC)

START = Happened(
    at=NOW,
    source=Source.ENGINE,
    kind="container",
    action="start",
    id="4f1c" * 16,
    name="lab-web-1",
    environment="lab",
    attributes={"name": "lab-web-1", "course": "web-101"},
)
HEALTH = Happened(at=NOW, source=Source.ENGINE, kind="container", action="health_status: healthy")
JOINED = Happened(
    at=NOW, source=Source.ENGINE, kind="network", action="connect", attributes={"container": "4f1c"}
)


@pytest.mark.parametrize(
    ("wanted", "event"),
    [
        (EventFilter(), START),
        (EventFilter(kinds=frozenset({"image", "container"})), START),
        (EventFilter(actions=frozenset({"start"})), START),
        (EventFilter(actions=frozenset({"health_status"})), HEALTH),
        (EventFilter(actions=frozenset({"health_status: healthy"})), HEALTH),
        (EventFilter(sources=frozenset({Source.ENGINE})), START),
        (EventFilter(environment="lab"), START),
        (EventFilter(container="lab-web-1"), START),
        (EventFilter(container="4f1c4f"), START),
        (EventFilter(container="4f1c"), JOINED),
        (EventFilter(labels=("course", "course=web-101")), START),
        (EventFilter(since=NOW, until=NOW + timedelta(seconds=1)), START),
    ],
)
def test_what_is_wanted_passes(wanted: EventFilter, event: Happened) -> None:
    assert wanted.takes(event)


@pytest.mark.parametrize(
    ("wanted", "event"),
    [
        (EventFilter(kinds=frozenset({"image"})), START),
        (EventFilter(actions=frozenset({"stop"})), START),
        (EventFilter(sources=frozenset({Source.AGENT})), START),
        (EventFilter(environment="other"), START),
        (EventFilter(environment="lab"), JOINED),
        (EventFilter(container="lab-web"), START),
        (EventFilter(container="lab-web-1"), JOINED),
        (EventFilter(labels=("course=web-102",)), START),
        (EventFilter(labels=("course", "other")), START),
        (EventFilter(since=NOW + timedelta(seconds=1)), START),
        (EventFilter(until=NOW), START),
    ],
)
def test_everything_else_does_not(wanted: EventFilter, event: Happened) -> None:
    assert not wanted.takes(event)

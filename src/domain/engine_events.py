"""What happens on the Engine, in its own words."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from domain.containers import PROJECT_LABEL, SERVICE_LABEL, ContainerAction, ContainerEvent


class EngineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened."""

    nanoseconds: int
    """When, since 1970. No two events of an Engine have the same, and later ones have more."""
    kind: str
    """What it happened to: ``container``, ``image``, ``network``, ``volume``, ``daemon``, …"""
    action: str
    """``start``, ``die``, ``tag``, ``health_status: healthy``, …"""
    id: str
    """Of what it happened to: an identifier, of an image also a name, of a volume its name."""
    attributes: Mapping[str, str] = {}
    """What else the Engine tells of it: of a container its name, image and labels, …"""

    @property
    def at(self) -> datetime:
        """When, to the microsecond."""
        return datetime.fromtimestamp(self.nanoseconds / 1e9, UTC)


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Events are, or may be, missing here."""

    missed: int | None = None
    """How many; None where nobody knows, and there may be none at all."""


_ACTIONS = {action.value: action for action in ContainerAction}


def container_event(event: EngineEvent) -> ContainerEvent | None:
    """The event as one of a container that the agent tells of; None if it is no such."""
    action, _, detail = event.action.partition(":")
    if event.kind != "container" or action not in _ACTIONS:
        return None
    exit_code = event.attributes.get("exitCode", "")
    return ContainerEvent(
        at=event.at,
        action=_ACTIONS[action],
        container=event.attributes.get("name", ""),
        container_id=event.id,
        project=event.attributes.get(PROJECT_LABEL),
        service=event.attributes.get(SERVICE_LABEL),
        exit_code=int(exit_code) if exit_code.lstrip("-").isdecimal() else None,
        signal=event.attributes.get("signal"),
        health=detail.strip() or None,
    )

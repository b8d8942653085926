"""What happened to an environment, to answer: why is it so?"""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.names import EnvironmentName, OperationId


class EntryKind(StrEnum):
    """What an entry tells of."""

    REQUESTED = "requested"
    STEP = "step"
    ENDED = "ended"
    CONTAINER = "container"
    LIFETIME = "lifetime"
    HOLD = "hold"
    NETWORK = "network"


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened."""

    at: datetime
    environment: EnvironmentName
    kind: EntryKind
    text: str
    """In words."""
    operation: OperationId | None = None
    by: str = ""
    """Who asked for it, or whom it came from."""
    container: str = ""
    exit_code: int | None = None
    number: int = 0
    """Its place among all that happened on this host, however the clock was set meanwhile."""

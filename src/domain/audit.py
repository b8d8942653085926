"""Who asked for what, and what came of it."""

from datetime import datetime
from enum import StrEnum

import msgspec

MAX_TEXT_LENGTH = 200
"""How many characters of what a caller sent are kept."""


class Outcome(StrEnum):
    """What came of a request."""

    OK = "ok"
    REFUSED = "refused"
    """It could not be done as it was asked for, or not by whoever asked."""
    FAILED = "failed"
    """It could have been done, and was not."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Holds no key, and nothing that a caller sent but names."""

    number: int = 0
    """Counts up in the store; 0 before it is there."""
    at: datetime
    subject: str = ""
    """The key's ``sub``; empty where none was accepted."""
    key_id: str = ""
    """The key's ``jti``."""
    address: str = ""
    """Of the peer, as the agent sees it."""
    method: str
    route: str
    """The path as the API's document has it."""
    path: str
    target: str = ""
    """The environment, bundle or operation that it was about."""
    operation: str = ""
    """The operation that it began or joined."""
    status: int
    code: str = ""
    """The kind of problem where it was refused or failed."""

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        return outcome_of(self.status)


def outcome_of(status: int) -> Outcome:
    """What an HTTP status says of a request."""
    if status < 400:
        return Outcome.OK
    return Outcome.REFUSED if status < 500 else Outcome.FAILED


def inert(text: str) -> str:
    """A caller's text, short and without anything that could steer a terminal or page."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= MAX_TEXT_LENGTH else f"{shown[:MAX_TEXT_LENGTH]}…"

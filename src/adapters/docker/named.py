"""What the Engine's refusal means for one container, image, network or volume."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import (
    AgentError,
    CapacityExceeded,
    EngineFull,
    EngineRefused,
    RequestUnreadable,
    ResourceAmbiguous,
    ResourceConflict,
    ResourceNotFound,
)

_AMBIGUOUS = re.compile(r"multiple ids found|is ambiguous", re.IGNORECASE)

# The Engine calls these faults of its own, though they lie in how things are.
_CONFLICTS = re.compile(
    r"is not paused|port is already allocated|address already in use|is already in use"
    r"|failed programming external connectivity|has active endpoints|marked for removal"
    r"|is not connected to|cannot \w+ a (?:stopped|paused) container|process already finished",
    re.IGNORECASE,
)

_NO_ADDRESS = re.compile(r"no available IPv[46] addresses on this network", re.IGNORECASE)

# And these, though they lie in what was asked for.
_UNREADABLE = re.compile(
    r"unable to find (?:user|group) |no matching entries in (?:passwd|group) file"
    r"|uids and gids must be in range|sethostname: invalid argument|error setting rlimits"
    r"|source \S+ is not directory",
    re.IGNORECASE,
)

_RETRY_SECONDS = 30

_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


@contextmanager
def named(kind: str, reference: str) -> Iterator[None]:
    """Turns the Engine's refusal of a call about one thing into what it means.

    Args:
        kind: ``container``, ``image``, ``network`` or ``volume``.
        reference: how it was named.

    Raises:
        ResourceNotFound: there is no such thing.
        ResourceAmbiguous: there are several.
        CapacityExceeded: the network has no address left for it.
        ResourceConflict: it cannot be done to it as it is, or what it needs is not there.
        RequestUnreadable: it can be done to nothing in that way.
        EngineFull: the Engine's disk is.
        EngineRefused: anything else.
    """
    try:
        yield
    except EngineFull:
        raise
    except EngineRefused as fault:
        meaning = meaning_of(fault, kind, reference)
        if meaning is fault:
            raise
        raise meaning from fault


def short(reference: str) -> str:
    """A reference as people read it: identifiers as Docker's own command shows them."""
    return reference[:12] if _IDENTIFIER.fullmatch(reference) else reference


def meaning_of(fault: EngineRefused, kind: str, reference: str) -> AgentError:
    """What a refusal means; the refusal itself where it is the Engine's own trouble."""
    if fault.status == 404 and _is_missing(fault.reason, kind):
        return ResourceNotFound(kind, reference)
    if fault.status in {400, 409} and _AMBIGUOUS.search(fault.reason):
        return ResourceAmbiguous(kind, reference)
    if fault.status in {400, 413, 422} or _UNREADABLE.search(fault.reason):
        return RequestUnreadable(fault.message)
    if _NO_ADDRESS.search(fault.reason):
        return CapacityExceeded(
            fault.message,
            hint="Remove a container of that network, or name another network.",
            retry_after=_RETRY_SECONDS,
        )
    if fault.status in {403, 404, 409} or _CONFLICTS.search(fault.reason):
        return ResourceConflict(fault.message)
    return fault


def _is_missing(reason: str, kind: str) -> bool:
    """Whether it is the thing itself that is missing, and not one that it needs."""
    said = re.search(r"no such (\w+)|(\w+) \S+ not found", reason, re.IGNORECASE)
    return said is None or (said[1] or said[2]).lower() == kind

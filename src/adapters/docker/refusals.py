"""Answers of the Engine that are errors, with its status and its own words."""

import re

import msgspec

from domain.errors import EngineFull, EngineRefused

_LONGEST_REASON = 1000

_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_NO_ROOM = "Make room on the Engine's disk: remove images and volumes that nothing uses."


class _Said(msgspec.Struct):
    message: str


def refusal(what: str, fault: Exception) -> EngineRefused:
    """The refusal that an error of docker-py tells of.

    Args:
        what: the call in words: "listing containers".
        fault: docker-py's.
    """
    reason = str(getattr(fault, "explanation", None) or "")
    return _refusal(what, getattr(fault, "status_code", None), reason, instead=str(fault))


def refused(what: str, status: int, body: str) -> EngineRefused:
    """The refusal that an answer tells of.

    Args:
        what: the call in words.
        status: of the answer.
        body: of the answer, in which the Engine says why.
    """
    try:
        reason = msgspec.json.decode(body, type=_Said).message
    except msgspec.MsgspecError:
        reason = body
    return _refusal(what, status, reason, instead=f"status {status}")


def _refusal(what: str, status: int | None, reason: str, *, instead: str) -> EngineRefused:
    return told(what, reason.strip()[:_LONGEST_REASON], status, instead=instead)


def told(what: str, reason: str, status: int | None = None, *, instead: str = "") -> EngineRefused:
    """The refusal that the Engine's words are, however they came.

    Args:
        what: the call in words.
        reason: the Engine's words.
        status: of its answer, where that was one of an error.
        instead: is shown where it has no words.
    """
    message = f"The Docker Engine refused {what}: {reason or instead}"
    if tells_of_no_room(reason):
        return EngineFull(message, hint=_NO_ROOM, status=status, reason=reason)
    return EngineRefused(message, status=status, reason=reason)


def tells_of_no_room(text: str) -> bool:
    """Whether the system's words are those for a disk without room."""
    return _FULL.search(text) is not None

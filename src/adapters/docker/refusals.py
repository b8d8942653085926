"""Answers of the Engine that are errors, with its status and its own words."""

import msgspec

from domain.errors import EngineRefused

_LONGEST_REASON = 1000


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
    reason = reason.strip()[:_LONGEST_REASON]
    message = f"The Docker Engine refused {what}: {reason or instead}"
    return EngineRefused(message, status=status, reason=reason)

"""What stands in headers, as values."""

import binascii
import re
from collections.abc import Iterator, Sequence

from domain.errors import RequestUnreadable

MAX_WAIT_SECONDS = 600.0
"""The longest that a caller is made to wait for what it asked for."""

MAX_IDEMPOTENCY_KEY_LENGTH = 200

# A member of a list, up to the comma that stands outside of quotes. A quote that is never closed
# runs to the end, so that no header is gone through more than once.
_MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)

_PREFERENCE = re.compile(r'[ \t]*([^\s=;,"]+)[ \t]*(?:=[ \t]*("[^"]*"|[^;"]*))?')
_WHOLE_NUMBER = re.compile(r"[0-9]+")

# The media range itself, and how much it is wanted.
_RANGE = re.compile(r"[ \t]*([^\s;,]+)")
_QUALITY = re.compile(r";[ \t]*q[ \t]*=[ \t]*([01](?:\.[0-9]{0,3})?)[ \t]*(?:;|\Z)", re.IGNORECASE)

_DIGEST = re.compile(r"([^\s=;:]+)=:([A-Za-z0-9+/]*={0,2}):[ \t]*(?:;.*)?", re.DOTALL)
_SHA_256 = re.compile(r"[A-Za-z0-9+/]{43}=?")

_VISIBLE = re.compile(r"[!-~]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')

# Eighteen digits fit whatever an event's number is kept in.
_EVENT_ID = re.compile(r"[0-9]{1,18}")


def prefer_wait(values: Sequence[str]) -> float | None:
    """For how many seconds a caller would like to wait (RFC 7240), at most ``MAX_WAIT_SECONDS``.

    None where it does not say, or says what is not a number: a preference never fails a request.
    Where it says it twice, the first counts.

    Args:
        values: every ``Prefer`` header.
    """
    for member in _members(values):
        preference = _PREFERENCE.match(member)
        if preference and preference[1].lower() == "wait":
            wanted = (preference[2] or "").strip('" \t')
            if not _WHOLE_NUMBER.fullmatch(wanted):
                return None
            return min(float(wanted), MAX_WAIT_SECONDS)
    return None


def accepted(values: Sequence[str], offered: Sequence[str], *, otherwise: str) -> str:
    """The media type, of those that are offered, that a caller wants most (RFC 9110).

    Ranges such as ``*/*`` want what comes to those who do not say.

    Args:
        values: every ``Accept`` header.
        offered: media types without parameters; of those wanted alike, the first counts.
        otherwise: the one of them for callers who do not say, or want none.
    """
    wanted: dict[str, float] = {}
    for member in _members(values):
        if found := _RANGE.match(member):
            quality = _QUALITY.search(member)
            wanted[found[1].lower()] = float(quality[1]) if quality else 1.0

    def quality_of(media_type: str) -> float:
        if media_type != otherwise or media_type in wanted:
            return wanted.get(media_type, 0.0)
        return wanted.get(f"{media_type.partition('/')[0]}/*", wanted.get("*/*", 0.0))

    best = max(offered, key=quality_of)
    return best if quality_of(best) else otherwise


def content_digest(values: Sequence[str]) -> bytes | None:
    """The SHA-256 that a body should have (RFC 9530).

    None where there is none, though others may be: those cannot be checked.

    Args:
        values: every ``Content-Digest`` header.

    Raises:
        RequestUnreadable: a digest is not spelled as one, or there are two that differ.
    """
    found = {digest for member in _members(values) if (digest := _sha_256(member)) is not None}
    if len(found) > 1:
        raise _bad_digest("names two sha-256 that differ")
    return found.pop() if found else None


def idempotency_key(values: Sequence[str]) -> str | None:
    """The key under which a request may be repeated, without the quotes it may have.

    Args:
        values: every ``Idempotency-Key`` header.

    Raises:
        RequestUnreadable: there is more than one, or it is not 1 to 200 visible characters.
    """
    if not values:
        return None
    if len(values) > 1:
        raise _bad_key("comes more than once")
    key = values[0].strip(" \t")
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if not quoted:
            raise _bad_key("begins with a quote and is not a quoted text")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    if len(key) > MAX_IDEMPOTENCY_KEY_LENGTH:
        raise _bad_key(f"is longer than {MAX_IDEMPOTENCY_KEY_LENGTH} characters")
    if not _VISIBLE.fullmatch(key):
        raise _bad_key("is empty or has characters other than visible ASCII")
    return key


def last_event_id(values: Sequence[str]) -> int:
    """The number of the last event that a caller has seen; 0 where it does not say one.

    Args:
        values: every ``Last-Event-ID`` header.
    """
    told = values[0].strip(" \t") if len(values) == 1 else ""
    return int(told) if _EVENT_ID.fullmatch(told) else 0


def _members(values: Sequence[str]) -> Iterator[str]:
    """The members of a header that is a list, whether it came in one or in several."""
    for value in values:
        for member in _MEMBER.findall(value):
            if not member.isspace():
                yield member.strip(" \t")


def _sha_256(member: str) -> bytes | None:
    told = _DIGEST.fullmatch(member)
    if not told:
        raise _bad_digest(f"has {_shown(member)}, which is not a digest")
    if told[1].lower() != "sha-256":
        return None
    if not _SHA_256.fullmatch(told[2]):
        raise _bad_digest("has a sha-256 that is not the base64 of 32 bytes")
    return binascii.a2b_base64(told[2].removesuffix("=") + "=")


def _bad_digest(why: str) -> RequestUnreadable:
    return RequestUnreadable(
        f"The Content-Digest header {why}.",
        hint="Write sha-256=:…: with the base64 of the body's SHA-256 between the colons.",
    )


def _bad_key(why: str) -> RequestUnreadable:
    return RequestUnreadable(
        f"The Idempotency-Key header {why}.",
        hint=f"Send one, of 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} visible ASCII characters,"
        " such as a UUID.",
    )


def _shown(text: str) -> str:
    """A text that somebody sent, as far as it is worth showing."""
    return repr(text if len(text) <= 40 else text[:40] + "…")

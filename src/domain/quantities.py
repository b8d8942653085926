"""Durations, moments and sizes, from the text that people write."""

import math
import re
from datetime import UTC, datetime
from fractions import Fraction

from domain.errors import RequestUnreadable

MAX_DURATION_SECONDS = 3653 * 86400.0
"""Ten years, whichever ten."""

MAX_SIZE_BYTES = 2**50

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_DURATION = re.compile(
    rf"(?P<only>{_NUMBER})"
    rf"|(?:(?P<d>{_NUMBER})d)?(?:(?P<h>{_NUMBER})h)?(?:(?P<m>{_NUMBER})m)?(?:(?P<s>{_NUMBER})s)?"
)
_UNIT_SECONDS = {"only": 1, "d": 86400, "h": 3600, "m": 60, "s": 1}

_UNIX_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

_SIZE = re.compile(
    rf"(?P<number>{_NUMBER}) ?(?:(?P<unit>[kmgtp])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE
)
_UNIT_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}


def seconds(text: str) -> float:
    """A duration in seconds, above 0 and at most ten years: ``90``, ``90s``, ``15m``, ``1h30m``.

    Raises:
        RequestUnreadable: it is no such duration.
    """
    parts = _DURATION.fullmatch(text)
    named = parts.groupdict() if parts else {}
    total = math.fsum(float(told) * _UNIT_SECONDS[unit] for unit, told in named.items() if told)
    if not 0 < total <= MAX_DURATION_SECONDS:
        raise RequestUnreadable(
            f"{_shown(text)} is not a duration.",
            hint="Write seconds, or days, hours, minutes and seconds in this order: 90, 15m, 2h,"
            " 1d, 1h30m; above 0 and at most 10 years.",
        )
    return total


def moment(text: str) -> datetime:
    """A moment in UTC, from a date and time with its offset (RFC 3339) or from UNIX seconds.

    Raises:
        RequestUnreadable: it is no such moment.
    """
    told = text.upper()
    try:
        if _UNIX_SECONDS.fullmatch(told):
            return datetime.fromtimestamp(float(told), UTC)
        if _DATE_TIME.fullmatch(told):
            return datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise _no_moment(text) from fault
    raise _no_moment(text)


def byte_size(text: str) -> int:
    """A number of bytes as Docker and Compose take them, at most 2⁵⁰: ``512m``, ``1.5g``, ``64k``.

    Units are powers of 1024, in either case, with or without ``b`` or ``ib`` after them. What is
    less than a byte is dropped.

    Raises:
        RequestUnreadable: it is no such size.
    """
    told = _SIZE.fullmatch(text)
    unit = (told["unit"] or "").lower() if told else ""
    size = int(Fraction(told["number"]) * _UNIT_BYTES[unit]) if told else -1
    if not 0 <= size <= MAX_SIZE_BYTES:
        raise RequestUnreadable(
            f"{_shown(text)} is not a size.",
            hint="Write bytes, or a number with k, m, g or t: 1048576, 64k, 512m, 1.5g; at most"
            f" {MAX_SIZE_BYTES} bytes.",
        )
    return size


def _no_moment(text: str) -> RequestUnreadable:
    return RequestUnreadable(
        f"{_shown(text)} is not a moment.",
        hint="Write 2026-01-31T12:00:00Z, 2026-01-31T13:00:00+01:00 (in a URL, %2B is the plus)"
        " or UNIX seconds.",
    )


def _shown(text: str) -> str:
    """A text that somebody sent, as far as it is worth showing."""
    return repr(text if len(text) <= 40 else text[:40] + "…")

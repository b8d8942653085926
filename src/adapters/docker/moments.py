"""Moments as the Engine writes them."""

from datetime import UTC, datetime

_NEVER = "0001-01-01"


def moment(text: str | None) -> datetime | None:
    """A moment, to the microsecond; None where the Engine means never, or wrote none."""
    if not text or text.startswith(_NEVER):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def engine_time(moment: datetime) -> str:
    """A moment as the Engine takes it: seconds since 1970, with a fraction."""
    return f"{moment.timestamp():.6f}"


def engine_stamp(nanoseconds: int) -> bytes:
    """A moment, in nanoseconds since 1970, as the Engine writes it before lines; these sort."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z".encode()

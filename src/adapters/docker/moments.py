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

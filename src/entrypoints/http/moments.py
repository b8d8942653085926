"""Moments as callers write them."""

from datetime import datetime, timedelta

from domain.quantities import moment, seconds
from entrypoints.agent import Agent


def moment_or_ago(agent: Agent, text: str | None) -> datetime | None:
    """A moment (RFC 3339 or UNIX seconds), or so long ago: ``10m``; None where there is none.

    Raises:
        RequestUnreadable: it is neither.
    """
    if text is None:
        return None
    if text[-1:] in {"s", "m", "h", "d"}:
        return agent.clock.now() - timedelta(seconds=seconds(text))
    return moment(text)

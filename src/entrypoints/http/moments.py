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
        return ago(agent, text)
    return moment(text)


def ago(agent: Agent, text: str) -> datetime:
    """The moment so long ago: ``24h``.

    Raises:
        RequestUnreadable: it is no span of time.
    """
    return agent.clock.now() - timedelta(seconds=seconds(text))

"""The log, one event for each call."""

from typing import Protocol

LogValue = str | int | float | bool | None


class Log(Protocol):
    """Where the agent tells its operator what it does.

    Events are short phrases that stay the same from call to call; what varies goes into fields.
    A secret must never be passed; adapters take out the ones they know all the same.
    """

    def debug(self, event: str, **fields: LogValue) -> None:
        """What only a developer asks for."""
        ...

    def info(self, event: str, **fields: LogValue) -> None:
        """What happens in the ordinary course of things."""
        ...

    def warning(self, event: str, **fields: LogValue) -> None:
        """What works all the same but should be looked at."""
        ...

    def error(self, event: str, **fields: LogValue) -> None:
        """What did not work."""
        ...

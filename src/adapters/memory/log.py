"""A log to look things up in."""

from domain.ports.log import LogValue


class MemoryLog:
    """Twin of ``StdlibLog``."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, LogValue]]] = []
        """Level, event and fields, in order."""

    def debug(self, event: str, **fields: LogValue) -> None:
        """What only a developer asks for."""
        self.events.append(("DEBUG", event, fields))

    def info(self, event: str, **fields: LogValue) -> None:
        """What happens in the ordinary course of things."""
        self.events.append(("INFO", event, fields))

    def warning(self, event: str, **fields: LogValue) -> None:
        """What works all the same but should be looked at."""
        self.events.append(("WARNING", event, fields))

    def error(self, event: str, **fields: LogValue) -> None:
        """What did not work."""
        self.events.append(("ERROR", event, fields))

    def named(self, event: str) -> list[dict[str, LogValue]]:
        """The fields of each event of that name."""
        return [fields for _, name, fields in self.events if name == event]

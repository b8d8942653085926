"""The log through the standard library: one event a line, JSON or for a terminal."""

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from domain.ports.log import LogValue

LOGGER = "host_agent"

_SHORTEST_SECRET = 8
"""Shorter texts would be taken out of innocent lines."""

_LINES_AND_ORDER = [0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""Characters that break a line, or turn the order in which it is shown."""

_CONTROL = (
    {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)]}
    | {code: f"\\u{code:04x}" for code in _LINES_AND_ORDER}
    | {ord("\n"): "\\n", ord("\t"): "\\t"}
)


class StdlibLog:
    """Hands events to the standard library's logging."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(LOGGER)

    def debug(self, event: str, **fields: LogValue) -> None:
        """What only a developer asks for."""
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: LogValue) -> None:
        """What happens in the ordinary course of things."""
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: LogValue) -> None:
        """What works all the same but should be looked at."""
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: LogValue) -> None:
        """What did not work."""
        self._logger.error(event, extra={"fields": fields})


def configure_logging(
    level: str, *, json: bool, secrets: Sequence[str], stream: TextIO | None = None
) -> logging.Handler:
    """Sends all logging of the process to ``stream``, standard output by default.

    Args:
        level: the least level of the agent's own events; of others' only warnings are shown.
        json: one JSON object a line; else lines for a terminal.
        secrets: texts that are replaced wherever they would appear.
        stream: where to.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_JsonLines(secrets) if json else _TerminalLines(secrets))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level)
    logging.captureWarnings(capture=True)
    return handler


class _Lines(logging.Formatter):
    """Formats a record as one line that holds no secret."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        # The longest first: one may be part of another.
        known = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        self._secrets = sorted(known, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        given = getattr(record, "fields", None)
        fields: dict[str, LogValue] = dict(given) if isinstance(given, dict) else {}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        safe = {
            name: self._safe(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        return self.line(record, self._safe(_message(record)), safe)

    def line(self, record: logging.LogRecord, event: str, fields: dict[str, LogValue]) -> str:
        """The line for one event."""
        raise NotImplementedError

    def _safe(self, text: str) -> str:
        """The text without secrets, and without what no stream can encode."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text.encode(errors="replace").decode()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a foreign record's arguments fail in any way
        # Left to logging, the arguments would go to standard error, secrets and all.
        return str(record.msg)


class _JsonLines(_Lines):
    def line(self, record: logging.LogRecord, event: str, fields: dict[str, LogValue]) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "event": event,
            **{name if name not in _RESERVED else f"{name}_": v for name, v in fields.items()},
        }
        text = msgspec.json.encode(document).decode()
        return text.translate(_BEYOND_ASCII_CONTROL)


_RESERVED = {"time", "level", "logger", "event"}

# JSON escapes what is below a space; these steer terminals just as well.
_BEYOND_ASCII_CONTROL = {code: f"\\u{code:04x}" for code in [*range(127, 160), *_LINES_AND_ORDER]}


class _TerminalLines(_Lines):
    def line(self, record: logging.LogRecord, event: str, fields: dict[str, LogValue]) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        shown = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
        return f"{moment} {record.levelname:<7} {event.translate(_CONTROL)}  {shown}".rstrip()


def _shown(value: LogValue) -> str:
    text = str(value).translate(_CONTROL)
    return f'"{text}"' if " " in text or not text else text

"""The process's logging, turned to a text for the length of a test."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from adapters.stdlib_log import LOGGER, configure_logging


@contextmanager
def logging_to(
    stream: io.StringIO, *, json: bool, level: str = "DEBUG", secrets: Sequence[str] = ()
) -> Iterator[None]:
    """Configures logging as the agent does, and puts all back afterwards.

    For the body of a test: between fixtures and test pytest changes the handlers itself.
    """
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before = (root.handlers, root.level, ours.level)
    configure_logging(level, json=json, secrets=secrets, stream=stream)
    try:
        yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])
        logging.captureWarnings(capture=False)

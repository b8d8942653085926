"""What every log does: the standard library's, and the one to look things up in."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from adapters.memory.log import MemoryLog
from adapters.stdlib_log import StdlibLog
from domain.ports.log import Log, LogValue
from tests.support.logs import logging_to

Event = tuple[str, str, dict[str, LogValue]]


@dataclass(frozen=True)
class World:
    """A log, and a way to see what it was told: level, event and fields."""

    log: Log
    events: Callable[[], list[Event]]


Opened = Callable[[], AbstractContextManager[World]]


@contextmanager
def in_memory() -> Iterator[World]:
    memory = MemoryLog()
    yield World(memory, lambda: memory.events)


@contextmanager
def through_stdlib() -> Iterator[World]:
    stream = io.StringIO()
    with logging_to(stream, json=True):
        yield World(StdlibLog(), lambda: [_event(line) for line in _lines(stream)])


# Opened in the test itself: pytest puts handlers of its own in place between fixture and test.
opened = pytest.mark.parametrize("opened", [in_memory, through_stdlib])


def _lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def _event(line: str) -> Event:
    document = json.loads(line)
    level, event = document.pop("level"), document.pop("event")
    del document["time"], document["logger"]
    return level, event, document


@opened
class TestPort:
    """What the port promises."""

    def test_each_call_is_one_event_of_its_level(self, opened: Opened) -> None:
        with opened() as world:
            world.log.debug("asked")
            world.log.info("done")
            world.log.warning("odd")
            world.log.error("failed")

            assert world.events() == [
                ("DEBUG", "asked", {}),
                ("INFO", "done", {}),
                ("WARNING", "odd", {}),
                ("ERROR", "failed", {}),
            ]

    def test_fields_keep_their_types(self, opened: Opened) -> None:
        with opened() as world:
            fields: dict[str, LogValue] = {"a": "b", "n": 3, "x": 1.5, "yes": True, "none": None}

            world.log.info("heartbeat acknowledged", **fields)

            assert world.events() == [("INFO", "heartbeat acknowledged", fields)]

    @pytest.mark.parametrize(
        "text", ["100 % of %s", "{0}", "two\nlines", "\x1b[31mred", "ü🔑", '"quoted"', "\0", ""]
    )
    def test_any_text_arrives_as_it_was_given(self, opened: Opened, text: str) -> None:
        with opened() as world:
            world.log.info(text, value=text)

            assert world.events() == [("INFO", text, {"value": text})]

    def test_no_text_makes_it_fail(self, opened: Opened) -> None:
        with opened() as world:
            world.log.error("lone \ud800", value="\udcff")

            assert len(world.events()) == 1

    @pytest.mark.parametrize("name", ["msg", "args", "exc_info", "fields", "extra", "stack_info"])
    def test_a_field_may_have_any_name(self, opened: Opened, name: str) -> None:
        with opened() as world:
            world.log.info("done", **{name: "x"})

            assert world.events() == [("INFO", "done", {name: "x"})]

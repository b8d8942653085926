"""How events become lines: one each, without secrets, inert in a terminal."""

import io
import json
import logging
import re
import warnings
from collections.abc import Sequence
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.stdlib_log import StdlibLog
from tests.support.logs import logging_to

SECRET = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"
FORMS = pytest.mark.parametrize("json_lines", [True, False], ids=["json", "terminal"])


class Logged:
    """Logging turned to a text that can be read line by line."""

    def __init__(
        self, *, json_lines: bool, level: str = "DEBUG", secrets: Sequence[str] = (SECRET,)
    ) -> None:
        self.stream = io.StringIO()
        self._turned = logging_to(self.stream, json=json_lines, level=level, secrets=secrets)

    def __enter__(self) -> Self:
        self._turned.__enter__()
        return self

    def __exit__(self, *fault: object) -> None:
        self._turned.__exit__(None, None, None)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class TestJson:
    """Lines for machines."""

    def test_a_line_tells_when_how_grave_who_and_what(self) -> None:
        with Logged(json_lines=True) as logged:
            StdlibLog().info("heartbeat acknowledged", cpu=3, mem=10)

        document = json.loads(logged.lines[0])
        assert list(document) == ["time", "level", "logger", "event", "cpu", "mem"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["time"])
        assert [document[name] for name in ("level", "logger", "cpu")] == ["INFO", "host_agent", 3]

    def test_a_field_does_not_take_the_place_of_what_every_line_has(self) -> None:
        with Logged(json_lines=True) as logged:
            StdlibLog().info("done", level="high", time="noon", logger="me")

        document = json.loads(logged.lines[0])
        assert (document["level"], document["level_"]) == ("INFO", "high")
        assert (document["time_"], document["logger_"]) == ("noon", "me")

    def test_numbers_that_json_has_not_become_null(self) -> None:
        with Logged(json_lines=True) as logged:
            StdlibLog().info("done", a=float("nan"), b=float("inf"))

        document = json.loads(logged.lines[0])
        assert (document["a"], document["b"]) == (None, None)


class TestTerminal:
    """Lines for people."""

    def test_a_line_reads_well(self) -> None:
        with Logged(json_lines=False) as logged:
            StdlibLog().info("heartbeat acknowledged", cpu=3, mem=10)
            StdlibLog().error("failed", reason="no such host", code="")

        assert re.fullmatch(
            r"\d\d:\d\d:\d\d INFO    heartbeat acknowledged  cpu=3 mem=10", logged.lines[0]
        )
        assert logged.lines[1].endswith('ERROR   failed  reason="no such host" code=""')


@FORMS
class TestLines:
    """What both forms keep to."""

    @pytest.mark.parametrize(
        "text",
        [
            "a\nb",
            "a\r\nb",
            "a\x0bb\x0cb",
            "\x1b[2J",
            "\x9b31m",
            "\x85",
            "\u2028",
            "\u202eb",
            "\x7f",
        ],
    )
    def test_an_event_is_one_line_that_steers_no_terminal(
        self, json_lines: bool, text: str
    ) -> None:
        with Logged(json_lines=json_lines) as logged:
            StdlibLog().warning(text, value=text)
            logging.getLogger("docker").warning("%s", text)

        assert len(logged.lines) == 2
        assert logged.text.replace("\n", "").isprintable()

    def test_a_secret_is_taken_out_wherever_it_stands(self, json_lines: bool) -> None:
        with Logged(json_lines=json_lines) as logged:
            StdlibLog().info(f"key {SECRET}", header=f"X-Server-Key: {SECRET}!")
            logging.getLogger("httpx").warning("sent %s", {"key": SECRET})
            logging.getLogger("uvicorn.error").error(SECRET)

        assert SECRET not in logged.text
        assert logged.text.count("[secret]") == 4

    def test_a_secret_is_taken_out_of_a_fault(self, json_lines: bool) -> None:
        with Logged(json_lines=json_lines) as logged:
            try:
                int(SECRET)
            except ValueError:
                logging.getLogger("uvicorn.error").exception("failed")

        assert len(logged.lines) == 1
        assert "ValueError: invalid literal" in logged.text
        assert SECRET not in logged.text

    def test_of_secrets_within_secrets_nothing_stays(self, json_lines: bool) -> None:
        with Logged(json_lines=json_lines, secrets=["password", "password-and-more"]) as logged:
            StdlibLog().info("password-and-more")

        assert "and-more" not in logged.text

    def test_texts_too_short_for_a_secret_are_left(self, json_lines: bool) -> None:
        with Logged(json_lines=json_lines, secrets=["", "a", "lab"]) as logged:
            StdlibLog().info("a lab starts")

        assert "a lab starts" in logged.text

    def test_a_foreign_record_that_cannot_be_formed_is_shown_without_its_arguments(
        self, json_lines: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Logged(json_lines=json_lines) as logged:
            form = "%d of %d"
            logging.getLogger("docker").warning(form, SECRET)
            logging.getLogger("docker").warning("odd", extra={"fields": "none"})

        assert "%d of %d" in logged.lines[0]
        assert "odd" in logged.lines[1]
        assert capsys.readouterr().err == ""

    def test_what_no_stream_can_encode_is_replaced(self, json_lines: bool) -> None:
        with Logged(json_lines=json_lines) as logged:
            StdlibLog().info("lone \ud800", value="\udcff")

        assert logged.text.encode()

    def test_of_others_only_warnings_are_shown(self, json_lines: bool) -> None:
        names = ["uvicorn.access", "uvicorn.error", "httpx", "httpcore", "docker", "urllib3"]
        with Logged(json_lines=json_lines) as logged:
            for name in names:
                logging.getLogger(name).info("ordinary")
                logging.getLogger(name).warning("odd")

        assert len(logged.lines) == len(names)
        assert "ordinary" not in logged.text

    def test_of_its_own_what_the_level_lets_through(self, json_lines: bool) -> None:
        with Logged(json_lines=json_lines, level="WARNING") as logged:
            StdlibLog().debug("one")
            StdlibLog().info("two")
            StdlibLog().warning("three")
            StdlibLog().error("four")

        assert [line for line in logged.lines if "one" in line or "two" in line] == []
        assert len(logged.lines) == 2

    def test_pythons_own_warnings_are_events_too(self, json_lines: bool) -> None:
        with warnings.catch_warnings(), Logged(json_lines=json_lines) as logged:
            warnings.simplefilter("always")
            warnings.warn(f"old way, {SECRET}", stacklevel=1)

        assert len(logged.lines) == 1
        assert "old way, [secret]" in logged.text


@given(event=st.text(), value=st.text(), json_lines=st.booleans())
def test_whatever_is_said_it_is_one_line_without_the_secret(
    event: str, value: str, json_lines: bool
) -> None:
    with Logged(json_lines=json_lines) as logged:
        StdlibLog().info(event + SECRET, value=SECRET + value)

    assert len(logged.lines) == 1
    assert SECRET not in logged.text

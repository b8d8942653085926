"""Commands for containers, as callers ask for them, and what came of them."""

import base64
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from domain.container_exec import ExecOrder, TerminalSize
from domain.errors import RequestUnreadable
from domain.quantities import seconds
from domain.usecases.container_execution import KeptOutput, RunCommand
from entrypoints.http.environment_requests import Duration, Size, size_bytes

DEFAULT_SECONDS = 30.0
MOST_SECONDS = 600.0
DEFAULT_BYTES = 1024 * 1024
MOST_BYTES = 16 * 1024 * 1024

_LONGEST_REST = 3


class Encoding(StrEnum):
    """How output is given."""

    AUTO = "auto"
    """As text where it is UTF-8, else as base64."""
    BASE64 = "base64"


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command for a container that runs."""

    command: list[str]
    """A program and its arguments; there is no shell unless it is named: `["sh", "-c", "…"]`."""
    env: Mapping[str, str] = {}
    """Beside the container's own."""
    working_dir: str = ""
    """The container's own where it is empty."""
    user: str = ""
    """A name or number of the container, perhaps with a group: `1000:1000`."""
    timeout: Duration = DEFAULT_SECONDS
    """Up to ten minutes."""
    output_limit: Size = DEFAULT_BYTES
    """How much is kept of stdout, and of stderr: up to 16 MiB each."""
    encoding: Encoding = Encoding.AUTO
    privileged: bool = False
    """Refused where it is true."""

    def order(self) -> ExecOrder:
        """The command in the agent's own words."""
        return ExecOrder(
            command=tuple(self.command),
            env=self.env,
            working_dir=self.working_dir,
            user=self.user,
            privileged=self.privileged,
        )

    def most_seconds(self) -> float:
        """How long it may run.

        Raises:
            RequestUnreadable: that is too long, or no time at all.
        """
        asked = self.timeout
        found = seconds(asked) if isinstance(asked, str) else asked
        if not 0 < found <= MOST_SECONDS:
            raise RequestUnreadable(f"timeout must be more than 0 and at most {MOST_SECONDS:g} s.")
        return found

    def most_bytes(self) -> int:
        """How much is kept of each stream.

        Raises:
            RequestUnreadable: that is too much.
        """
        found = size_bytes(self.output_limit) or 0
        if not 0 <= found <= MOST_BYTES:
            raise RequestUnreadable(f"output_limit must be at most {MOST_BYTES} bytes.")
        return found


EXAMPLE = {
    "command": ["sh", "-c", "nginx -t && wc -c < /etc/nginx/nginx.conf"],
    "env": {"LANG": "C"},
    "working_dir": "/etc/nginx",
    "user": "root",
    "timeout": "10s",
    "output_limit": "64k",
}
"""A request, for the OpenAPI document."""


ANSWER = {
    "exit_code": 0,
    "timed_out": False,
    "may_run_on": False,
    "seconds": 0.071,
    "stdout": {"text": "648\n", "size": 4, "cut": False},
    "stderr": {"text": "nginx: configuration file … is successful\n", "size": 44, "cut": False},
}
"""What comes of it, for the same document."""


class StreamOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command printed to one of its streams."""

    text: str | None = None
    """Exactly as it was printed, where that is UTF-8 and nobody asked for base64."""
    base64: str | None = None
    """The bytes, where it is not."""
    size: int
    """Bytes of all that was printed."""
    cut: bool
    """Whether more was printed than was kept."""


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was run."""

    exit_code: int | None
    """Null where its time ran out, or its container ended before it."""
    timed_out: bool
    """Whether its time ran out; it was ended then."""
    may_run_on: bool
    """Whether it could not be ended for certain."""
    seconds: float
    """How long it took."""
    stdout: StreamOutput
    stderr: StreamOutput


def result(run: RunCommand, encoding: Encoding) -> ExecResult:
    """A command that was run, as it is shown."""
    return ExecResult(
        exit_code=run.exit_code,
        timed_out=run.timed_out,
        may_run_on=run.may_run_on,
        seconds=round(run.seconds, 3),
        stdout=_output(run.stdout, encoding),
        stderr=_output(run.stderr, encoding),
    )


def _output(kept: KeptOutput, encoding: Encoding) -> StreamOutput:
    text = None if encoding is Encoding.BASE64 else _text(kept)
    coded = base64.b64encode(kept.data).decode() if text is None else None
    return StreamOutput(text=text, base64=coded, size=kept.size_bytes, cut=kept.is_cut)


def _text(kept: KeptOutput) -> str | None:
    """What was kept as text, without a character that was cut in two; None where it is none."""
    try:
        return kept.data.decode()
    except UnicodeDecodeError as fault:
        rest = len(kept.data) - fault.start
        if kept.is_cut and rest <= _LONGEST_REST and fault.reason == "unexpected end of data":
            return kept.data[: fault.start].decode()
        return None


def terminal_order(
    command: Sequence[str],
    variables: Sequence[str],
    *,
    working_dir: str,
    user: str,
    size: TerminalSize | None,
) -> ExecOrder:
    """A command to speak with, of the values of a query.

    Raises:
        RequestUnreadable: a variable has no name or no value.
    """
    pairs = [variable.partition("=") for variable in variables]
    if any(not equals for _, equals, _ in pairs):
        raise RequestUnreadable("A variable is given as env=NAME=value.")
    return ExecOrder(
        command=tuple(command),
        env={name: value for name, _, value in pairs},
        working_dir=working_dir,
        user=user,
        terminal=size,
        input=True,
    )

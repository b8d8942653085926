"""Limits of a running agent, tightened to what it uses and loosened again."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import engine
from tests.support.agent_process import Process

NOBODY = 50_000 + secrets.randbelow(10_000)
"""A user that has nothing else, since the kernel counts what all processes of one user have.

Another one each time, as tests can run twice at once on one machine.
"""


_RIGHTS = "-all,+dac_override"
"""What that user may still do: read the interpreter, wherever that lies."""


def as_user(number: int) -> list[str]:
    """A command that runs another as a user for whom the kernel counts; root is let off."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a program as another user")
    if shutil.which("setpriv") is None:
        engine.skip_or_fail("setpriv is not installed, which runs a program as another user")
    return [
        *("setpriv", "--reuid", str(number), "--regid", str(number), "--clear-groups"),
        *("--inh-caps", _RIGHTS, "--ambient-caps", _RIGHTS, "--bounding-set", _RIGHTS),
    ]


class Limit:
    """One limit of a running agent."""

    def __init__(self, agent: Process, name: str, through: Sequence[str] = ()) -> None:
        self._command = [*through, "prlimit", "--pid", str(agent.process.pid)]
        self._agent = agent
        self._name = name
        self._before = self._run(f"--{name}", "--output", "SOFT", "--noheadings").strip()

    def tighten(self, value: int) -> None:
        """Sets it."""
        self._run(f"--{self._name}={value}:")

    def loosen(self) -> None:
        """Sets it to what it was, unless the agent did not survive it."""
        if not self._agent.gone():
            self._run(f"--{self._name}={self._before}:")

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._command, *arguments], check=True, capture_output=True, text=True
        ).stdout


@contextmanager
def limited(agent: Process, name: str, value: int, through: Sequence[str] = ()) -> Iterator[Limit]:
    """Holds a running agent to a limit."""
    limit = Limit(agent, name, through)
    limit.tighten(value)
    try:
        yield limit
    finally:
        limit.loosen()


def open_files(agent: Process) -> int:
    """How many files an agent has open."""
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))  # noqa: PTH208 - the number is wanted


def status(agent: Process, name: str) -> int:
    """A figure of the kernel's about an agent."""
    lines = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1])

"""How urgent the agent is among what runs on the host."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.urgency import AHEAD

AUTOGROUP = Path("/proc/self/autogroup")
SHOWN = """
import os
from pathlib import Path
from entrypoints.urgency import go_first
def show():
    session = Path("/proc/self/autogroup")
    told = session.read_text().split()[-1] if session.exists() else "0"
    print(os.getpriority(os.PRIO_PROCESS, 0), told)
show(); go_first(); show()
"""


def before_and_after(*, own_session: bool) -> list[tuple[int, int]]:
    """The niceness of an agent's process and of its session."""
    done = subprocess.run(
        [sys.executable, "-c", SHOWN],
        start_new_session=own_session,
        check=True,
        capture_output=True,
        text=True,
    )
    found = [line.split() for line in done.stdout.splitlines()]
    return [(int(process), int(session)) for process, session in found]


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user cannot go ahead of others")
def test_it_goes_ahead_of_others() -> None:
    before, after = before_and_after(own_session=True)

    assert after[0] == before[0] - AHEAD
    assert after[1] == (before[1] - AHEAD if AUTOGROUP.exists() else before[1])


def test_a_session_that_others_share_stays_as_it_is() -> None:
    before, after = before_and_after(own_session=False)

    assert after[1] == before[1]

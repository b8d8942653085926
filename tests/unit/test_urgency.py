"""How urgent the agent is among what runs on the host."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.urgency import AHEAD, AUTOGROUP

SHOWN = """
import os, sys
from pathlib import Path
from entrypoints import urgency
urgency.AUTOGROUP = Path(sys.argv[1])
def show():
    told = urgency.AUTOGROUP.read_text().split() if urgency.AUTOGROUP.exists() else []
    print(os.getpriority(os.PRIO_PROCESS, 0), told[-1] if told else 0)
show(); urgency.go_first(); show()
"""


def before_and_after(*, own_session: bool, autogroup: Path = AUTOGROUP) -> list[tuple[int, int]]:
    """The niceness of an agent's process and of its session."""
    done = subprocess.run(
        [sys.executable, "-c", SHOWN, str(autogroup)],
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


@pytest.mark.parametrize("told", ["", None], ids=["the first session of all", "no groups"])
def test_a_system_that_weighs_no_sessions_is_no_fault(tmp_path: Path, told: str | None) -> None:
    autogroup = tmp_path / "autogroup"
    if told is not None:
        autogroup.write_text(told)

    before_and_after(own_session=True, autogroup=autogroup)

    assert (autogroup.read_text() if autogroup.exists() else None) == told

"""``container-host-agent withdraw``, which takes away what a stopped agent left in the firewall."""

import os
import shutil
import subprocess
import sys

import anyio
import pytest

from adapters.iptables_firewall import CHAIN, SEARCH_PATH
from adapters.memory.firewall import MemoryFirewall
from entrypoints.cli.withdraw import run_withdraw
from tests.support import engine

LEFT = f"""
set -e
iptables -t mangle -N {CHAIN}-ARRIVAL
iptables -t mangle -N {CHAIN}-CUT
iptables -t mangle -N {CHAIN}-BETWEEN
iptables -t mangle -A {CHAIN}-CUT -s 10.214.0.0/24 -j DROP
iptables -t mangle -I INPUT -j {CHAIN}-CUT
iptables -t mangle -A INPUT -s 192.0.2.1 -j DROP
"""
"""Rules of an agent, and one of somebody else."""


def test_no_rules_stand_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    firewall = MemoryFirewall()
    anyio.run(firewall.protect, "10.214.0.0/24")

    run_withdraw(firewall)

    assert firewall.pool == ""
    assert "No firewall rules" in capsys.readouterr().out


def test_whoever_may_not_is_told_why(capsys: pytest.CaptureFixture[str]) -> None:
    firewall = MemoryFirewall()
    firewall.refusal = "Only root may."

    with pytest.raises(SystemExit) as ended:
        run_withdraw(firewall)

    assert ended.value.code == 1
    assert capsys.readouterr().err == "Firewall rules may still stand: Only root may.\n"


@pytest.mark.engine
def test_the_command_takes_away_the_agents_rules_and_nobody_elses() -> None:
    if reason := missing():
        engine.skip_or_fail(reason)

    ended = apart(f"{LEFT} {sys.executable} -m entrypoints.cli.main withdraw; iptables-save")

    assert ended.returncode == 0, ended.stderr
    assert "No firewall rules" in ended.stdout
    assert CHAIN not in ended.stdout
    assert "-A INPUT -s 192.0.2.1/32 -j DROP" in ended.stdout


def missing() -> str:
    """Why there is no packet filter of one's own to be had; empty if there is."""
    if os.geteuid() != 0:
        return "only root may set rules"
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    tried = apart("iptables -t mangle -S")
    return "" if tried.returncode == 0 else f"iptables does not work: {tried.stderr}"


def apart(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in a network of its own, so that the host's rules stay as they are."""
    return subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        env={"PATH": SEARCH_PATH, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

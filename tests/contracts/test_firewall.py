"""What every packet filter does: the host's own, and the twin that filters nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import SystemRandom
from uuid import uuid4

import anyio
import pytest

from adapters import iptables_firewall
from adapters.iptables_firewall import SEARCH_PATH, IptablesFirewall
from adapters.memory.firewall import MemoryFirewall
from adapters.memory.log import MemoryLog
from domain.ports.firewall import Firewall
from tests.support import engine

pytestmark = pytest.mark.anyio


class World:
    """A packet filter, and ways to look at it and to interfere."""

    def __init__(self, firewall: Firewall, log: MemoryLog) -> None:
        self.firewall = firewall
        self.log = log
        # Nobody else's: a running agent has another pool, and so have tests beside this one.
        self.pool = f"10.217.{SystemRandom().randrange(240)}.0/24"

    def later(self) -> Firewall:
        """The filter as an agent finds it that starts later."""
        raise NotImplementedError

    def stands(self) -> bool:
        """Whether the rules do."""
        raise NotImplementedError

    def flush(self) -> None:
        """Takes the rules away behind the agent's back."""
        raise NotImplementedError

    def told(self) -> Sequence[str]:
        """The levels of what was logged, but for developers' own."""
        return sorted({level for level, _, _ in self.log.events} - {"DEBUG"})


class MemoryWorld(World):
    def __init__(self) -> None:
        log = MemoryLog()
        self.memory = MemoryFirewall(log)
        super().__init__(self.memory, log)

    def later(self) -> Firewall:
        return self.memory

    def stands(self) -> bool:
        return self.memory.pool == self.pool

    def flush(self) -> None:
        self.memory.vanish()


class IptablesWorld(World):
    def __init__(self) -> None:
        log = MemoryLog()
        self.chain = f"T-{uuid4().hex[:12]}"
        super().__init__(IptablesFirewall(log, chain=self.chain), log)

    def later(self) -> Firewall:
        return IptablesFirewall(self.log, chain=self.chain)

    def stands(self) -> bool:
        return f"-A {self.chain}-CUT -s {self.pool} -j DROP" in self.saved()

    def saved(self) -> str:
        """The table as it is."""
        return iptables("-save", "-t", "mangle")

    def flush(self) -> None:
        """What a reload of firewalld does, but to nobody else's rules."""
        chains = {"PREROUTING": "ARRIVAL", "INPUT": "CUT", "FORWARD": "BETWEEN"}
        for hook, end in chains.items():
            iptables("", "-w", "-t", "mangle", "-D", hook, "-j", f"{self.chain}-{end}")
            iptables("", "-w", "-t", "mangle", "-F", f"{self.chain}-{end}")
        for end in chains.values():
            iptables("", "-w", "-t", "mangle", "-X", f"{self.chain}-{end}")


def iptables(program: str, *arguments: str) -> str:
    """What ``iptables`` or one of its siblings prints."""
    return subprocess.run(
        [f"iptables{program}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
        env={"PATH": SEARCH_PATH},
    ).stdout


def missing() -> str:
    """Why no rules can be set here; empty if they can."""
    if os.geteuid() != 0:
        return "only root may set rules"
    if shutil.which("iptables-save", path=SEARCH_PATH) is None:
        return "iptables is not installed"
    try:
        iptables("-save", "-t", "mangle")
    except subprocess.SubprocessError as fault:
        return f"iptables does not work: {fault}"
    return ""


@pytest.fixture(params=["memory", pytest.param("iptables", marks=pytest.mark.engine)])
def world(request: pytest.FixtureRequest) -> World:
    chosen: World = MemoryWorld() if request.param == "memory" else request.getfixturevalue("real")
    return chosen


@pytest.fixture
def real() -> Iterator[IptablesWorld]:
    if reason := missing():
        engine.skip_or_fail(reason)
    world = IptablesWorld()
    yield world
    anyio.run(world.firewall.withdraw)
    assert world.chain not in world.saved()


async def test_rules_stand_once_they_are_asked_for(world: World) -> None:
    state = await world.firewall.protect(world.pool)

    assert (state.active, state.reason) == (True, "")
    assert world.stands()
    assert world.told() == ["INFO"]


async def test_to_ask_again_changes_and_says_nothing(world: World) -> None:
    await world.firewall.protect(world.pool)
    world.log.events.clear()

    assert (await world.firewall.protect(world.pool)).active
    assert world.stands()
    assert world.told() == []


async def test_to_ask_twice_at_once_is_to_ask_once(world: World) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(world.firewall.protect, world.pool)

    assert world.stands()
    assert world.told() == ["INFO"]


async def test_rules_that_others_took_away_come_back_with_a_warning(world: World) -> None:
    await world.firewall.protect(world.pool)
    world.log.events.clear()
    world.flush()
    assert not world.stands()

    assert (await world.firewall.protect(world.pool)).active
    assert world.stands()
    assert world.told() == ["WARNING"]


async def test_another_pool_takes_the_place_of_the_first(world: World) -> None:
    await world.firewall.protect("10.214.250.0/24")
    assert not world.stands()

    assert (await world.firewall.protect(world.pool)).active
    assert world.stands()


async def test_withdrawn_rules_are_gone_and_may_be_withdrawn_again(world: World) -> None:
    await world.firewall.withdraw()
    await world.firewall.protect(world.pool)

    assert await world.firewall.withdraw() == ""
    assert not world.stands()
    assert await world.firewall.withdraw() == ""


async def test_rules_may_come_again_after_they_were_withdrawn(world: World) -> None:
    await world.firewall.protect(world.pool)
    await world.firewall.withdraw()
    world.log.events.clear()

    assert (await world.firewall.protect(world.pool)).active
    assert world.stands()
    assert world.told() == ["INFO"]


async def test_a_later_agent_takes_over_the_rules_of_an_earlier_one(world: World) -> None:
    await world.firewall.protect(world.pool)
    later = world.later()

    assert (await later.protect(world.pool)).active
    assert world.stands()
    await later.withdraw()
    assert not world.stands()


@pytest.mark.parametrize("pool", ["", "ten", "10.213.0.1/16", "fd00::/64", "10.213.0.0/33"])
async def test_what_is_no_range_of_addresses_is_refused_in_words(world: World, pool: str) -> None:
    state = await world.firewall.protect(pool)

    assert not state.active
    assert "NETWORK_POOL" in state.reason


async def test_a_twin_refuses_as_it_is_told_to() -> None:
    twin = MemoryFirewall()
    twin.refusal = "No."

    assert (await twin.protect("10.214.0.0/24")).reason == "No."
    assert twin.pool == ""
    assert await twin.withdraw() == "No."


async def test_without_iptables_the_reason_says_what_to_install(tmp_path: Path) -> None:
    firewall = IptablesFirewall(MemoryLog(), search_path=str(tmp_path))

    state = await firewall.protect("10.214.0.0/24")
    assert not state.active
    assert "install iptables" in state.reason
    assert "install iptables" in await firewall.withdraw()


def stand_in(folder: Path, script: str) -> str:
    """A folder in which every program of iptables is a shell script."""
    for name in ("iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


async def test_what_the_host_says_is_passed_on(tmp_path: Path) -> None:
    path = stand_in(tmp_path, "echo 'you must be root' >&2; exit 4")
    firewall = IptablesFirewall(MemoryLog(), search_path=path)

    state = await firewall.protect("10.214.0.0/24")
    assert not state.active
    assert "you must be root" in state.reason
    assert "NET_ADMIN" in state.reason
    assert "you must be root" in await firewall.withdraw()


async def test_iptables_that_hangs_is_ended(tmp_path: Path) -> None:
    firewall = IptablesFirewall(
        MemoryLog(), search_path=stand_in(tmp_path, "exec /bin/sleep 60"), seconds=0.2
    )

    with anyio.fail_after(5):
        state = await firewall.protect("10.214.0.0/24")
    assert not state.active
    assert "0.2 s" in state.reason


async def test_rules_that_are_taken_but_do_not_stand_are_not_believed_in(tmp_path: Path) -> None:
    firewall = IptablesFirewall(MemoryLog(), search_path=stand_in(tmp_path, "/bin/cat >/dev/null"))

    state = await firewall.protect("10.214.0.0/24")
    assert not state.active
    assert "does not show them" in state.reason


async def test_nothing_of_the_agents_environment_reaches_iptables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "made-up-key")
    firewall = IptablesFirewall(
        MemoryLog(), search_path=stand_in(tmp_path, "/usr/bin/env >&2; exit 1")
    )

    state = await firewall.protect("10.214.0.0/24")
    assert "PATH=" in state.reason
    assert "made-up-key" not in state.reason


@pytest.mark.engine
async def test_the_hosts_own_networks_are_never_taken_for_environments(
    real: IptablesWorld,
) -> None:
    state = await real.firewall.protect("0.0.0.0/0")

    assert not state.active
    assert "is no network of Docker's" in state.reason
    assert real.chain not in real.saved()


HOOKS = ["-A PREROUTING -j T-ARRIVAL", "-A INPUT -j T-CUT", "-A FORWARD -j T-BETWEEN"]


@pytest.mark.parametrize(
    ("ahead", "in_time"),
    [
        (["-A INPUT -s 192.0.2.1/32 -j ACCEPT"], False),
        (["-A PREROUTING -m mark --mark 0x1 -j ACCEPT"], False),
        (["-A INPUT -j OTHERS", "-A PREROUTING -j MARK --set-xmark 0x1/0x1"], True),
        (["-A OUTPUT -j ACCEPT"], True),
        ([], True),
    ],
)
async def test_rules_behind_one_that_lets_packets_past_do_not_count(
    ahead: list[str], in_time: bool
) -> None:
    # Not on the host: such a rule would stand ahead of everybody's.
    chains = iptables_firewall._Chains("T-ARRIVAL", "T-CUT", "T-BETWEEN")

    assert iptables_firewall._find(chains, [*ahead, *HOOKS]).in_time == in_time
    assert iptables_firewall._find(chains, [*HOOKS, *ahead]).in_time


@pytest.mark.parametrize("lost", HOOKS)
async def test_rules_that_nobody_calls_do_not_count(lost: str) -> None:
    chains = iptables_firewall._Chains("T-ARRIVAL", "T-CUT", "T-BETWEEN")

    assert not iptables_firewall._find(chains, [hook for hook in HOOKS if hook != lost]).in_time

"""The host's packet filter through iptables.

Three chains in the table ``mangle``, put there and replaced in one transaction:

* ``…-ARRIVAL``, called first in PREROUTING, sends on to ``…-CUT`` what is meant for an address of
  the host or for a link-local one. That is before any port is forwarded, so a published port is cut
  whether Docker's proxy serves it or a DNAT rule does, and so is a DNAT of the metadata address.
* ``…-CUT``, called first in INPUT too (broadcasts, what others redirect to the host), drops what
  comes from an environment, unless it answers a connection that the host opened.
* ``…-BETWEEN``, called first in FORWARD, drops what one network of the pool sends to another.
  Docker does so itself, but takes its own rule away for a moment whenever any network is made.

Nothing in ``filter`` is touched, neither a policy nor Docker's chains, which differ from release to
release; what is not dropped here meets the host's own rules as before. Traffic inside a network
passes, even where ``br_netfilter`` shows bridged packets to iptables: it is for no address of the
host, and leaves by the bridge it came from. Either back end of iptables will do, nft or legacy,
whichever Docker itself uses: a drop is final in both.

What comes from an environment is known in two ways. By its source in the pool: that holds from a
network's first packet on, and touches nobody else's. By its bridge, since a container with NET_RAW,
which Docker gives to all, or NET_ADMIN sends from any address it likes: what arrives on a pool
network's bridge with a source not of that network is dropped as well. Bridges are found by their
routes, at each ``protect``; until then the source alone counts. IPv6 knows the second way only:
every bridge has a link-local address, which a container reaches with one sysctl or a raw socket,
and on which Docker's proxy and other services listen.

Name servers with link-local addresses, as some clouds have, stay in reach: Docker's resolver asks
them from inside the container.
"""

import re
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from domain.ports.firewall import FirewallState
from domain.ports.log import Log

CHAIN = "CONTAINER-HOST-AGENT"
"""How the names of our chains begin; at most 20 characters fit."""

SEARCH_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Where iptables is looked for; an ordinary user's own path lacks half of it."""

_LINK_LOCAL = "169.254.0.0/16"
_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"
_NEEDS = (
    "The agent needs root or NET_ADMIN in the host's network, and a kernel with the table mangle "
    "and the matches conntrack and addrtype; FIREWALL=off does without."
)
_INTERFACES = Path("/sys/class/net")

# A trailing plus would make iptables match other interfaces too.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_Rules = tuple[str, ...]


class _Refused(Exception):
    """The host does not let us; the text says why and what to do."""


class _Bridge(NamedTuple):
    name: str
    subnet: IPv4Network


class _Chains(NamedTuple):
    arrival: str
    cut: str
    between: str

    def calls(self) -> Mapping[str, str]:
        """The kernel's chains, and the rule in each that calls ours."""
        pairs = zip(("PREROUTING", "INPUT", "FORWARD"), self, strict=True)
        return {kernels: f"{kernels} -j {called}" for kernels, called in pairs}


class _Found(NamedTuple):
    """What stands of ours, in the words of ``iptables-save``, which differ between releases."""

    rules: _Rules
    calls: _Rules
    in_time: bool
    """Whether all that arrives is shown to our chains before anything lets it past."""


class IptablesFirewall:
    """Sets rules with ``iptables-restore`` and looks after them with ``iptables-save``.

    Args:
        log: told when rules are set, and when they had gone.
        search_path: folders with the programs, as in ``PATH``.
        seconds: how long one of them may take.
        chain: how the names of our chains begin; agents with the same one replace each other.
    """

    def __init__(
        self, log: Log, *, search_path: str = SEARCH_PATH, seconds: float = 5.0, chain: str = CHAIN
    ) -> None:
        self._log = log
        self._search_path = search_path
        self._seconds = seconds
        self._chains = _Chains(f"{chain}-ARRIVAL", f"{chain}-CUT", f"{chain}-BETWEEN")
        self._placed: dict[str, tuple[_Rules, _Rules]] = {}
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def protect(self, pool: str) -> FirewallState:
        """Puts the rules in place where they are not, and says whether they stand."""
        return await anyio.to_thread.run_sync(self._protect, pool, limiter=self._one_at_a_time)

    async def withdraw(self) -> str:
        """Takes the rules away, those of an earlier agent too; why not, where the host refuses."""
        return await anyio.to_thread.run_sync(self._withdraw, limiter=self._one_at_a_time)

    def _protect(self, pool: str) -> FirewallState:
        try:
            network = IPv4Network(pool)
        except ValueError as fault:
            reason = f"The pool is no IPv4 range ({fault}): set NETWORK_POOL to one."
            return FirewallState(active=False, reason=reason)
        try:
            bridges = _bridges(network)
            self._uphold("iptables", _ipv4(self._chains, network, bridges))
            if _speaks_ipv6():
                self._uphold("ip6tables", _ipv6(self._chains, bridges))
        except _Refused as refusal:
            return FirewallState(active=False, reason=str(refusal))
        except OSError as fault:
            return FirewallState(active=False, reason=f"The host hides its routes: {fault}.")
        return FirewallState(active=True)

    def _uphold(self, program: str, wanted: _Rules) -> None:
        found = self._found(program)
        first = program not in self._placed
        before, shown = self._placed.get(program, ((), ()))
        intact = found.in_time and found.rules == shown
        if intact and before == wanted:
            return
        calls = (f"-I {call}" for call in self._chains.calls().values())
        self._restore(program, [*self._cleared(found), *wanted, *calls])
        now = self._found(program)
        if not now.in_time or len(now.rules) != len(wanted):
            raise _Refused(
                f"{program}-restore set the rules, but {program}-save does not show them: see what "
                "else changes the table mangle."
            )
        self._placed[program] = (wanted, now.rules)
        self._tell(program, first=first, intact=intact)

    def _tell(self, program: str, *, first: bool, intact: bool) -> None:
        if first:
            self._log.info("firewall rules set", program=program)
        elif intact:
            self._log.debug("firewall rules follow the networks", program=program)
        else:
            self._log.warning(
                "firewall rules had gone and are back",
                program=program,
                hint="another program changed the table mangle; a reload of firewalld does",
            )

    def _withdraw(self) -> str:
        self._placed.clear()
        refusals = []
        for program in ("iptables", "ip6tables") if _speaks_ipv6() else ("iptables",):
            try:
                found = self._found(program)
                if found.rules or found.calls:
                    gone = (f"-X {chain}" for chain in self._chains)
                    self._restore(program, [*self._cleared(found), *gone])
                    self._log.info("firewall rules taken away", program=program)
            except _Refused as refusal:
                refusals.append(str(refusal))
        return " ".join(refusals)

    def _cleared(self, found: _Found) -> list[str]:
        """Makes or empties our chains, and takes away what calls them."""
        calls = (call.replace("-A", "-D", 1) for call in found.calls)
        return [*(f":{chain} - [0:0]" for chain in self._chains), *calls]

    def _found(self, program: str) -> _Found:
        return _find(self._chains, self._run(f"{program}-save", "--table", "mangle").splitlines())

    def _restore(self, program: str, lines: Sequence[str]) -> None:
        """Does all of it or nothing; there is no moment in between."""
        # The legacy back end has a lock, which Docker holds now and then.
        wait = f"--wait={max(1, int(self._seconds) - 1)}"
        text = "\n".join(["*mangle", *lines, "COMMIT", ""])
        self._run(f"{program}-restore", wait, "--noflush", text=text)

    def _run(self, name: str, *arguments: str, text: str = "") -> str:
        program = shutil.which(name, path=self._search_path)
        if program is None:
            raise _Refused(f"{name} is not installed: install iptables, or set FIREWALL=off.")
        try:
            ended = subprocess.run(  # noqa: S603 - arguments of our own
                [program, *arguments],
                input=text,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=self._seconds,
                env={"PATH": self._search_path, "LC_ALL": "C"},
                cwd="/",
                check=False,
            )
        except subprocess.TimeoutExpired:
            late = f"{name} did not end within {self._seconds:g} s: see who holds its lock."
            raise _Refused(late) from None
        except OSError as fault:
            raise _Refused(f"{name} cannot be run ({fault.strerror}). {_NEEDS}") from fault
        if ended.returncode != 0:
            said = " ".join(ended.stderr.split())[:300] or f"exit code {ended.returncode}"
            raise _Refused(f"{name} was refused ({said}). {_NEEDS}")
        return ended.stdout


def _bridges(pool: IPv4Network) -> list[_Bridge]:
    """Bridges that carry a network of the pool and nothing else; refuses one that lies elsewhere.

    Cutting that one might cut the host off.
    """
    found = []
    for name, routed in sorted(_routed().items()):
        inside = [subnet for subnet in routed if subnet.subnet_of(pool)]
        if inside and not _carries_containers(name, routed):
            raise _Refused(
                f"{inside[0]} on {name} lies in the pool {pool} and is no network of Docker's: "
                "set NETWORK_POOL to a range that nothing else has."
            )
        if len(inside) == len(routed) == 1 and _PLAIN_NAME.fullmatch(name):
            found.append(_Bridge(name, inside[0]))
    return found


def _carries_containers(name: str, routed: Sequence[IPv4Network]) -> bool:
    interface = _INTERFACES / name
    # One that went since its route was read was a network that was just removed.
    bridge = (interface / "bridge").exists() or not interface.exists()
    return bridge and all(subnet.prefixlen for subnet in routed)


def _routed() -> dict[str, list[IPv4Network]]:
    """Where each interface leads; the first line of the kernel's list is its heading."""
    found: dict[str, list[IPv4Network]] = {}
    for line in Path("/proc/net/route").read_text(encoding="latin-1").splitlines()[1:]:
        fields = line.split()
        address, mask = (struct.pack("=I", int(fields[column], 16)) for column in (1, 7))
        prefix = int.from_bytes(mask, "big").bit_count()
        found.setdefault(fields[0], []).append(IPv4Network((address, prefix)))
    return found


def _speaks_ipv6() -> bool:
    addresses = Path("/proc/net/if_inet6")
    return addresses.exists() and bool(addresses.read_bytes())


def _ipv4(chains: _Chains, pool: IPv4Network, bridges: Sequence[_Bridge]) -> _Rules:
    return (
        f"-A {chains.arrival} -m addrtype --dst-type LOCAL -j {chains.cut}",
        f"-A {chains.arrival} -d {_LINK_LOCAL} -p udp --dport 53 -j RETURN",
        f"-A {chains.arrival} -d {_LINK_LOCAL} -p tcp --dport 53 -j RETURN",
        f"-A {chains.arrival} -d {_LINK_LOCAL} -j {chains.cut}",
        *(f"-A {chains.cut} -i {name} ! -s {subnet} -j DROP" for name, subnet in bridges),
        f"-A {chains.cut} -s {pool} {_ANSWERS} -j RETURN",
        f"-A {chains.cut} -s {pool} -j DROP",
        *(f"-A {chains.between} -i {name} ! -o {name} -d {pool} -j DROP" for name, _ in bridges),
    )


def _ipv6(chains: _Chains, bridges: Sequence[_Bridge]) -> _Rules:
    return (
        f"-A {chains.arrival} -m addrtype --dst-type LOCAL -j {chains.cut}",
        # Without it neighbours do not find each other, and networks with IPv6 have no way out.
        f"-A {chains.cut} -p ipv6-icmp -j RETURN",
        f"-A {chains.cut} {_ANSWERS} -j RETURN",
        *(f"-A {chains.cut} -i {name} -j DROP" for name, _ in bridges),
    )


def _find(chains: _Chains, saved: Sequence[str]) -> _Found:
    calls: list[str] = []
    in_time = True
    for kernels, called in chains.calls().items():
        rules = [line for line in saved if line.startswith(f"-A {kernels} ")]
        call = f"-A {called}"
        calls += [rule for rule in rules if rule == call]
        ahead = rules[: rules.index(call)] if call in rules else ["-j ACCEPT"]
        in_time = in_time and not any("-j ACCEPT" in rule for rule in ahead)
    own = tuple(f"-A {chain} " for chain in chains)
    return _Found(tuple(line for line in saved if line.startswith(own)), tuple(calls), in_time)

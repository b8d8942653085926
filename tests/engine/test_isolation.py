"""What containers reach of the host and of each other: what Docker cuts, and what the rules cut.

One site is built for all tests: environments with networks in a pool of their own, a stranger
outside the pool, and a world beyond the host that is a container behind a cable.
"""

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network, IPv6Address
from pathlib import Path
from random import SystemRandom
from threading import Thread
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import pytest
from docker.types import IPAMConfig, IPAMPool

from adapters.iptables_firewall import IptablesFirewall
from adapters.memory.log import MemoryLog
from domain.containers import PROJECT_LABEL
from tests.contracts.test_firewall import iptables, missing
from tests.support import engine

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(120)]

SERVE = "mkdir /www; echo -n {} > /www/index.html; httpd -p 53 -h /www; httpd -f -p 80 -h /www"

# A static busybox may not have a wget that works, but its nc does.
GET = r"printf 'GET / HTTP/1.0\r\n\r\n' | timeout 4 nc -w 2 {} {} 2>/dev/null | tail -n 1"


class Way(NamedTuple):
    """From a container to an address, and who answers there."""

    start: str
    to: str
    answers: str


LEFT_OPEN = {
    "the host through the gateway": Way("one", "{one-gateway}:{service}", "host"),
    "the host through the second gateway": Way("one", "{back-gateway}:{service}", "host"),
    "the host through a foreign gateway": Way("one", "{two-gateway}:{service}", "host"),
    "the host through another address": Way("one", "{host}:{service}", "host"),
    "the host's link-local address": Way("one", "{host-link}:{service}", "host"),
    "a cloud's metadata": Way("one", "{world-link}:80", "world"),
    "a published port through the gateway": Way("one", "{one-gateway}:{published}", "two"),
    "a published port through another address": Way("one", "{host}:{published}", "two"),
    "a published port without Docker's proxy": Way("one", "{host}:{forwarded}", "two"),
    "the host from an internal network": Way("inner", "{inner-gateway}:{service}", "host"),
    "another address from an internal network": Way("inner", "{host}:{service}", "host"),
    "a link-local address from an internal network": Way("inner", "{host-link}:{service}", "host"),
}
"""Where Docker alone lets containers go; no environment may."""

CUT_BY_DOCKER = {
    "another environment by address": Way("one", "{two}:80", "two"),
    "another environment by name": Way("one", "two:80", "two"),
    "between two networks of one environment": Way("peer", "{back}:80", "back"),
    "out of an internal network": Way("inner", "{world}:80", "world"),
    "metadata from an internal network": Way("inner", "{world-link}:80", "world"),
    "another environment from an internal network": Way("inner", "{two}:80", "two"),
    "a published port from an internal network": Way("inner", "{host}:{published}", "two"),
}

NEEDED = {
    "a neighbour by address": Way("one", "{peer}:80", "peer"),
    "a neighbour by name": Way("one", "peer:80", "peer"),
    "a neighbour in the second network": Way("one", "back:80", "back"),
    "a neighbour in an internal network": Way("inner", "inner-peer:80", "inner-peer"),
    "the world outside": Way("one", "{world}:80", "world"),
    "a cloud's name server": Way("one", "{world-link}:53", "world"),
    "a published port from outside": Way("world", "{host}:{published}", "two"),
    "the host from outside the pool": Way("stranger", "{stranger-gateway}:{service}", "host"),
    "a published port from outside the pool": Way("stranger", "{host}:{published}", "two"),
}

WAYS = LEFT_OPEN | CUT_BY_DOCKER | NEEDED


def ip(*arguments: str) -> None:
    """Changes the host's interfaces."""
    subprocess.run(["ip", *arguments], check=True, timeout=10, capture_output=True)


class Answering(BaseHTTPRequestHandler):
    """A service of the host."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"host")

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Service(ThreadingHTTPServer):
    """Takes all ways that are tried at one moment."""

    request_queue_size = 64


@contextmanager
def service() -> Iterator[int]:
    """A service on all the host's addresses; gives its port."""
    with Service(("0.0.0.0", 0), Answering) as server:  # noqa: S104 - that is the test
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(5)


class Site:
    """Environments, a stranger and a world, on one host."""

    def __init__(self, host: engine.Host, undo: ExitStack) -> None:
        self.host = host
        self.undo = undo
        self.project = f"t-{uuid4().hex[:12]}"
        host.projects.append(self.project)
        # Another than that of tests beside this one, which lay cables too.
        beside = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        number = SystemRandom().randrange(30) * 8 + int(beside) % 2 * 4
        self.pool = IPv4Network(f"10.214.{number}.0/24")
        parts = ("one", "back", "two", "inner")
        self.subnets = dict(zip(parts, self.pool.subnets(new_prefix=28), strict=False))
        self.subnets["stranger"] = IPv4Network(f"10.215.{number}.0/28")
        # Not 169.254.169.254: the host that runs the test may need its cloud's own.
        self.cable = IPv4Network(f"198.51.100.{number // 4 * 4}/30")
        self.link = IPv4Network(f"169.254.213.{number // 4 * 4}/30")
        self.places: dict[str, str] = {}

    def name(self, part: str) -> str:
        return f"{self.project}-{part}"

    def network(self, part: str) -> None:
        """Makes an environment's network."""
        subnet = self.subnets[part]
        self.places[f"{part}-gateway"] = str(subnet[1])
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
        self.host.client.create_network(
            self.name(part),
            driver="bridge",
            internal=part == "inner",
            ipam=IPAMConfig(pool_configs=[pool]),
            labels={PROJECT_LABEL: self.project},
        )

    def run(self, part: str, network: str, **more: Any) -> str:
        """Starts a container that answers with its name; gives its address."""
        client = self.host.client
        place: Any = None
        if network != "none":
            ends: Any = {self.name(network): client.create_endpoint_config(aliases=[part])}
            place = client.create_networking_config(ends)
        config = client.create_host_config(
            network_mode="none" if place is None else self.name(network),
            cap_add=["NET_ADMIN"],
            init=True,
            **more,
        )
        client.create_container(
            engine.BASE_IMAGE,
            ["sh", "-c", SERVE.format(part)],
            name=self.name(part),
            labels={PROJECT_LABEL: self.project},
            ports=[80],
            host_config=config,
            networking_config=place,
        )
        client.start(self.name(part))
        found = client.inspect_container(self.name(part))
        if place is not None:
            joined = found["NetworkSettings"]["Networks"][self.name(network)]
            self.places[part] = joined["IPAddress"]
        return self.places.get(part, "")

    def sh(self, part: str, script: str) -> str:
        """What a script in a container prints."""
        started = self.host.client.exec_create(self.name(part), ["sh", "-c", script])
        printed: bytes = self.host.client.exec_start(started["Id"])
        return printed.decode(errors="replace")

    def bridge(self, part: str) -> str:
        """The interface of a network."""
        found = self.host.client.inspect_network(self.name(part))
        return f"br-{found['Id'][:12]}"

    def lay_cable(self) -> None:
        """Joins the world to the host, as its uplink would."""
        near, far = (f"t{self.project[2:12]}{end}" for end in "ab")
        process = self.host.client.inspect_container(self.name("world"))["State"]["Pid"]
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", str(process))
        self.undo.callback(lambda: suppress_failure("link", "del", near))
        for key, subnet in (("", self.cable), ("-link", self.link)):
            ip("address", "add", f"{subnet[1]}/30", "dev", near)
            self.sh("world", f"ip address add {subnet[2]}/30 dev {far}")
            self.places |= {f"host{key}": str(subnet[1]), f"world{key}": str(subnet[2])}
        ip("link", "set", near, "up")
        self.sh("world", f"ip link set {far} up; ip route add default via {self.cable[1]}")

    def forward(self, port: int) -> None:
        """Serves a port of ``two`` as Docker does where its proxy is off."""
        there, pool = self.places["two"], str(self.pool)
        to = ["-p", "tcp", "-d", str(self.cable[1]), "--dport", str(port)]
        dnat = ["-j", "DNAT", "--to-destination", f"{there}:80"]
        self.rule("nat", "PREROUTING", "-s", pool, *to, *dnat)
        for ends in (("-s", pool, "-d", there), ("-s", there, "-d", pool)):
            this = ["-m", "conntrack", "--ctstate", "DNAT", "--ctorigdstport", str(port)]
            self.rule("filter", "DOCKER-USER", *ends, *this, "-j", "ACCEPT")
        self.places["forwarded"] = str(port)

    def rule(self, table: str, chain: str, *rule: str) -> None:
        """Puts a rule first, until the end."""
        iptables("", "-w", "-t", table, "-I", chain, *rule)
        self.undo.callback(lambda: iptables("", "-w", "-t", table, "-D", chain, *rule))

    def reached(self) -> Mapping[str, str]:
        """Who answers on each way, all tried at once; nobody where nobody does."""
        tried = dict.fromkeys(WAYS, "")
        scripts: dict[str, list[str]] = {}
        for name, way in WAYS.items():
            get = GET.format(*way.to.format_map(self.places).split(":"))
            scripts.setdefault(way.start, []).append(f"(echo {shlex.quote(name)}=$({get})) &")
        with ThreadPoolExecutor(len(scripts)) as all_at_once:
            asked = (
                all_at_once.submit(self.sh, part, "\n".join([*lines, "wait"]))
                for part, lines in scripts.items()
            )
            for printed in [future.result(30) for future in list(asked)]:
                tried |= dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
        return tried


def suppress_failure(*arguments: str) -> None:
    """Changes an interface that may have gone."""
    with suppress(subprocess.CalledProcessError):
        ip(*arguments)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with ExitStack() as undo:
        host = undo.enter_context(contextmanager(engine.host)())
        undo.callback(host.clear)
        built = Site(host, undo)
        for part in built.subnets:
            built.network(part)
            built.run(part, part, port_bindings={80: None} if part == "two" else {})
        for part, network in (("peer", "one"), ("inner-peer", "inner"), ("world", "none")):
            built.run(part, network)
        host.client.connect_container_to_network(built.name("one"), built.name("back"))
        # An attacker makes itself the way that an internal network lacks.
        built.sh("inner", f"ip route add default via {built.places['inner-gateway']}")
        built.lay_cable()
        # The Engine gives out ports of IPv4 and of IPv6 apart; mostly they are the same.
        published = {
            row["HostIp"]: row["HostPort"] for row in host.client.port(built.name("two"), 80)
        }
        port = undo.enter_context(service())
        built.places |= {
            "published": published["0.0.0.0"],  # noqa: S104 - that is how the Engine tells it
            "published-6": published.get("::", published["0.0.0.0"]),  # noqa: S104
            "service": str(port),
        }
        built.forward(1)
        yield built


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def firewall(site: Site, log: MemoryLog) -> Iterator[IptablesFirewall]:
    found = IptablesFirewall(log, chain=f"T-{uuid4().hex[:12]}")
    yield found
    anyio.run(found.withdraw)


class Observed(NamedTuple):
    """Who answered on each way."""

    before: Mapping[str, str]
    under: Mapping[str, str]
    after: Mapping[str, str]


@pytest.fixture(scope="module")
def observed(site: Site) -> Observed:
    """What is reached without the rules, under them, and when they are withdrawn."""
    firewall = IptablesFirewall(MemoryLog(), chain=f"T-{uuid4().hex[:12]}")
    before = site.reached()
    try:
        assert anyio.run(firewall.protect, str(site.pool)).active
        under = site.reached()
    finally:
        anyio.run(firewall.withdraw)
    return Observed(before, under, site.reached())


@pytest.mark.parametrize("way", LEFT_OPEN)
def test_what_docker_leaves_open_is_cut_by_the_rules_alone(observed: Observed, way: str) -> None:
    answers = LEFT_OPEN[way].answers

    assert (observed.before[way], observed.under[way]) == (answers, "")
    assert observed.after[way] == answers


@pytest.mark.parametrize("way", CUT_BY_DOCKER)
def test_what_docker_cuts_stays_cut(observed: Observed, way: str) -> None:
    # Without the rules only nearly always: see the test of what Docker changes.
    assert observed.under[way] == ""


@pytest.mark.parametrize("way", NEEDED)
def test_what_labs_need_works_under_the_rules(observed: Observed, way: str) -> None:
    answers = NEEDED[way].answers

    assert (observed.before[way], observed.under[way]) == (answers, answers)


async def test_the_host_itself_reaches_containers_and_their_published_ports(
    site: Site, firewall: IptablesFirewall
) -> None:
    assert (await firewall.protect(str(site.pool))).active

    for address in ("127.0.0.1", site.places["host"], site.places["two-gateway"]):
        assert await fetched(address, int(site.places["published"])) == b"two"
    assert await fetched(site.places["two"], 80) == b"two"
    assert await fetched(site.places["inner"], 80) == b"inner"


async def fetched(host: str, port: int) -> bytes:
    """The last line of what a service answers the host with."""
    with anyio.fail_after(5):
        async with await anyio.connect_tcp(host, port) as stream:
            await stream.send(b"GET / HTTP/1.0\r\n\r\n")
            got = b"".join([chunk async for chunk in stream])
    return got.rsplit(b"\n", 1)[-1]


async def test_flushed_rules_are_noticed_and_put_back(
    site: Site, firewall: IptablesFirewall, log: MemoryLog
) -> None:
    ask = GET.format(site.places["one-gateway"], site.places["service"])
    await firewall.protect(str(site.pool))
    chain = firewall._chains.cut
    assert site.sh("one", ask) == ""

    iptables("", "-w", "-t", "mangle", "-F", chain)
    assert site.sh("one", ask) == "host"

    assert (await firewall.protect(str(site.pool))).active
    assert site.sh("one", ask) == ""
    assert [level for level, _, _ in log.events].count("WARNING") == 1


async def test_a_network_that_came_later_is_watched_from_the_next_look_on(
    site: Site, firewall: IptablesFirewall, log: MemoryLog
) -> None:
    await firewall.protect(str(site.pool))
    site.subnets["late"] = list(site.pool.subnets(new_prefix=28))[4]
    site.network("late")
    try:
        assert (await firewall.protect(str(site.pool))).active
        assert f"-i {site.bridge('late')} " in iptables("-save", "-t", "mangle")
        assert "WARNING" not in [level for level, _, _ in log.events]
    finally:
        site.host.client.remove_network(site.name("late"))

    assert (await firewall.protect(str(site.pool))).active


async def test_environments_stay_apart_while_docker_changes_its_own_rules(
    site: Site, firewall: IptablesFirewall
) -> None:
    """For a moment whenever a network is made, nothing of Docker's keeps the others apart."""
    everything = ("-s", str(site.pool), "-d", str(site.pool), "-j", "ACCEPT")
    ways = [GET.format(site.places[part], 80) for part in ("two", "peer")]
    with ExitStack() as moment:
        iptables("", "-w", "-I", "DOCKER-USER", *everything)
        moment.callback(iptables, "", "-w", "-D", "DOCKER-USER", *everything)
        assert [site.sh("one", way) for way in ways] == ["two", "peer"]

        assert (await firewall.protect(str(site.pool))).active
        assert [site.sh("one", way) for way in ways] == ["", "peer"]


@contextmanager
def listening(count: int) -> Iterator[list[socket.socket]]:
    """UDP sockets on ports in a row, on all the host's addresses."""
    with ExitStack() as opened:
        first = SystemRandom().randrange(20000, 30000)
        found = []
        for port in range(first, first + count):
            found.append(opened.enter_context(socket.socket(type=socket.SOCK_DGRAM)))
            found[-1].bind(("0.0.0.0", port))  # noqa: S104 - that is the test
            found[-1].settimeout(1)
        yield found


@pytest.mark.parametrize("source", ["203.0.113.7", "127.0.0.9", "{two}", "{one-gateway}"])
async def test_an_address_that_a_container_gave_itself_helps_it_nothing(
    site: Site, firewall: IptablesFirewall, source: str
) -> None:
    own = source.format_map(site.places)
    gateway = site.places["one-gateway"]
    with listening(1) as (receiver,):
        # The probe's port is the one after the base.
        base = receiver.getsockname()[1] - 1
        probe = f"traceroute -n -q 1 -m 1 -w 1 -s {own} -p {base} {gateway}"
        site.sh("peer", f"ip address add {own}/32 dev eth0")
        try:
            sent_before = sends(site, probe, receiver)
            assert (await firewall.protect(str(site.pool))).active
            assert not sends(site, probe, receiver)
        finally:
            site.sh("peer", f"ip address del {own}/32 dev eth0")
    # The kernel itself takes no packet from its own or from loopback addresses.
    assert sent_before == (source in {"203.0.113.7", "{two}"})


def sends(site: Site, probe: str, receiver: socket.socket) -> bool:
    """Whether a datagram of a container arrives."""
    site.sh("peer", probe)
    try:
        receiver.recv(100)
    except TimeoutError:
        return False
    return True


async def test_a_connection_that_stood_before_the_rules_is_cut_too(
    site: Site, firewall: IptablesFirewall
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - that is the test
        server.settimeout(5)
        to = f"{site.places['one-gateway']} {server.getsockname()[1]}"
        talk = f"(while sleep 0.1; do echo more; done | timeout 8 nc {to}) >/dev/null 2>&1 &"
        site.sh("one", talk)
        connection, _ = server.accept()
    with connection:
        connection.settimeout(1)
        assert connection.recv(100).startswith(b"more\n")

        assert (await firewall.protect(str(site.pool))).active
        # What had arrived before the rules may still be read.
        with suppress(TimeoutError):
            connection.recv(1000)
        with pytest.raises(TimeoutError):
            connection.recv(1000)


def link_local(interface: str) -> IPv6Address:
    """The IPv6 address that every interface has, where the host has IPv6."""
    table = Path("/proc/net/if_inet6")
    rows = [row.split() for row in table.read_text().splitlines()] if table.exists() else []
    for address, *_, name in rows:
        if name == interface:
            return IPv6Address(bytes.fromhex(address))
    pytest.skip(f"the host has no IPv6 on {interface}")


async def test_the_link_local_address_of_a_bridge_is_no_way_around(
    site: Site, firewall: IptablesFirewall
) -> None:
    """Docker switches IPv6 off in containers, but one sysctl puts it on."""
    address = link_local(site.bridge("two"))
    site.run("six", "two", sysctls={"net.ipv6.conf.all.disable_ipv6": "0"})
    ask = f"timeout 4 nc -w 2 {address}%eth0 {site.places['published-6']} </dev/null && echo open"

    with anyio.fail_after(40):
        # Neighbours ask first whether an address is taken.
        while "open" not in site.sh("six", ask):
            await anyio.sleep(0.2)
    assert (await firewall.protect(str(site.pool))).active
    assert "open" not in site.sh("six", ask)


async def test_a_pool_that_lies_outside_of_docker_is_refused(
    site: Site, firewall: IptablesFirewall
) -> None:
    state = await firewall.protect("198.51.100.0/24")

    assert not state.active
    assert "is no network of Docker's" in state.reason

"""Which addresses must lead out of the host."""

from pathlib import Path

import pytest

from adapters.host_network import LinuxHostNetwork

pytestmark = pytest.mark.anyio

# As the kernel of a little-endian machine writes it.
ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0102000A	0003	0	0	0	00000000	0	0	0
eth0	0002000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
br-1234	0000D50A	00000000	0001	0	0	0	F0FFFFFF	0	0	0
"""


def network(
    folder: Path, *, routes: str = ROUTES, resolver: str = "", manager: str = ""
) -> LinuxHostNetwork:
    (folder / "route").write_text(routes)
    (folder / "resolv").write_text(resolver)
    return LinuxHostNetwork(manager, routes=folder / "route", resolver=folder / "resolv")


async def test_networks_gateways_servers_and_the_manager_are_needed(tmp_path: Path) -> None:
    resolver = "# x\nnameserver 10.9.9.9\nnameserver 127.0.0.53\nnameserver fe80::1\nsearch x\n"

    found = await network(tmp_path, resolver=resolver, manager="10.1.1.1").needed()

    assert found == ["10.0.2.0/24", "10.0.2.1/32", "10.1.1.1/32", "10.9.9.9/32"]


async def test_a_manager_whose_name_means_nothing_is_left_out(tmp_path: Path) -> None:
    found = await network(tmp_path, routes="Iface\n", manager="no.such.host.invalid").needed()

    assert found == []


async def test_files_that_are_not_there_tell_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"

    assert await LinuxHostNetwork("", routes=missing, resolver=missing).needed() == []

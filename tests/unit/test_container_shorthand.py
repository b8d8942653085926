"""Docker's short forms of ports, mounts, devices and restart policies."""

import pytest

from domain.container_orders import (
    DeviceOrder,
    MountKind,
    MountOrder,
    PortOrder,
    RestartName,
    RestartPolicy,
)
from domain.container_shorthand import device_order, mount_order, port_orders, restart_policy
from domain.errors import RequestUnreadable


def port(container: int, host: str = "", address: str = "", protocol: str = "tcp") -> PortOrder:
    return PortOrder(
        container_port=container, host_port=host, host_address=address, protocol=protocol
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", port(80)),
        ("80/udp", port(80, protocol="udp")),
        ("8080:80", port(80, "8080")),
        ("8000-8010:80", port(80, "8000-8010")),
        ("127.0.0.1:8080:80", port(80, "8080", "127.0.0.1")),
        ("127.0.0.1::80", port(80, "", "127.0.0.1")),
        ("[::1]:8080:80/tcp", port(80, "8080", "::1")),
    ],
)
def test_ports(text: str, expected: PortOrder) -> None:
    assert port_orders(text) == (expected,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90-91", (port(90), port(91))),
        ("8000-8001:90-91/udp", (port(90, "8000", "", "udp"), port(91, "8001", "", "udp"))),
        ("127.0.0.1::90-91", (port(90, "", "127.0.0.1"), port(91, "", "127.0.0.1"))),
        ("90-90", (port(90),)),
    ],
)
def test_ranges_of_ports(text: str, expected: tuple[PortOrder, ...]) -> None:
    assert port_orders(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "80:", ":", "x:80:80", "80/", "80 ", "-1", "1:2:3:4"),
        *("90-", "91-90", "80:90-91", "80-82:90-91", "82-81:90-91", "1-65535"),
    ],
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(RequestUnreadable):
        port_orders(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:/x", MountOrder(type=MountKind.VOLUME, source="data", target="/x")),
        (
            "data:/x:ro",
            MountOrder(type=MountKind.VOLUME, source="data", target="/x", read_only=True),
        ),
        ("/srv:/x:rw", MountOrder(type=MountKind.BIND, source="/srv", target="/x")),
        ("/cache", MountOrder(type=MountKind.VOLUME, target="/cache")),
    ],
)
def test_mounts(text: str, expected: MountOrder) -> None:
    assert mount_order(text) == expected


@pytest.mark.parametrize("text", ["", "a:", "a:/x:z", "a:/x:ro:more", ":"])
def test_what_is_no_mount_is_refused(text: str) -> None:
    with pytest.raises(RequestUnreadable):
        mount_order(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/net/tun", ("/dev/net/tun", "/dev/net/tun", "rwm")),
        ("/dev/net/tun:/dev/tun", ("/dev/net/tun", "/dev/tun", "rwm")),
        ("/dev/net/tun:/dev/tun:rw", ("/dev/net/tun", "/dev/tun", "rw")),
    ],
)
def test_devices(text: str, expected: tuple[str, str, str]) -> None:
    on_host, inside, permissions = expected

    assert device_order(text) == DeviceOrder(
        path_on_host=on_host, path_in_container=inside, cgroup_permissions=permissions
    )


@pytest.mark.parametrize("text", ["", ":/dev/x", "/dev/x:/dev/y:rwx", "/dev/x:/y:r:w"])
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(RequestUnreadable):
        device_order(text)


@pytest.mark.parametrize(
    ("text", "name", "tries"),
    [
        ("no", RestartName.NO, 0),
        ("unless-stopped", RestartName.UNLESS_STOPPED, 0),
        ("on-failure", RestartName.ON_FAILURE, 0),
        ("on-failure:5", RestartName.ON_FAILURE, 5),
    ],
)
def test_restart_policies(text: str, name: RestartName, tries: int) -> None:
    assert restart_policy(text) == RestartPolicy(name=name, maximum_retry_count=tries)


@pytest.mark.parametrize(
    "text", ["", "never", "on-failure:", "on-failure:-1", "on-failure:x", "always:3"]
)
def test_what_is_no_restart_policy_is_refused(text: str) -> None:
    with pytest.raises(RequestUnreadable):
        restart_policy(text)

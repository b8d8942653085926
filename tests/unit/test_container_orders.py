"""Orders for single containers: what of them is judged, and what may not be."""

from typing import Any

import msgspec
import pytest

from domain.compose_policy import PolicyRules, judge_service
from domain.container_orders import (
    ContainerOrder,
    DeviceOrder,
    HealthcheckOrder,
    MountKind,
    MountOrder,
    NetworkOrder,
    PortOrder,
    RestartName,
    RestartPolicy,
    Ulimit,
    in_the_orders_words,
    service_body,
)
from domain.errors import RequestUnreadable
from domain.findings import Finding
from domain.limits import ContainerLimits

ORDER = ContainerOrder(name="web", image="busybox")

CHANGED: dict[str, Any] = {
    "image": "alpine",
    "command": ("true",),
    "entrypoint": ("/init",),
    "env": {"A": "b"},
    "ports": (PortOrder(container_port=80),),
    "volumes": (MountOrder(type=MountKind.VOLUME, source="data", target="/data"),),
    "networks": (NetworkOrder(name="net", aliases=("a",)),),
    "labels": {"a": "b"},
    "restart_policy": RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3),
    "healthcheck": HealthcheckOrder(test=("CMD", "true")),
    "cap_add": ("NET_ADMIN",),
    "cap_drop": ("ALL",),
    "security_opt": ("no-new-privileges",),
    "devices": (DeviceOrder(path_on_host="/dev/net/tun", path_in_container="/dev/net/tun"),),
    "user": "1000",
    "working_dir": "/srv",
    "hostname": "web",
    "init": True,
    "tty": True,
    "open_stdin": True,
    "read_only": True,
    "stop_signal": "INT",
    "stop_timeout": 5,
    "extra_hosts": ("db:10.9.0.2",),
    "dns": ("10.9.0.3",),
    "dns_search": ("lab.example",),
    "dns_options": ("ndots:2",),
    "ulimits": {"nofile": Ulimit(soft=1024, hard=4096)},
    "sysctls": {"net.ipv4.ip_forward": "1"},
    "shm_size_bytes": 1_048_576,
    "group_add": ("audio",),
}
"""Each field of an order with a value other than its own."""


def findings(order: ContainerOrder) -> list[tuple[str, str]]:
    """Where something is not allowed, and what."""
    volumes = {m.source for m in order.volumes if m.type is MountKind.VOLUME}
    found = judge_service(order.name, service_body(order), PolicyRules(), volumes=volumes)
    told = (in_the_orders_words(finding, order.name) for finding in found)
    return [(finding.where, finding.what) for finding in told]


def test_every_field_of_an_order_is_known_here() -> None:
    # Limits are held apart, and the name is the service's.
    assert set(ContainerOrder.__struct_fields__) - {"name", "limits"} == set(CHANGED)


@pytest.mark.parametrize("field", CHANGED)
def test_every_field_of_an_order_is_judged(field: str) -> None:
    changed = msgspec.structs.replace(ORDER, **{field: CHANGED[field]})

    assert service_body(changed) != service_body(ORDER)


def test_what_honest_people_ask_for_is_allowed() -> None:
    assert findings(msgspec.structs.replace(ORDER, **CHANGED)) == []


def test_findings_stand_where_the_order_has_them() -> None:
    order = msgspec.structs.replace(
        ORDER,
        networks=(NetworkOrder(name="host"),),
        restart_policy=RestartPolicy(name=RestartName.ALWAYS, maximum_retry_count=3),
        cap_add=("SYS_ADMIN",),
        volumes=(MountOrder(type=MountKind.BIND, source="/etc", target="/x"),),
        devices=(DeviceOrder(path_on_host="/dev/sda", path_in_container="/dev/sda"),),
        env={"A": "b" * 200_000},
        extra_hosts=("host:host-gateway",),
        dns=("resolver",),
        ulimits={"rtprio": Ulimit(soft=99, hard=99), "nofile": Ulimit(soft=1, hard=2**40)},
        sysctls={"kernel.panic": "1"},
        shm_size_bytes=2**50,
    )

    assert {where for where, _ in findings(order)} == {
        "networks",
        "restart_policy",
        "cap_add[0]",
        "volumes[0]",
        "devices[0]",
        "env.A",
        "extra_hosts[0]",
        "dns[0]",
        "ulimits.rtprio",
        "ulimits.nofile.hard",
        "sysctls.kernel.panic",
        "shm_size",
    }


@pytest.mark.parametrize(
    ("source", "roots", "allowed"),
    [
        ("/srv/labs/a", ("/srv/labs",), True),
        ("/srv/labs/../../etc", ("/srv/labs",), False),
        ("/srv/labsmore", ("/srv/labs",), False),
        ("/", ("/srv/labs",), False),
        ("relative", ("/srv/labs",), False),
        ("", ("/srv/labs",), False),
        ("/var/run/docker.sock", (), False),
    ],
)
def test_folders_of_the_host_are_mounted_out_of_the_operators_alone(
    source: str, roots: tuple[str, ...], allowed: bool
) -> None:
    mount = MountOrder(type=MountKind.BIND, source=source, target="/x")
    body = service_body(msgspec.structs.replace(ORDER, volumes=(mount,)))

    found = judge_service("web", body, PolicyRules(bind_roots=roots))

    assert (found == ()) is allowed


def test_of_two_mounts_of_the_host_none_may_lie_in_what_the_other_writes_to() -> None:
    mounts = tuple(
        MountOrder(type=MountKind.BIND, source=source, target=target)
        for source, target in (("/srv/labs", "/a"), ("/srv/labs/b", "/b"))
    )
    body = service_body(msgspec.structs.replace(ORDER, volumes=mounts))

    (found,) = judge_service("web", body, PolicyRules(bind_roots=("/srv/labs",)))

    assert "put a link in its place" in found.why


@pytest.mark.parametrize(
    "changes",
    [
        {"env": {"": "x"}},
        {"env": {"A=B": "x"}},
        {"env": {"A": "x\0y"}},
        {"command": ("a\0b",)},
        {"labels": {"a\0": "b"}},
        {"networks": (NetworkOrder(name="none"), NetworkOrder(name="other"))},
        {"command": ("x",) * 1001},
        {"ulimits": {"nofile": Ulimit(soft=10, hard=5)}},
        {"ulimits": {"nofile": Ulimit(soft=-1, hard=5)}},
    ],
)
def test_what_no_container_can_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RequestUnreadable):
        msgspec.structs.replace(ORDER, **changes).check()


def test_a_backslash_is_no_nul() -> None:
    msgspec.structs.replace(ORDER, command=("printf", r"\u0000\0")).check()


def test_limits_are_no_part_of_what_is_judged() -> None:
    limited = msgspec.structs.replace(ORDER, limits=ContainerLimits(cpus=1))

    assert service_body(limited) == service_body(ORDER)


def test_a_finding_about_the_name_says_so() -> None:
    finding = Finding(where="services.web", what="web", why="No.")

    assert in_the_orders_words(finding, "web").where == "name"

"""What bundles may ask for, as Compose resolves them."""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.compose_policy import PolicyProfile, PolicyRules, PortRange, judge, judge_service
from domain.compose_policy.checks import Row
from domain.compose_policy.table import BUILD, MODEL, NETWORK, SERVICE, VOLUME
from domain.image_names import RegistryRules

HOME = "/bundles/one"
RULES = PolicyRules(
    pool=IPv4Network("10.213.0.0/16"),
    own_folders=("/var/lib/agent",),
    bind_roots=("/srv/shared",),
    registries=RegistryRules(allowed=frozenset({"registry.local:5000"})),
    most_memory_bytes=2**30,
)
TRUSTED = PolicyRules(profile=PolicyProfile.TRUSTED, pool=RULES.pool, own_folders=RULES.own_folders)


def places(document: Mapping[str, Any], rules: PolicyRules = RULES) -> list[str]:
    """Where something is not allowed."""
    return [finding.where for finding in judge(document, rules, folder=HOME)]


def of_service(rules: PolicyRules = RULES, /, **body: Any) -> list[str]:
    """The same for a service ``a`` beside another."""
    services = {"a": {"image": "nginx:1", **body}, "db": {"image": "postgres:16"}}
    return [place.removeprefix("services.a.") for place in places({"services": services}, rules)]


HONEST: Mapping[str, Any] = {
    "cap_add": ["NET_ADMIN", "CAP_NET_RAW", "net_admin"],
    "cap_drop": ["ALL"],
    "command": ["sh", "-c", "echo $$HOME"],
    "configs": [{"source": "c", "target": "/etc/c.conf", "mode": 0o444}],
    "container_name": "web",
    "cpus": 0.5,
    "depends_on": {"db": {"condition": "service_healthy", "required": True}},
    "deploy": {
        "replicas": 2,
        "resources": {"limits": {"cpus": 0.5, "memory": "52428800", "pids": 5}},
        "restart_policy": {"condition": "on-failure"},
        "placement": {},
    },
    "devices": [{"source": "/dev/net/tun", "target": "/dev/net/tun", "permissions": "rwm"}],
    "dns": ["1.1.1.1"],
    "entrypoint": None,
    "environment": {"A": "1", "B": None, "N": 5},
    "expose": ["80", "90/udp"],
    "extra_hosts": ["box=10.0.0.7"],
    "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "timeout": "1m30s", "retries": 3},
    "image": "registry.local:5000/team/lab:2",
    "init": False,
    "ipc": "service:db",
    "labels": {"course": "web"},
    "logging": {"driver": "json-file", "options": {"max-size": "1m"}},
    "network_mode": "service:db",
    "networks": {"default": None, "n": {"ipv4_address": "172.30.0.5", "aliases": ["x"]}},
    "pids_limit": 100,
    "ports": [
        {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"},
        {"mode": "ingress", "target": 7000, "protocol": "tcp"},
        {"host_ip": "127.0.0.1", "target": 9, "published": "9000-9010", "protocol": "udp"},
    ],
    "privileged": False,
    "profiles": ["p"],
    "read_only": True,
    "restart": "on-failure:3",
    "secrets": [{"source": "s", "target": "/run/secrets/s"}],
    "security_opt": ["no-new-privileges:true"],
    "shm_size": "67108864",
    "stop_grace_period": "1m0s",
    "sysctls": {"net.ipv4.ip_forward": "1", "kernel.sem": "1"},
    "tmpfs": ["/run:size=1m,mode=755", "/tmp"],
    "ulimits": {"nofile": {"soft": 1, "hard": 1024}, "memlock": -1},
    "user": "1000:1000",
    "volumes": [
        {"type": "bind", "source": f"{HOME}/data", "target": "/data", "bind": {"selinux": "z"}},
        {"type": "bind", "source": "/srv/shared/x", "target": "/x", "read_only": True},
        {"type": "volume", "source": "v", "target": "/v", "volume": {}},
        {"type": "volume", "target": "/anonymous"},
        {"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1000", "mode": 0o777}},
    ],
    "volumes_from": ["db:ro"],
    "x-mine": {"whatever": [1]},
}


@pytest.mark.parametrize("key", sorted(HONEST))
def test_what_labs_use_passes(key: str) -> None:
    body = {"image": "nginx:1", key: HONEST[key]}
    document = {"services": {"a": body, "db": {"image": "x"}}, "volumes": {"v": None}}

    assert places(document) == []


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("privileged", True, "privileged"),
        ("privileged", "false", "privileged"),
        ("cap_add", ["ALL"], "cap_add[0]"),
        ("cap_add", ["CHOWN", "cap_sys_admin"], "cap_add[1]"),
        ("working_dir", "/proc/self/fd/8", "working_dir"),
        ("working_dir", "/srv/..//proc/self/cwd", "working_dir"),
        ("devices", ["/dev/sda:/dev/sda"], "devices[0]"),
        ("devices", ["/dev/net/tun/../../sda"], "devices[0]"),
        ("devices", [{"source": "/dev/mem", "target": "/dev/net/tun"}], "devices[0]"),
        ("devices", ["vendor.com/gpu=all"], "devices[0]"),
        ("device_cgroup_rules", ["a *:* rwm"], "device_cgroup_rules"),
        ("network_mode", "host", "network_mode"),
        ("network_mode", "bridge", "network_mode"),
        ("network_mode", "container:other", "network_mode"),
        ("network_mode", "service:elsewhere", "network_mode"),
        ("pid", "host", "pid"),
        ("pid", "container:1", "pid"),
        ("ipc", "host", "ipc"),
        ("uts", "host", "uts"),
        ("userns_mode", "host", "userns_mode"),
        ("cgroup", "host", "cgroup"),
        ("cgroup_parent", "/", "cgroup_parent"),
        ("security_opt", ["seccomp=unconfined"], "security_opt[0]"),
        ("security_opt", ["no-new-privileges:false"], "security_opt[0]"),
        ("security_opt", ["systempaths=unconfined"], "security_opt[0]"),
        ("sysctls", {"kernel.core_pattern": "|/x"}, "sysctls.kernel.core_pattern"),
        ("sysctls", {"vm.max_map_count": 1}, "sysctls.vm.max_map_count"),
        ("runtime", "nvidia", "runtime"),
        ("gpus", [{"count": -1}], "gpus"),
        ("storage_opt", {"size": "1G"}, "storage_opt"),
        ("blkio_config", {"weight": 1}, "blkio_config"),
        ("oom_score_adj", -1000, "oom_score_adj"),
        ("oom_kill_disable", True, "oom_kill_disable"),
        ("cpu_rt_runtime", "1ms", "cpu_rt_runtime"),
        ("logging", {"driver": "syslog"}, "logging.driver"),
        ("logging", {"options": {"tag": "x"}}, "logging.options.tag"),
        ("external_links", ["other"], "external_links"),
        ("links", ["foreign:db"], "links[0]"),
        ("volumes_from", ["container:other"], "volumes_from[0]"),
        ("extra_hosts", ["h=host-gateway"], "extra_hosts[0]"),
        ("labels", {"com.docker.compose.project": "x"}, "labels.com.docker.compose.project"),
        ("labels", {"Container-Host-Agent.environment": ""}, "labels.Container-Host-Agent"),
        ("image", "container-host-agent/own:1", "image"),
        ("image", "index.docker.io/container-host-agent/own:1", "image"),
        ("image", "sha256:0123", "image"),
        ("image", "127.0.0.1:5000/x", "image"),
        ("image", "2130706433/x.y:1/z", "image"),
        ("ports", [{"target": 80, "published": "8003"}], "ports[0].published"),
        ("ports", [{"target": 80, "published": "8000-8010"}], "ports[0].published"),
        ("ports", [{"target": 80, "published": 8003.0}], "ports[0].published"),
        ("ports", ["80:80"], "ports[0]"),
        ("ports", [{"target": n, "published": "1"} for n in range(1, 102)], "ports"),
        ("healthcheck", {"interval": "1ms"}, "healthcheck.interval"),
        ("healthcheck", {"test": ["BOGUS", "x"]}, "healthcheck.test"),
        ("healthcheck", {"test": ["CMD"]}, "healthcheck.test"),
        ("user", "1000\n0", "user"),
        ("user", "1000 0", "user"),
        ("labels", {"": "x"}, "labels."),
        ("labels", {"a b": "x"}, "labels.a b"),
        ("labels", {"a\nb": "x"}, "labels.a"),
        ("labels", {"a=b": "x"}, "labels.a=b"),
        ("shm_size", "99999999999", "shm_size"),
        ("ulimits", {"nofile": 2**40}, "ulimits.nofile"),
        ("ulimits", {"rtprio": 99}, "ulimits.rtprio"),
        ("tmpfs", ["/x:size=99g"], "tmpfs[0]"),
        ("tmpfs", ["/x:bind"], "tmpfs[0]"),
        ("tmpfs", ["/proc/x"], "tmpfs[0]"),
        ("post_start", [{"command": ["x"], "privileged": True}], "post_start[0].privileged"),
        ("provider", {"type": "x"}, "provider"),
        ("use_api_socket", True, "use_api_socket"),
        ("models", ["x"], "models"),
        ("develop", {"watch": [{}]}, "develop"),
        ("annotations", {"a": "b"}, "annotations"),
        ("credential_spec", {"file": "x"}, "credential_spec"),
        ("volume_driver", "x", "volume_driver"),
        ("deploy", {"resources": {"reservations": {"devices": [{}]}}}, "deploy.resources."),
        ("deploy", {"labels": {"com.docker.x": ""}}, "deploy.labels."),
        ("networks", {"n": {"driver_opts": {"a": "b"}}}, "networks.n.driver_opts"),
        ("networks", {"n": {"link_local_ips": ["169.254.169.254"]}}, "networks.n.link_local_ips"),
        ("configs", [{"source": "c", "target": "/sys/x"}], "configs[0].target"),
        ("made_up", 1, "made_up"),
    ],
)  # fmt: skip
def test_what_reaches_out_of_its_box_is_refused_at_its_place(
    key: str, value: Any, where: str
) -> None:
    assert any(
        place.startswith(where)
        for place in (
            *of_service(**{key: value}),
            *places({"services": {"a": {"image": "x", key: value}}}),
        )
    )
    assert of_service(**{key: value})


@pytest.mark.parametrize(
    "source",
    [
        "/", "/etc", "/var/run/docker.sock", "/run/docker.sock", "//var/run/docker.sock", "~/x",
        "./x", "", None, f"{HOME}/..", f"{HOME}/../two", f"{HOME}/./../two", f"{HOME}x",
        "/bundles", "/srv/shared/../../etc", "/srv/sharedx", "/proc/self/root",
        f"{HOME}/a//b", "\\\\.\\pipe\\docker_engine",
    ],
)  # fmt: skip
def test_nothing_outside_of_the_bundle_is_mounted(source: str | None) -> None:
    mount = {"type": "bind", "source": source, "target": "/x"}

    assert of_service(volumes=[mount]) == ["volumes[0]"]
    assert places({"services": {}, "secrets": {"s": {"file": source}}}) or source is None


@pytest.mark.parametrize(
    "mount",
    [
        {"type": "npipe", "source": "x", "target": "/x"},
        {"type": "cluster", "source": "x", "target": "/x"},
        {"type": "image", "source": "x", "target": "/x"},
        {"source": "/etc", "target": "/x"},
        {"type": "volume", "source": "somebodys", "target": "/x"},
        {"type": "volume", "target": "/x", "volume": {"subpath": "a"}},
        {"type": "volume", "target": "/"},
        {"type": "volume", "target": "/proc/sys"},
        {"type": "volume", "target": "/x/../sys"},
        {"type": "volume", "target": "relative"},
        {"type": "bind", "source": HOME, "target": "/x", "bind": {"propagation": "shared"}},
        {"type": "tmpfs", "target": "/x", "tmpfs": {"size": 2**40}},
    ],
)
def test_other_mounts_that_reach_out_are_refused(mount: Mapping[str, Any]) -> None:
    (place, *_) = of_service(volumes=[mount])

    assert place.startswith("volumes[0]")


@pytest.mark.parametrize(
    ("build", "where"),
    [
        ({"context": "https://example.org/x.git"}, "context"),
        ({"context": "/etc"}, "context"),
        ({"context": HOME, "dockerfile": "../two/Dockerfile"}, "dockerfile"),
        ({"context": HOME, "dockerfile": "/etc/passwd"}, "dockerfile"),
        ({"context": HOME, "additional_contexts": {"x": "/etc"}}, "additional_contexts.x"),
        ({"context": HOME, "additional_contexts": {"x": "oci-layout:///x"}}, "additional_contexts"),
        ({"context": HOME, "additional_contexts": ["x=/etc"]}, "additional_contexts"),
        (
            {"context": HOME, "additional_contexts": {"x": "docker-image://10.0.0.1/y"}},
            "additional_contexts.x",
        ),
        ({"context": HOME, "network": "host"}, "network"),
        ({"context": HOME, "ssh": ["default"]}, "ssh"),
        ({"context": HOME, "cache_from": ["type=local,src=/"]}, "cache_from"),
        ({"context": HOME, "cache_to": ["type=local,dest=/"]}, "cache_to"),
        ({"context": HOME, "tags": ["other-lab-web"]}, "tags"),
        ({"context": HOME, "privileged": True}, "privileged"),
        ({"context": HOME, "entitlements": ["network.host"]}, "entitlements"),
        ({"context": HOME, "labels": {"container-host-agent.build": "x"}}, "labels."),
        ({"context": HOME, "sbom": "generator=x"}, "sbom"),
        ({"context": HOME, "made_up": True}, "made_up"),
    ],
)
def test_builds_take_in_nothing_but_the_bundle(build: Mapping[str, Any], where: str) -> None:
    assert all(place.startswith(f"build.{where}") for place in of_service(build=build))
    assert of_service(build=build)


def test_builds_of_honest_labs_pass() -> None:
    build = {
        "context": f"{HOME}/app",
        "dockerfile": "../docker/Dockerfile",
        "args": {"A": "1"},
        "target": "run",
        "additional_contexts": {
            "x": f"{HOME}/sub",
            "y": "docker-image://alpine",
            "z": "service:db",
        },
        "network": "none",
        "secrets": [{"source": "s"}],
    }

    assert of_service(build=build) == []


@pytest.mark.parametrize(
    ("kind", "body", "where"),
    [
        ("volumes", {"driver_opts": {"type": "none", "o": "bind", "device": "/"}}, "driver_opts"),
        ("volumes", {"driver": "nfs"}, "driver"),
        ("volumes", {"external": True}, "external"),
        ("volumes", {"labels": {"com.docker.compose.project": "x"}}, "labels."),
        ("networks", {"external": True}, "external"),
        ("networks", {"driver": "macvlan"}, "driver"),
        ("networks", {"driver": "host"}, "driver"),
        (
            "networks",
            {"driver_opts": {"com.docker.network.bridge.name": "docker0"}},
            "driver_opts.com.docker.network.bridge.name",
        ),
        ("networks", {"ipam": {"driver": "x"}}, "ipam.driver"),
        ("networks", {"ipam": {"options": {"a": "b"}}}, "ipam.options"),
        ("networks", {"ipam": {"config": [{"subnet": "10.213.7.0/24"}]}}, "ipam.config[0].subnet"),
        ("configs", {"content": "x"}, "content"),
        ("configs", {"environment": "SERVER_KEY"}, "environment"),
        ("secrets", {"environment": "SERVER_KEY"}, "environment"),
        ("secrets", {"external": True}, "external"),
        ("secrets", {"file": "/etc/shadow"}, "file"),
    ],
)
def test_what_environments_would_share_is_refused(
    kind: str, body: Mapping[str, Any], where: str
) -> None:
    document = {"services": {"a": {"image": "x"}}, kind: {"n": body}}

    assert [place.startswith(f"{kind}.n.{where}") for place in places(document)] == [True]


@pytest.mark.parametrize("subnet", ["8.8.8.0/24", "10.0.0.0/12", "169.254.0.0/16", "127.0.0.0/24"])
def test_fixed_addresses_come_from_ranges_that_nobody_else_needs(subnet: str) -> None:
    def document(address: str | None) -> Mapping[str, Any]:
        network = {"ipam": {"config": [{"subnet": subnet}]}}
        options = {"ipv4_address": address} if address else None
        return {
            "services": {"a": {"image": "x", "networks": {"n": options}}},
            "networks": {"n": network},
        }

    assert places(document("8.8.8.8")) == ["networks.n.ipam.config[0].subnet"]
    # Ranges without fixed addresses are not kept.
    assert places(document(None)) == []


def test_only_ports_of_the_range_are_published() -> None:
    rules = PolicyRules(host_ports=PortRange(20_000, 20_100))

    assert of_service(rules, ports=[{"target": 1, "published": "20000-20100"}]) == []
    assert of_service(rules, ports=[{"target": 1, "published": "0"}]) == []
    assert of_service(rules, ports=[{"target": 1, "published": "19999-20001"}])
    assert of_service(rules, ports=[{"target": 1, "published": "80"}])


def test_services_do_not_pass_for_other_environments() -> None:
    name = "0b6f7d0e-5c3f-4d0e-9a53-0123456789ab"

    assert places({"services": {name: {"image": "x"}}}) == [f"services.{name}"]
    assert places({"services": {"a" * 64: {"image": "x"}}})


def test_values_do_not_tell_where_the_agent_keeps_its_own() -> None:
    assert of_service(environment={"H": "/var/lib/agent/compose"}) == ["environment.H"]


def test_all_findings_come_at_once_and_tell_what_to_do_but_not_where_bundles_lie() -> None:
    findings = judge_service(
        "a",
        {
            "image": "x",
            "privileged": True,
            "pid": "host",
            "volumes": [{"type": "bind", "source": f"{HOME}/../x\x1b[0m", "target": "/x"}],
        },
        RULES,
        folder=HOME,
    )

    assert len(findings) == 3
    for finding in findings:
        assert finding.why
        assert finding.instead
        assert HOME not in finding.sentence
        assert "\x1b" not in finding.sentence


def test_every_row_has_a_reason() -> None:
    rows: list[Row] = [*SERVICE.values(), *BUILD.values(), *NETWORK.values(), *VOLUME.values()]

    assert all(row.reason for row in [*rows, *MODEL.values()])


@pytest.mark.parametrize(
    "body",
    [
        {"privileged": True, "pid": "host", "network_mode": "host", "cap_add": ["ALL"]},
        {"volumes": [{"type": "bind", "source": "/", "target": "/host"}]},
        {"image": "10.0.0.1:5000/x", "made_up": 1, "logging": {"driver": "syslog"}},
        {"ports": [{"target": 80, "published": "22"}], "devices": ["/dev/sda"]},
    ],
)
def test_trusted_bundles_may_ask_for_everything_but(body: Mapping[str, Any]) -> None:
    assert of_service(TRUSTED, **body) == []
    assert of_service(**body)


@pytest.mark.parametrize(
    "body",
    [
        {"ports": [{"target": 80, "published": "8000-8010"}]},
        {"labels": {"container-host-agent.environment": "other"}},
        {"image": "container-host-agent/own:1"},
        {"build": {"context": "/x", "tags": ["container-host-agent/own:1"]}},
        {"volumes": [{"type": "bind", "source": "/var/lib/agent/x", "target": "/x"}]},
    ],
)
def test_what_would_break_the_agent_is_refused_to_trusted_bundles_too(
    body: Mapping[str, Any],
) -> None:
    assert len(of_service(TRUSTED, **body)) == 1


@given(st.sampled_from(["SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "ALL"]), st.data())
def test_a_capability_is_known_in_every_spelling(name: str, data: st.DataObject) -> None:
    spelled = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in name)

    assert of_service(cap_add=[data.draw(st.sampled_from(["", "CAP_", "cap_"])) + spelled])


@given(st.lists(st.sampled_from(["..", ".", "", "x", "etc", "one"]), max_size=8))
def test_a_path_passes_only_where_it_leads_into_the_bundle(parts: list[str]) -> None:
    path = "/".join([HOME, *parts])
    way: list[str] = []
    for part in path.split("/"):
        if part == "..":
            way = way[:-1]
        elif part not in {"", "."}:
            way.append(part)

    if not of_service(volumes=[{"type": "bind", "source": path, "target": "/x"}]):
        assert way[:2] == ["bundles", "one"]
        assert ".." not in parts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(sorted(SERVICE)), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(SERVICE)), JSON)
def test_whatever_stands_in_a_service_is_judged(key: str, value: Any) -> None:
    of_service(**{key: value})
    of_service(TRUSTED, **{key: value})


@given(st.sampled_from(sorted(MODEL)), JSON, st.sampled_from(sorted(BUILD)), JSON)
def test_whatever_stands_in_a_model_is_judged(key: str, value: Any, part: str, inner: Any) -> None:
    for rules in (RULES, TRUSTED):
        places({"services": {"a": {"build": {part: inner}}}, key: value}, rules)
        places({"services": {"a": {}}, key: {"n": value}}, rules)

"""What is made of a resolved project before it runs beside others."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.arrangement import (
    ENVIRONMENT_LABEL,
    WORKSPACE_LABEL,
    Arrangement,
    arranged,
    belongs_to,
    build_document,
    network_needs,
    relocated,
    resource_name,
    service_records,
    with_images,
)
from domain.compose_model import ComposeModel, Document, compose_model
from domain.compose_policy import PolicyRules, PortRange
from domain.environments import Isolation
from domain.images import BUILD_LABEL, BuildPlan
from domain.limits import ContainerLimits, HeldLimits, LimitRules
from domain.names import EnvironmentName

LAB = EnvironmentName("lab")
MEGABYTE = 2**20
RULES = LimitRules(
    defaults=HeldLimits(cpus=1, memory_bytes=64 * MEGABYTE, pids=100, log_bytes=1000),
    most=HeldLimits(cpus=4, memory_bytes=512 * MEGABYTE, pids=999, log_bytes=9000),
)
ASKED = ContainerLimits(log_bytes=5000)
PLAN = BuildPlan(service="web", tag="container-host-agent/shared:1", own=False)


def model(services: Mapping[str, Any], **top: Any) -> ComposeModel:
    return compose_model({"name": "staged", "services": services, **top})


def run(
    found: ComposeModel,
    *plans: BuildPlan,
    subnets: Mapping[str, str] | None = None,
    isolation: Isolation = Isolation.OPEN,
) -> Document:
    """The document that is run for a model."""
    arrangement = Arrangement(
        name=LAB,
        isolation=isolation,
        services=service_records(found, ASKED, RULES, cpus=8),
        subnets=subnets or {},
    )
    return arranged(found, arrangement, {plan.service: plan for plan in plans})


def only(body: Mapping[str, Any], *plans: BuildPlan, **top: Any) -> dict[str, Any]:
    """What becomes of the only service of a project."""
    service: dict[str, Any] = run(model({"web": body}, **top), *plans)["services"]["web"]
    return service


def test_services_are_recorded_with_image_replicas_and_limits() -> None:
    found = model({"b": {"build": {}, "scale": 2}, "a": {"image": "busybox", "cpus": 0.5}})

    a, b = service_records(found, ContainerLimits(pids=7), RULES, cpus=8)

    assert (a.name, a.image, a.replicas, a.limits.cpus, a.limits.pids) == (
        "a",
        "busybox",
        1,
        0.5,
        7,
    )
    assert (b.name, b.image, b.replicas, b.limits.cpus) == ("b", "", 2, 1)


def test_networks_need_room_for_the_containers_that_join_them() -> None:
    found = model(
        {
            "a": {"image": "x", "scale": 3, "networks": {"front": None, "back": None}},
            "b": {"image": "x", "networks": {"back": {"aliases": ["db"]}}},
        },
        networks={"front": None, "back": None, "unused": None},
    )

    assert network_needs(found) == {"front": 3, "back": 4, "unused": 0}


@pytest.mark.parametrize("key", ["ipv4_address", "ipv6_address"])
def test_a_network_with_fixed_addresses_keeps_its_authors_range(key: str) -> None:
    ipam = {"config": [{"subnet": "172.30.0.0/24"}]}
    found = model(
        {"a": {"image": "x", "networks": {"fixed": {key: "172.30.0.5"}, "free": None}}},
        networks={"fixed": {"ipam": ipam}, "free": {}},
    )

    assert network_needs(found) == {"free": 1}
    assert run(found, subnets={"free": "10.213.0.0/28"})["networks"]["fixed"]["ipam"] == ipam


def test_networks_and_volumes_bear_the_environments_name_whatever_they_were_called() -> None:
    found = model(
        {"a": {"image": "x"}},
        networks={"default": {"name": "staged_default"}, "own": {"name": "everybodys"}},
        volumes={"data": {"name": "everybodys", "labels": {"a": "b"}}, "more": None},
    )

    document = run(found)

    assert document["name"] == LAB
    assert {n["name"] for n in document["networks"].values()} == {"lab_default", "lab_own"}
    own = {ENVIRONMENT_LABEL: LAB, WORKSPACE_LABEL: ""}
    assert document["volumes"] == {
        "data": {"name": "lab_data", "labels": {"a": "b", **own}},
        "more": {"name": "lab_more", "labels": own},
    }
    assert all(own == network["labels"] for network in document["networks"].values())


def test_networks_get_their_subnets_in_place_of_what_was_there() -> None:
    found = model(
        {"a": {"image": "x"}},
        networks={"default": {"ipam": {"config": [{"subnet": "172.16.0.0/12"}]}}},
    )

    network = run(found, subnets={"default": "10.213.0.0/28"})["networks"]["default"]

    assert network["ipam"] == {"config": [{"subnet": "10.213.0.0/28"}]}
    assert network["enable_ipv6"] is False


def test_no_network_gets_addresses_of_the_other_kind_which_nobody_hands_out() -> None:
    networks = run(model({"a": {"image": "x"}}, networks={"n": {"enable_ipv6": True}}))["networks"]

    assert networks["n"]["enable_ipv6"] is False


def test_an_internal_environments_networks_lead_nowhere() -> None:
    found = model({"a": {"image": "x"}}, networks={"one": None, "two": {"internal": True}})

    closed = run(found, isolation=Isolation.INTERNAL)["networks"]
    opened = run(found, isolation=Isolation.OPEN)["networks"]

    assert [closed[name]["internal"] for name in ("one", "two")] == [True, True]
    assert [opened[name].get("internal") for name in ("one", "two")] == [None, True]


def test_a_container_name_becomes_an_alias_in_each_of_its_networks() -> None:
    networks = {"front": None, "back": {"aliases": ["db"], "priority": 1}}

    service = only({"image": "x", "container_name": "the-db", "networks": networks})

    assert "container_name" not in service
    assert service["networks"] == {
        "front": {"aliases": ["the-db"]},
        "back": {"aliases": ["db", "the-db"], "priority": 1},
    }


def test_containers_are_marked_with_their_environment_whatever_the_bundle_says() -> None:
    labels = {"owner": "me", ENVIRONMENT_LABEL: "somebody-elses"}

    own = {ENVIRONMENT_LABEL: LAB, WORKSPACE_LABEL: ""}
    assert only({"image": "x"})["labels"] == own
    assert only({"image": "x", "labels": labels})["labels"] == {"owner": "me", **own}


def test_limits_are_set_in_composes_words() -> None:
    service = only({"image": "x"})

    assert service["cpus"] == 1
    assert service["mem_limit"] == service["memswap_limit"] == str(64 * MEGABYTE)
    assert service["pids_limit"] == 100
    assert service["logging"] == {
        "driver": "json-file",
        "options": {"max-size": "2500", "max-file": "2"},
    }


def test_nothing_of_the_bundles_own_stands_beside_the_limits() -> None:
    service = only(
        {
            "image": "x",
            "cpu_quota": 900_000,
            "cpu_period": 1000,
            "cpu_count": 9,
            "cpu_percent": 900,
            "mem_reservation": "9g",
            "memswap_limit": -1,
            "logging": {"driver": "syslog", "options": {"syslog-address": "tcp://x"}},
            "deploy": {
                "replicas": 2,
                "resources": {"limits": {"cpus": 9}, "reservations": {"memory": "9g"}},
            },
        }
    )

    left = {"cpu_quota", "cpu_period", "cpu_count", "cpu_percent", "mem_reservation"} & set(service)
    assert left == set()
    assert service["memswap_limit"] == service["mem_limit"]
    assert service["logging"]["driver"] == "json-file"
    assert service["deploy"] == {"replicas": 2}


def test_what_has_no_say_in_limits_names_and_networks_stays_as_it_is() -> None:
    body = {
        "image": "busybox",
        "command": ["sleep", "600"],
        "environment": {"A": "1"},
        "ports": [{"target": 80, "published": "8080"}],
        "depends_on": {"db": {"condition": "service_started"}},
    }

    service = only(body, secrets={"s": {"file": "/x"}})

    assert {key: service[key] for key in body} == body
    assert "pull_policy" not in service


def test_profiles_are_left_out_as_compose_has_applied_them() -> None:
    assert "profiles" not in only({"image": "x", "profiles": ["debug"]})


def test_a_service_that_is_built_runs_what_was_built_and_nothing_is_pulled() -> None:
    service = only({"image": "mine", "build": {"context": "/x"}}, PLAN)

    assert (service["image"], service["pull_policy"]) == (PLAN.tag, "never")


@pytest.mark.parametrize("named", ["mine", "lab-web"])
def test_a_service_that_uses_anothers_image_runs_what_was_built_for_that_one(named: str) -> None:
    found = model({"web": {"image": "mine", "build": {"context": "/x"}}, "copy": {"image": named}})

    copied = run(found, PLAN)["services"]["copy"]

    assert (copied["image"], copied["pull_policy"]) == (PLAN.tag, "never")


def test_the_model_itself_stays_as_compose_resolved_it() -> None:
    document = {
        "name": "staged",
        "services": {"web": {"build": {}, "container_name": "x", "networks": {"n": {}}}},
        "networks": {"n": {"name": "staged_n"}},
    }
    before = copy.deepcopy(document)

    run(compose_model(document), PLAN, subnets={"n": "10.213.0.0/28"})

    assert document == before


def test_rebuilt_images_take_the_place_of_those_before_wherever_they_are_used() -> None:
    document = {
        "name": LAB,
        "services": {"web": {"image": "old"}, "copy": {"image": "old"}, "db": {"image": "db"}},
        "networks": {},
    }
    plan = BuildPlan(service="web", tag="new", own=True)

    newer = with_images(document, {"web": plan})

    images = {name: body["image"] for name, body in newer["services"].items()}
    assert images == {"web": "new", "copy": "new", "db": "db"}
    assert newer["networks"] == {}


def test_what_is_built_is_built_alone_and_marked_with_its_digest() -> None:
    found = model(
        {
            "web": {
                "image": "mine",
                "command": "x",
                "build": {"context": "/x", "labels": {"owner": "me", BUILD_LABEL: "forged"}},
            },
            "other": {"build": {"context": "/y"}},
            "db": {"image": "db"},
        },
        secrets={"token": {"file": "/t"}},
        networks={"default": None},
    )

    document = build_document(found, "builds", [PLAN], digests={PLAN.tag: "d1"}, workspace="/labs")

    assert document == {
        "name": "builds",
        "services": {
            "web": {
                "image": PLAN.tag,
                "build": {
                    "context": "/x",
                    "labels": {"owner": "me", BUILD_LABEL: "d1", WORKSPACE_LABEL: "/labs"},
                    # Cache mounts are nobody else's.
                    "args": {"BUILDKIT_CACHE_MOUNT_NS": PLAN.tag},
                },
            }
        },
        "secrets": {"token": {"file": "/t"}},
    }


def test_paths_below_a_folder_lead_below_another_and_no_other_text_does() -> None:
    document = {
        "context": "/root/.agent/op/staged",
        "binds": ["/root/.agent/op/staged/data", "/root/.agent/op/staged-not", "/etc"],
        "text": "see /root/.agent/op/staged/x",
        "number": 1,
        "nothing": None,
    }

    assert relocated(document, "/root/.agent/op/staged", "/root/lab") == {
        "context": "/root/lab",
        "binds": ["/root/lab/data", "/root/.agent/op/staged-not", "/etc"],
        "text": "see /root/.agent/op/staged/x",
        "number": 1,
        "nothing": None,
    }


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["/a", "/a/b", "/ab", "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(documents)
def test_what_was_moved_there_and_back_is_the_same(document: object) -> None:
    assert relocated(relocated(document, "/a", "/else/where"), "/else/where", "/a") == document


@given(
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True),
    st.from_regex(r"[a-z0-9._-]{1,5}", fullmatch=True),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True),
    st.from_regex(r"[a-z0-9._-]{1,5}", fullmatch=True),
)
def test_no_two_environments_give_one_name(one: str, key: str, other: str, its: str) -> None:
    if (one, key) != (other, its):
        assert resource_name(one, key) != resource_name(other, its)
    assert belongs_to(resource_name(one, key), one)
    if one != other:
        assert not belongs_to(resource_name(one, key), other)


def test_names_are_as_compose_gives_them_where_that_can_be_read_in_one_way() -> None:
    assert resource_name("lab-1", "db_data") == "lab-1_db_data"
    assert resource_name("lab_1", "data") == "lab_1.data"


def test_ports_that_docker_may_choose_are_chosen_out_of_the_range() -> None:
    ports = [{"target": 80}, {"target": 1, "published": "9"}]
    found = model({"web": {"image": "x", "ports": ports}})
    rules = PolicyRules(host_ports=PortRange(8000, 9000), own_port=8003)
    arrangement = Arrangement(
        name=LAB,
        isolation=Isolation.OPEN,
        services=service_records(found, ASKED, RULES, cpus=8),
        subnets={},
        policy=rules,
    )

    ports = arranged(found, arrangement, {})["services"]["web"]["ports"]

    assert [port["published"] for port in ports] == ["8004-9000", "9"]
    assert "published" not in only({"image": "x", "ports": [{"target": 80}]})["ports"][0]


def test_variables_that_nobody_set_are_left_out() -> None:
    assert only({"image": "x", "environment": {"A": None, "B": "1"}})["environment"] == {"B": "1"}

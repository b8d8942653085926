"""The host's networks over the API."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from typing import Any

import anyio
import httpx
import pytest

from domain.usecases.network_pruning import NetworkPruneWish
from tests.support.agents import World, agent_on_twins
from tests.support.api import call, deploy, lab

pytestmark = pytest.mark.anyio

NETWORKS = "/api/v1/networks"
LAB = lab("services: {web: {image: 'nginx:1'}}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def make(world: World, **fields: Any) -> httpx.Response:
    return await call(world, "POST", NETWORKS, {"name": "own", **fields})


async def names(world: World, query: str = "") -> list[str]:
    answer = await call(world, "GET", f"{NETWORKS}{query}")
    assert answer.status_code == 200, answer.text
    return [network["name"] for network in answer.json()["networks"]]


async def test_they_are_listed_by_name_with_the_environment_they_belong_to(world: World) -> None:
    await deploy(world, "one", LAB)
    await make(world, labels={"course": "web"})

    rows = (await call(world, "GET", NETWORKS)).json()["networks"]

    assert [(r["name"], r["environment"]) for r in rows] == [
        ("bridge", None),
        ("host", None),
        ("none", None),
        ("one_default", "one"),
        ("own", None),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?name=ow", ["own"]),
        ("?label=course", ["own"]),
        ("?label=course=web", ["own"]),
        ("?label=course=db", []),
        ("?environment=one", ["one_default"]),
        ("?limit=2", ["bridge", "host"]),
        ("?driver=null", ["none"]),
        ("?unused=true&driver=bridge", ["bridge", "own"]),
        ("?unused=false", ["one_default"]),
    ],
)
async def test_filters_and_limits_choose(world: World, query: str, found: list[str]) -> None:
    await deploy(world, "one", LAB)
    await make(world, labels={"course": "web"})

    assert await names(world, query) == found


async def test_a_network_gets_addresses_of_the_pool_that_no_environment_has(world: World) -> None:
    await deploy(world, "one", LAB)

    made = await make(world, internal=True)
    more = await make(world, name="more")

    assert made.status_code == 201
    assert made.headers["location"] == f"{NETWORKS}/{made.json()['id']}"
    assert made.json()["internal"]
    ranges = [answer.json()["ranges"][0]["subnet"] for answer in (made, more)]
    assert all(subnet.startswith("10.213.") for subnet in ranges)
    assert len({*ranges, *world.engine.subnets.values()}) == 3


async def test_a_network_takes_no_more_than_a_part_of_the_pool() -> None:
    async with agent_on_twins({"NETWORK_POOL": "10.213.0.0/24"}) as world:
        await deploy(world, "one", LAB)

        sizes = [
            (await make(world, name=f"n{number}")).json()["ranges"][0]["subnet"][-3:]
            for number in range(10)
        ]

        assert sizes == ["/28"] * 10


async def test_a_full_pool_refuses_with_a_reason() -> None:
    async with agent_on_twins({"NETWORK_POOL": "10.213.0.0/24"}) as world:
        answers = [(await make(world, name=f"n{number}")) for number in range(17)]

        assert [answer.status_code for answer in answers] == [201] * 16 + [503]
        assert "NETWORK_POOL" in answers[16].json()["detail"]


async def test_addresses_can_be_chosen(world: World) -> None:
    made = await make(world, subnet="10.99.0.0/24", gateway="10.99.0.254")

    assert made.json()["ranges"] == [{"subnet": "10.99.0.0/24", "gateway": "10.99.0.254"}]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a/b"}, "cannot name a network"),
        ({"name": "../x"}, "cannot name a network"),
        ({"name": ""}, "cannot name a network"),
        ({"driver": "macvlan"}, "Only networks of the driver bridge are known"),
        ({"labels": {"": "x"}}, "can be neither told apart"),
        ({"driver": "host"}, "driver"),
        ({"subnet": "10.99.0.1/24"}, "no range"),
        ({"subnet": "10.0.0.0/4"}, "no range"),
        ({"subnet": "fd00::/64"}, "no range"),
        ({"subnet": "8.8.8.0/24"}, "subnet = 8.8.8.0/24: The host itself would no more reach"),
        ({"subnet": "127.1.0.0/16"}, "no more reach"),
        ({"subnet": "169.254.169.0/24"}, "no more reach"),
        ({"subnet": "10.213.7.0/24"}, "Addresses of 10.213.0.0/16 are used by this host"),
        ({"subnet": "10.208.0.0/12"}, "Addresses of 10.213.0.0/16 are used by this host"),
        ({"options": {"com.docker.network.bridge.name": "eth0"}}, "options.com.docker.network"),
        ({"options": {"parent": "eth0"}}, "options.parent"),
        ({"subnet": "0.0.0.0/0"}, "from /8"),
        ({"gateway": "10.9.0.1"}, "needs a subnet"),
        ({"subnet": "10.99.0.0/24", "gateway": "10.98.0.1"}, "does not lie in"),
        ({"labels": {"com.docker.compose.project": "one"}}, "label"),
        ({"labels": {"container-host-agent.environment": "one"}}, "label"),
        ({"strange": 1}, "strange"),
    ],
)
async def test_what_no_network_may_be_is_refused(
    world: World, fields: dict[str, Any], words: str
) -> None:
    answer = await make(world, **fields)

    assert answer.status_code == 422, answer.text
    assert words in answer.text
    assert await names(world) == ["bridge", "host", "none"]


async def test_a_range_that_the_host_needs_is_refused(world: World) -> None:
    answer = await make(world, subnet="10.0.0.0/24")

    assert answer.status_code == 422
    assert "10.0.0.0/24" in answer.json()["detail"]


async def test_no_two_have_one_name(world: World) -> None:
    await make(world)

    assert (await make(world)).status_code == 409


async def test_containers_join_and_leave(world: World) -> None:
    await make(world)
    world.engine.run("solo")

    joined = await call(
        world, "POST", f"{NETWORKS}/own/connect", {"container": "solo", "aliases": ["db"]}
    )
    left = await call(world, "POST", f"{NETWORKS}/own/disconnect", {"container": "solo"})

    assert [e["container"] for e in joined.json()["endpoints"]] == ["solo"]
    assert left.json()["endpoints"] == []


async def test_one_who_joins_can_have_an_address_of_its_own(world: World) -> None:
    subnet = (await make(world)).json()["ranges"][0]["subnet"]
    world.engine.run("solo")
    wanted = str(IPv4Network(subnet)[77])

    joined = await join(world, "own", "solo", ipv4_address=wanted)

    assert joined.json()["endpoints"][0]["ipv4_address"].startswith(f"{wanted}/")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ipv4_address": "10.99.0.5"}, "none of network 'own'"),
        ({"ipv4_address": "10.213.0.5/16"}, "no IPv4 address"),
        ({"ipv4_address": "::1"}, "no IPv4 address"),
        ({"aliases": ["a/b"]}, "cannot be an alias"),
        ({"aliases": [""]}, "cannot be an alias"),
        ({"aliases": ["a"] * 33}, "aliases"),
        ({"container": "a/b"}, "cannot name a container"),
    ],
)
async def test_who_cannot_join_so_is_refused(
    world: World, fields: dict[str, Any], words: str
) -> None:
    await make(world)
    world.engine.run("solo")

    answer = await join(world, "own", **{"container": "solo", **fields})

    assert answer.status_code == 422, answer.text
    assert words in answer.text


async def test_nobody_joins_a_network_that_nothing_keeps_from_the_host(world: World) -> None:
    await make(world, subnet="10.99.0.0/24")
    world.engine.run("solo")

    answer = await join(world, "own", "solo")

    assert answer.status_code == 422
    assert "NETWORK_POOL" in answer.json()["detail"]


async def test_a_container_of_an_environment_joins_others_only_by_force(world: World) -> None:
    await deploy(world, "one", LAB)
    await make(world)

    refused = await join(world, "own", "one-web-1")
    forced = await join(world, "own", "one-web-1", force=True)

    assert [refused.status_code, forced.status_code] == [409, 200]
    assert "belongs to environment 'one'" in refused.json()["detail"]


async def test_a_stopped_container_is_shown_in_its_networks(world: World) -> None:
    await make(world)
    world.engine.run("solo")
    await join(world, "own", "solo")
    world.engine.stop("solo")

    shown = (await call(world, "GET", f"{NETWORKS}/own")).json()

    assert [(e["container"], e["running"]) for e in shown["endpoints"]] == [("solo", False)]
    assert went(await prune(world, "?dry_run=true")) == []


async def test_one_is_found_by_how_its_identifier_begins(world: World) -> None:
    made = (await make(world)).json()

    shown = (await call(world, "GET", f"{NETWORKS}/{made['id'][:63]}")).json()

    assert shown["name"] == "own"


async def test_a_name_can_be_given_to_two_networks_by_none(world: World) -> None:
    async with anyio.create_task_group() as group:
        answers: list[int] = []

        async def once() -> None:
            answers.append((await make(world)).status_code)

        for _ in range(3):
            group.start_soon(once)

    assert sorted(answers) == [201, 409, 409]


async def join(
    world: World, network: str, container: str, *, force: bool = False, **fields: Any
) -> httpx.Response:
    path = f"{NETWORKS}/{network}/connect{'?force=true' if force else ''}"
    return await call(world, "POST", path, {"container": container, **fields})


async def test_what_belongs_to_an_environment_is_changed_only_by_force(world: World) -> None:
    await deploy(world, "one", LAB)
    world.engine.run("solo")
    changes = [
        ("POST", "one_default/connect", {"container": "solo"}),
        ("POST", "one_default/disconnect", {"container": "solo"}),
        ("DELETE", "one_default", None),
    ]
    for method, path, body in changes:
        answer = await call(world, method, f"{NETWORKS}/{path}", body)
        assert answer.status_code == 409
        assert "belongs to environment 'one'" in answer.json()["detail"]

    forced = await call(
        world, "POST", f"{NETWORKS}/one_default/connect?force=true", {"container": "solo"}
    )
    assert forced.status_code == 200


async def test_dockers_own_cannot_be_changed(world: World) -> None:
    assert (await call(world, "DELETE", f"{NETWORKS}/bridge?force=true")).status_code == 409


async def test_a_network_is_removed_once_nobody_is_in_it(world: World) -> None:
    await make(world)
    world.engine.run("solo")
    await call(world, "POST", f"{NETWORKS}/own/connect", {"container": "solo"})

    assert (await call(world, "DELETE", f"{NETWORKS}/own")).status_code == 409
    world.engine.remove("solo")
    assert (await call(world, "DELETE", f"{NETWORKS}/own")).status_code == 204
    assert (await call(world, "DELETE", f"{NETWORKS}/own")).status_code == 404


async def test_pruning_takes_what_nobody_uses_and_tells_before(world: World) -> None:
    await deploy(world, "one", LAB)
    await make(world)
    await make(world, name="used")
    world.engine.run("solo")
    await call(world, "POST", f"{NETWORKS}/used/connect", {"container": "solo"})

    told = await prune(world, "?dry_run=true")
    assert told["dry_run"]
    assert went(told) == ["own"]
    assert "own" in await names(world)

    assert went(await prune(world)) == ["own"]
    assert await names(world) == ["bridge", "host", "none", "one_default", "used"]


async def test_pruning_keeps_to_labels_and_age(world: World) -> None:
    for name, labels in (("a", {"course": "web"}), ("b", {})):
        await make(world, name=name, labels=labels)

    assert went(await prune(world, "?dry_run=true&older_than=1h")) == []
    assert went(await prune(world, "?label=course=db")) == []
    assert went(await prune(world, "?label=course")) == ["a"]


async def test_pruning_leaves_the_network_that_the_agent_made_for_single_containers(
    world: World,
) -> None:
    world.engine.tags["busybox:latest"] = "sha256:" + "1" * 64
    made = await call(world, "POST", "/api/v1/containers", {"name": "solo", "image": "busybox"})
    assert made.status_code == 201, made.text
    removed = await call(world, "DELETE", "/api/v1/containers/solo?force=true")
    assert removed.status_code == 204

    assert went(await prune(world)) == []


async def test_what_cannot_go_is_told_with_the_reason(world: World) -> None:
    await make(world)
    world.networks.active.add("own")

    answer = await prune(world)

    assert went(answer) == []
    assert [(kept["name"], "active" in kept["reason"]) for kept in answer["kept"]] == [
        ("own", True)
    ]


async def test_who_goes_first_does_not_keep_a_network(world: World) -> None:
    await make(world)
    solo = world.engine.run("solo")
    await join(world, "own", "solo")
    pruning, wish = world.agent.networks.pruning, NetworkPruneWish(dry_run=True)

    kept, gone = await pruning.prune(wish), await pruning.prune(wish, without={solo.id})

    assert [one.name for one in kept.networks] == []
    assert [one.name for one in gone.networks] == ["own"]


async def prune(world: World, query: str = "") -> dict[str, Any]:
    answer = await call(world, "POST", f"{NETWORKS}/prune{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def went(pruned: dict[str, Any]) -> list[str]:
    return [network["name"] for network in pruned["networks"]]


@pytest.mark.parametrize(
    "reference", ["a%2Fb", "..", "%2e%2e", "a%3Fx", "a%23x", "a%00", "-v", "%20"]
)
async def test_no_reference_reaches_anything_else(world: World, reference: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/connect")):
        body = {"container": "x"} if method == "POST" else None
        answer = await call(world, method, f"{NETWORKS}/{reference}{path}", body)
        assert answer.status_code in {404, 405, 422}, answer.text


async def test_an_engine_that_is_away_is_503(world: World) -> None:
    world.engine.fault = "is away"

    answer = await call(world, "GET", NETWORKS)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0

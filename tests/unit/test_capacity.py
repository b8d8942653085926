"""What the host still has room for: promises, and containers that run or are about to."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import (
    NOTHING,
    CapacityLimits,
    Demand,
    admit,
    admit_promises,
    committed_containers,
    demand,
    promised,
    singles_demand,
)
from domain.container_orders import CPUS_LABEL, MEMORY_LABEL
from domain.containers import PROJECT_LABEL, Container, ContainerState, Inventory
from domain.environments import Environment, EnvironmentState, ServiceRecord
from domain.errors import CapacityExceeded
from domain.limits import HeldLimits
from domain.names import EnvironmentName

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIGABYTE = 2**30
LAB, OTHER = EnvironmentName("lab"), EnvironmentName("other")
LIMITS = CapacityLimits(max_committed_cpu_percent=200, max_committed_memory_percent=100)

demands = st.builds(
    Demand,
    containers=st.integers(0, 50),
    cpus=st.integers(0, 64).map(float),
    memory_bytes=st.integers(0, 64 * GIGABYTE),
)


def environment(
    name: str,
    *,
    replicas: int = 1,
    cpus: float = 1,
    memory_bytes: int = GIGABYTE,
    state: EnvironmentState = EnvironmentState.RUNNING,
) -> Environment:
    limits = HeldLimits(cpus=cpus, memory_bytes=memory_bytes, pids=1, log_bytes=4096)
    return Environment(
        name=EnvironmentName(name),
        state=state,
        created_at=NOON,
        updated_at=NOON,
        services=(ServiceRecord(name="web", replicas=replicas, limits=limits),),
    )


def container(name: str, project: str | None, *, running: bool = True) -> Container:
    return Container(
        id=name,
        name=name,
        image="busybox",
        state=ContainerState.RUNNING if running else ContainerState.EXITED,
        labels={} if project is None else {PROJECT_LABEL: project},
    )


def test_an_environment_may_use_what_its_services_may() -> None:
    wanted = demand(environment("lab", replicas=3, cpus=0.5, memory_bytes=10))

    assert wanted == Demand(containers=3, cpus=1.5, memory_bytes=30)


def test_what_an_earlier_agent_deployed_promises_nothing_that_is_known() -> None:
    adopted = Environment(
        name=LAB, state=EnvironmentState.RUNNING, created_at=NOON, updated_at=NOON, adopted=True
    )

    assert demand(adopted) == NOTHING


def test_promises_are_those_of_all_but_one() -> None:
    records = [environment("lab"), environment("other", cpus=2), environment("third", cpus=3)]

    assert promised(records, {}, without=LAB) == Demand(
        containers=2, cpus=5, memory_bytes=2 * GIGABYTE
    )


@pytest.mark.parametrize("state", sorted(set(EnvironmentState) - {EnvironmentState.FAILED}))
def test_one_that_is_stopped_or_on_its_way_counts_as_it_may_run_again(
    state: EnvironmentState,
) -> None:
    assert promised([environment("other", state=state)], {}, without=LAB).cpus == 1


def test_one_that_failed_counts_nothing() -> None:
    failed = environment("other", state=EnvironmentState.FAILED)

    assert promised([failed], {}, without=LAB) == NOTHING


def test_a_launch_under_way_counts_with_what_it_reserved() -> None:
    reserved: dict[str, Demand] = {OTHER: Demand(containers=1, cpus=4, memory_bytes=5)}

    assert promised([environment("other", cpus=1)], reserved, without=LAB) == reserved[OTHER]
    assert promised([], reserved, without=OTHER) == NOTHING


def test_running_containers_count_whoever_started_them() -> None:
    inventory = Inventory(
        containers=(
            container("a", "lab"),
            container("b", "other"),
            container("c", None),
            container("d", "other", running=False),
        )
    )

    assert committed_containers(inventory, {}, without=LAB) == 2
    assert committed_containers(inventory, {}, without=EnvironmentName("new")) == 3


@pytest.mark.parametrize(("reserved", "counted"), [(1, 2), (2, 2), (5, 5)])
def test_of_what_was_reserved_and_what_runs_the_greater_counts(reserved: int, counted: int) -> None:
    inventory = Inventory(containers=(container("a", "other"), container("b", "other")))

    found = committed_containers(inventory, {OTHER: Demand(containers=reserved)}, without=LAB)

    assert found == counted


def launch(asked: Demand, others: Demand = NOTHING, *, cpus: int = 4, gigabytes: int = 8) -> None:
    """Asks for a launch on a host of so many CPUs and so much memory."""
    admit_promises(
        LIMITS, promised=others, asked=asked, cpus=cpus, memory_bytes=gigabytes * GIGABYTE
    )


def test_a_launch_that_reaches_what_may_be_promised_passes() -> None:
    launch(Demand(containers=1, cpus=8, memory_bytes=8 * GIGABYTE))
    launch(
        Demand(containers=1, cpus=1, memory_bytes=GIGABYTE),
        Demand(containers=1, cpus=7, memory_bytes=7 * GIGABYTE),
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Demand(containers=1, cpus=8.5), "212 % of the host's CPU, more than the 200 % .*_CPU_"),
        (
            Demand(containers=1, memory_bytes=9 * GIGABYTE),
            "112 % of the host's memory, more than the 100 % .*_MEMORY_",
        ),
    ],
    ids=["CPU", "memory"],
)
def test_a_launch_beyond_what_may_be_promised_is_refused_and_the_setting_named(
    asked: Demand, words: str
) -> None:
    with pytest.raises(CapacityExceeded, match=words) as refusal:
        launch(asked)

    assert "lower limits" in refusal.value.hint
    assert refusal.value.retry_after == 30


def test_what_others_were_promised_is_no_longer_free() -> None:
    with pytest.raises(CapacityExceeded):
        launch(Demand(containers=1, cpus=1.5), Demand(containers=9, cpus=7))


@given(st.lists(demands, max_size=8))
def test_launches_that_pass_one_by_one_never_exceed_the_host_together(
    wishes: list[Demand],
) -> None:
    total = NOTHING
    for wish in wishes:
        try:
            launch(wish, total)
        except CapacityExceeded:
            continue
        total += wish

    assert total.cpus <= 2 * 4
    assert total.memory_bytes <= 8 * GIGABYTE


@given(demands, demands, demands)
def test_demands_add_up_in_any_order(one: Demand, other: Demand, third: Demand) -> None:
    assert one + other == other + one
    assert (one + other) + third == one + (other + third)
    assert one + NOTHING == one


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        ({"committed": 9, "asked": 2}, "MAX_CONTAINERS"),
        ({"cpu_percent": 80.1}, "MAX_CPU_PERCENT"),
        ({"memory_percent": 80.1}, "MAX_MEMORY_PERCENT"),
    ],
)
def test_a_full_or_busy_host_takes_no_launch_and_names_the_setting(
    measured: dict[str, float], words: str
) -> None:
    values = {"committed": 9, "asked": 1, "cpu_percent": 80.0, "memory_percent": 80.0}

    with pytest.raises(CapacityExceeded, match=words):
        ask({**values, **measured})
    ask(values)


def ask(values: dict[str, float]) -> None:
    """Asks the default limits for a launch."""
    admit(
        CapacityLimits(),
        committed=int(values["committed"]),
        asked=int(values["asked"]),
        cpu_percent=values["cpu_percent"],
        memory_percent=values["memory_percent"],
    )


def single(labels: dict[str, str], state: ContainerState = ContainerState.RUNNING) -> Container:
    return Container(id=str(labels), name="x", image="busybox", state=state, labels=labels)


def test_single_containers_count_with_what_they_were_made_with_stopped_ones_too() -> None:
    labels = {CPUS_LABEL: "0.5", MEMORY_LABEL: "1000"}
    inventory = Inventory(
        containers=(
            single(labels),
            single(labels, ContainerState.EXITED),
            single({}),
            single({CPUS_LABEL: "1"}),
        )
    )

    assert singles_demand(inventory) == Demand(containers=2, cpus=1.0, memory_bytes=2000)


@pytest.mark.parametrize("cpus", ["nan", "inf", "-1", "much", ""])
def test_labels_that_make_no_sense_count_nothing(cpus: str) -> None:
    inventory = Inventory(containers=(single({CPUS_LABEL: cpus, MEMORY_LABEL: "1"}),))

    assert singles_demand(inventory) == NOTHING

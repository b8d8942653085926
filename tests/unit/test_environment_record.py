"""The record of an environment: holds, and what its containers may use together."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from domain.capacity import NOTHING, demand
from domain.environments import (
    TRANSITIONS,
    Environment,
    EnvironmentState,
    Hold,
    ServiceRecord,
)
from domain.limits import HeldLimits
from domain.names import EnvironmentName, OperationId

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def service(name: str, *, cpus: float, memory_bytes: int, replicas: int = 1) -> ServiceRecord:
    limits = HeldLimits(cpus=cpus, memory_bytes=memory_bytes, pids=1, log_bytes=4096)
    return ServiceRecord(name=name, replicas=replicas, limits=limits)


def environment(
    *services: ServiceRecord,
    hold: Hold | None = None,
    state: EnvironmentState = EnvironmentState.RUNNING,
) -> Environment:
    return Environment(
        name=EnvironmentName("lab"),
        state=state,
        created_at=NOON,
        updated_at=NOON,
        services=services,
        hold=hold,
    )


def test_a_hold_without_an_end_stands_for_ever() -> None:
    hold = Hold(owner="teacher", reason="exam")

    assert environment(hold=hold).held(NOON + timedelta(days=9999))


def test_a_hold_with_an_end_stands_until_then() -> None:
    held = environment(hold=Hold(owner="teacher", reason="exam", until=NOON))

    assert held.held(NOON - SECOND)
    assert not held.held(NOON)
    assert not held.held(NOON + SECOND)


def test_without_a_hold_nobody_holds_it() -> None:
    assert not environment().held(NOON)


def test_what_it_may_use_is_the_sum_over_all_containers_of_all_services() -> None:
    web = service("web", cpus=0.5, memory_bytes=100, replicas=3)
    side = service("side", cpus=2, memory_bytes=7)
    none = service("none", cpus=9, memory_bytes=999, replicas=0)

    found = demand(environment(web, side, none))

    assert (found.cpus, found.memory_bytes) == (3.5, 307)


def test_without_known_services_it_may_use_nothing_that_is_known() -> None:
    assert demand(environment()) == NOTHING


@pytest.mark.parametrize("before", EnvironmentState)
@pytest.mark.parametrize("after", EnvironmentState)
def test_only_the_ways_between_states_that_are_known_can_be_gone(
    before: EnvironmentState, after: EnvironmentState
) -> None:
    record = environment(state=before)

    if after in TRANSITIONS[before]:
        assert record.becoming(after, at=NOON).state is after
    else:
        with pytest.raises(ValueError, match=f"{before} cannot become {after}"):
            record.becoming(after, at=NOON)


def test_the_next_state_keeps_all_but_state_time_operation_and_reason() -> None:
    hold = Hold(owner="teacher", reason="exam")
    record = environment(service("web", cpus=1, memory_bytes=1), hold=hold)

    stopped = record.becoming(
        EnvironmentState.STOPPED, at=NOON + SECOND, operation=OperationId("op"), reason="why"
    )

    assert stopped == msgspec.structs.replace(
        record,
        state=EnvironmentState.STOPPED,
        updated_at=NOON + SECOND,
        operation=OperationId("op"),
        reason="why",
    )
    assert stopped.becoming(EnvironmentState.RUNNING, at=NOON).operation == OperationId("op")


def test_only_a_failed_one_leaves_nothing_on_the_host() -> None:
    deployed = {state for state in EnvironmentState if environment(state=state).deployed}

    assert deployed == set(EnvironmentState) - {EnvironmentState.FAILED}

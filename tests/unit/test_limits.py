"""Limits of single containers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import RequestUnreadable
from domain.limits import MIN_MEMORY_BYTES, ContainerLimits, HeldLimits, LimitRules, own_limits

MEGABYTE = 2**20

DEFAULTS = HeldLimits(cpus=1, memory_bytes=1024 * MEGABYTE, pids=512, log_bytes=20 * MEGABYTE)
MOST = HeldLimits(cpus=4, memory_bytes=8192 * MEGABYTE, pids=4096, log_bytes=100 * MEGABYTE)
RULES = LimitRules(defaults=DEFAULTS, most=MOST)
NOTHING = ContainerLimits()

# Whatever a resolved Compose file may hold in these places, sense or not.
anything = st.one_of(
    st.none(),
    st.integers(-1, 10**13),
    st.floats(),
    st.floats(0, 10),
    st.sampled_from(["", "0", "-1", "0.5", "1e-12", "512m", "1g", "9999g", "inf", "nan", "x"]),
)
services = st.fixed_dictionaries(
    {},
    optional={
        "cpus": anything,
        "mem_limit": anything,
        "pids_limit": anything,
        "deploy": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "resources": st.fixed_dictionaries(
                        {
                            "limits": st.fixed_dictionaries(
                                dict.fromkeys(("cpus", "memory", "pids"), anything)
                            )
                        }
                    )
                },
            ),
        ),
    },
)
asked_limits = st.builds(
    ContainerLimits,
    cpus=st.none() | st.floats(0.01, MOST.cpus),
    memory_bytes=st.none() | st.integers(MIN_MEMORY_BYTES, MOST.memory_bytes),
    pids=st.none() | st.integers(1, MOST.pids),
    log_bytes=st.none() | st.integers(4096, MOST.log_bytes),
)


def test_where_nobody_asks_the_defaults_hold() -> None:
    assert RULES.held(NOTHING, NOTHING, cpus=8) == DEFAULTS


def test_what_is_asked_holds_where_the_bundle_says_nothing() -> None:
    asked = ContainerLimits(cpus=2, memory_bytes=64 * MEGABYTE, pids=9, log_bytes=4096)

    held = RULES.held(asked, NOTHING, cpus=8)

    assert held == HeldLimits(cpus=2, memory_bytes=64 * MEGABYTE, pids=9, log_bytes=4096)


def test_the_bundle_may_say_less_than_was_asked_and_never_more() -> None:
    asked = ContainerLimits(cpus=2, pids=100)

    assert RULES.held(asked, ContainerLimits(cpus=0.5, pids=10), cpus=8).cpus == 0.5
    assert RULES.held(asked, ContainerLimits(cpus=3, pids=999), cpus=8).cpus == 2
    assert RULES.held(asked, ContainerLimits(cpus=3, pids=999), cpus=8).pids == 100


def test_the_bundle_may_go_beyond_the_defaults_up_to_the_maximum() -> None:
    own = ContainerLimits(cpus=3, memory_bytes=MOST.memory_bytes + 1)

    held = RULES.held(NOTHING, own, cpus=8)

    assert (held.cpus, held.memory_bytes) == (3, MOST.memory_bytes)


def test_a_host_with_few_cpus_gives_no_more_than_it_has() -> None:
    assert RULES.held(ContainerLimits(cpus=4), NOTHING, cpus=2).cpus == 2


@given(asked_limits, services, st.integers(1, 64))
def test_what_is_held_is_never_more_than_was_asked_or_allowed_or_there(
    asked: ContainerLimits, service: dict[str, Any], cpus: int
) -> None:
    held = RULES.held(asked, own_limits(service), cpus=cpus)

    assert held.cpus <= cpus
    for name in HeldLimits.__struct_fields__:
        value, ceiling = getattr(held, name), getattr(asked, name)
        assert value <= getattr(MOST, name)
        assert ceiling is None or value <= ceiling


@given(asked_limits, services, st.integers(1, 64))
def test_what_is_held_is_never_so_little_that_the_engine_takes_it_for_no_limit(
    asked: ContainerLimits, service: dict[str, Any], cpus: int
) -> None:
    held = RULES.held(asked, own_limits(service), cpus=cpus)

    assert held.cpus >= 0.01
    assert held.memory_bytes >= MIN_MEMORY_BYTES
    assert held.pids >= 1
    assert held.log_bytes > 0


@pytest.mark.parametrize(
    "asked",
    [
        NOTHING,
        ContainerLimits(
            cpus=MOST.cpus,
            memory_bytes=MOST.memory_bytes,
            pids=MOST.pids,
            log_bytes=MOST.log_bytes,
        ),
        ContainerLimits(cpus=0.01, memory_bytes=MIN_MEMORY_BYTES, pids=1, log_bytes=4096),
    ],
    ids=["nothing", "the most", "the least"],
)
def test_what_the_host_can_give_may_be_asked_for(asked: ContainerLimits) -> None:
    RULES.check(asked)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (ContainerLimits(cpus=4.01), "limits.cpus is 4.01.* from 0.01 to 4"),
        (ContainerLimits(cpus=0), "limits.cpus"),
        (ContainerLimits(cpus=-1), "limits.cpus"),
        (ContainerLimits(cpus=float("nan")), "limits.cpus"),
        (ContainerLimits(cpus=float("inf")), "limits.cpus"),
        (ContainerLimits(memory_bytes=MIN_MEMORY_BYTES - 1), "limits.memory"),
        (ContainerLimits(memory_bytes=MOST.memory_bytes + 1), "limits.memory"),
        (ContainerLimits(pids=0), "limits.pids"),
        (ContainerLimits(pids=4097), "limits.pids is 4097.* from 1 to 4096"),
        (ContainerLimits(log_bytes=4095), "limits.log"),
    ],
)
def test_what_the_host_cannot_give_is_refused_and_its_range_told(
    asked: ContainerLimits, words: str
) -> None:
    with pytest.raises(RequestUnreadable, match=words):
        RULES.check(asked)


@pytest.mark.parametrize(
    ("service", "own"),
    [
        ({}, NOTHING),
        ({"deploy": None}, NOTHING),
        ({"deploy": {"resources": None}}, NOTHING),
        ({"cpus": 1.5, "mem_limit": "64m", "pids_limit": 7},
         ContainerLimits(cpus=1.5, memory_bytes=64 * MEGABYTE, pids=7)),
        ({"mem_limit": str(64 * MEGABYTE)}, ContainerLimits(memory_bytes=64 * MEGABYTE)),
        ({"deploy": {"resources": {"limits": {"cpus": "0.5", "memory": "1g", "pids": 9}}}},
         ContainerLimits(cpus=0.5, memory_bytes=1024 * MEGABYTE, pids=9)),
        ({"cpus": 2, "deploy": {"resources": {"limits": {"cpus": 3}}}}, ContainerLimits(cpus=2)),
        ({"cpus": 0, "mem_limit": "0", "pids_limit": -1}, NOTHING),
        ({"cpus": "much", "mem_limit": "-1", "pids_limit": "nan"}, NOTHING),
        ({"mem_limit": "1k"}, ContainerLimits(memory_bytes=MIN_MEMORY_BYTES)),
        ({"cpus": 1e-10, "pids_limit": 0.5}, ContainerLimits(cpus=0.01, pids=1)),
    ],
)  # fmt: skip
def test_a_service_sets_limits_in_either_of_composes_places(
    service: dict[str, Any], own: ContainerLimits
) -> None:
    assert own_limits(service) == own

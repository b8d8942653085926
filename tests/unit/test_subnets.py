"""Address ranges of environments' networks."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import NetworkPoolExhausted
from domain.subnets import LARGEST_PREFIX, SMALLEST_PREFIX, allocate

POOL = IPv4Network("10.213.0.0/16")
SMALL_POOL = IPv4Network("10.213.0.0/24")

names = st.text(alphabet="abcdef", min_size=1, max_size=2)
needs = st.dictionaries(names, st.integers(0, 300), max_size=6)


@st.composite
def ranges(draw: st.DrawFn, pool: IPv4Network = POOL) -> str:
    """A range of the pool's neighbourhood, often within it."""
    prefix = draw(st.integers(pool.prefixlen - 1, 30))
    first = int(pool.network_address) + draw(st.integers(-64, pool.num_addresses + 64))
    return str(IPv4Network((first, prefix), strict=False))


def test_small_networks_get_sixteen_addresses_one_after_another() -> None:
    given_out = allocate(POOL, {"b": 1, "a": 13}, taken=[], keep={})

    assert given_out == {"a": "10.213.0.0/28", "b": "10.213.0.16/28"}


@pytest.mark.parametrize(
    ("containers", "prefix"),
    [
        (0, SMALLEST_PREFIX),
        (13, SMALLEST_PREFIX),
        (14, 27),
        (29, 27),
        (30, 26),
        (253, 24),
        (254, 23),
        (1021, LARGEST_PREFIX),
        (5000, LARGEST_PREFIX),
    ],
)
def test_a_network_has_room_for_its_containers_up_to_the_largest(
    containers: int, prefix: int
) -> None:
    (subnet,) = allocate(POOL, {"net": containers}, taken=[], keep={}).values()

    assert IPv4Network(subnet).prefixlen == prefix


def test_what_others_have_is_passed_over() -> None:
    taken = ["10.213.0.4/30", "10.213.0.32/27", "192.168.0.0/16", "fd00::/64", "nonsense"]

    given_out = allocate(POOL, {"a": 1, "b": 1}, taken=taken, keep={})

    assert given_out == {"a": "10.213.0.16/28", "b": "10.213.0.64/28"}


def test_a_range_beyond_the_pool_that_covers_it_leaves_nothing() -> None:
    with pytest.raises(NetworkPoolExhausted):
        allocate(POOL, {"a": 1}, taken=["10.0.0.0/8"], keep={})


def test_a_network_gets_the_range_again_that_it_had() -> None:
    assert allocate(POOL, {"a": 1}, taken=[], keep={"a": "10.213.7.0/28"}) == {"a": "10.213.7.0/28"}


def test_a_new_network_never_drives_out_one_that_keeps_its_range() -> None:
    keep = {"b": "10.213.0.0/28"}

    given_out = allocate(POOL, {"a": 1, "b": 1}, taken=[], keep=keep)

    assert given_out == {"a": "10.213.0.16/28", "b": "10.213.0.0/28"}


@pytest.mark.parametrize(
    "earlier",
    ["10.213.0.0/29", "10.99.0.0/28", "172.16.0.0/12", "10.213.5.0/28", "nonsense", ""],
    ids=["too small", "outside", "elsewhere", "taken", "no range", "empty"],
)
def test_a_range_that_does_not_fit_any_more_is_replaced(earlier: str) -> None:
    given_out = allocate(POOL, {"a": 10}, taken=["10.213.5.0/28"], keep={"a": earlier})

    assert given_out == {"a": "10.213.0.0/28"}


def test_three_hundred_environments_of_one_network_fit_the_pool() -> None:
    taken: list[str] = []
    for _ in range(300):
        taken += allocate(POOL, {"default": 5}, taken=taken, keep={}).values()

    assert len(set(taken)) == 300
    assert all(IPv4Network(subnet).subnet_of(POOL) for subnet in taken)


def test_a_full_pool_is_refused_and_named() -> None:
    taken = [str(subnet) for subnet in SMALL_POOL.subnets(new_prefix=SMALLEST_PREFIX)]

    with pytest.raises(NetworkPoolExhausted, match=r"10\.213\.0\.0/24 \(NETWORK_POOL\)"):
        allocate(SMALL_POOL, {"a": 1}, taken=taken, keep={})


def test_the_last_range_of_a_pool_is_given_out() -> None:
    *taken, last = (str(subnet) for subnet in SMALL_POOL.subnets(new_prefix=SMALLEST_PREFIX))

    assert allocate(SMALL_POOL, {"a": 1}, taken=taken, keep={}) == {"a": last}


@given(needs, st.lists(ranges(), max_size=8), st.dictionaries(names, ranges(), max_size=4))
def test_ranges_lie_in_the_pool_and_never_overlap(
    wanted: dict[str, int], taken: list[str], keep: dict[str, str]
) -> None:
    try:
        given_out = allocate(POOL, wanted, taken=taken, keep=keep)
    except NetworkPoolExhausted:
        return
    subnets = [IPv4Network(subnet) for subnet in given_out.values()]
    assert given_out.keys() == wanted.keys()
    assert all(subnet.subnet_of(POOL) for subnet in subnets)
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))
    assert not any(subnet.overlaps(IPv4Network(other)) for subnet in subnets for other in taken)


@given(needs, needs, st.lists(ranges(), max_size=4))
def test_what_was_given_once_is_kept_whatever_is_added(
    before: dict[str, int], added: dict[str, int], taken: list[str]
) -> None:
    try:
        first = allocate(POOL, before, taken=taken, keep={})
        second = allocate(POOL, added | before, taken=taken, keep=first)
    except NetworkPoolExhausted:
        return
    assert first.items() <= second.items()


@given(needs)
def test_the_same_wishes_get_the_same_ranges(wanted: dict[str, int]) -> None:
    turned = dict(reversed(wanted.items()))

    assert allocate(POOL, wanted, taken=[], keep={}) == allocate(POOL, turned, taken=[], keep={})

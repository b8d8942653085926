"""Address ranges of environments' networks, from one pool of the agent's own.

Docker's default pools end at about thirty networks.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network

from domain.errors import NetworkPoolExhausted

SMALLEST_PREFIX = 28
"""Networks get at least sixteen addresses, thirteen of them for containers."""

LARGEST_PREFIX = 22

# The network's own address, the gateway and the broadcast address.
_NOT_FOR_CONTAINERS = 3


def allocate(
    pool: IPv4Network,
    wanted: Mapping[str, int],
    *,
    taken: Iterable[str],
    keep: Mapping[str, str],
) -> Mapping[str, str]:
    """A subnet of the pool for each network.

    Args:
        pool: where they come from.
        wanted: network → how many containers it joins.
        taken: address ranges that others have, inside or outside of the pool.
        keep: subnets that the same networks had before; used again where they are large enough.

    Raises:
        NetworkPoolExhausted: the pool has no room for all of them.
    """
    used = [network for text in taken if (network := _parsed(text)) and network.overlaps(pool)]
    prefixes = {name: _prefix(containers) for name, containers in sorted(wanted.items())}
    given: dict[str, str] = {}
    # Those that keep theirs come first, so that no new one takes it.
    for name, prefix in prefixes.items():
        if subnet := _again(keep.get(name), prefix, pool, used):
            used.append(subnet)
            given[name] = str(subnet)
    for name, prefix in prefixes.items():
        if name not in given:
            free = _first_free(pool, prefix, used)
            if free is None:
                raise NetworkPoolExhausted(str(pool))
            used.append(free)
            given[name] = str(free)
    return given


def _parsed(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def _prefix(containers: int) -> int:
    prefix = SMALLEST_PREFIX
    while prefix > LARGEST_PREFIX and 2 ** (32 - prefix) - _NOT_FOR_CONTAINERS < containers:
        prefix -= 1
    return prefix


def _again(
    earlier: str | None, prefix: int, pool: IPv4Network, used: Iterable[IPv4Network]
) -> IPv4Network | None:
    subnet = _parsed(earlier) if earlier else None
    if subnet is None or subnet.prefixlen > prefix or not subnet.subnet_of(pool):
        return None
    return None if any(subnet.overlaps(other) for other in used) else subnet


def _first_free(pool: IPv4Network, prefix: int, used: Iterable[IPv4Network]) -> IPv4Network | None:
    size = 2 ** (32 - prefix)
    start, end = int(pool.network_address), int(pool.broadcast_address) + 1
    for other in sorted(used):
        first, last = int(other.network_address), int(other.broadcast_address)
        if first >= start + size:
            break
        if last >= start:
            # The next multiple of the size behind the range that is in the way.
            start = -(-(last + 1) // size) * size
    return IPv4Network((start, prefix)) if start + size <= end else None

"""Gives environments their subnets."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network

import anyio
import msgspec

from domain.arrangement import belongs_to, fixed_ranges, network_needs
from domain.compose_model import ComposeModel
from domain.compose_policy.addresses import taken_range
from domain.errors import EnvironmentNotFound, NetworkPoolExhausted, PolicyRefused
from domain.names import EnvironmentName
from domain.ports.host_network import HostNetwork
from domain.ports.runtime import Networks
from domain.ports.store import Environments
from domain.subnets import allocate


class Addresses:
    """Hands out address ranges of the pool; what is handed out stands in the records."""

    def __init__(
        self,
        environments: Environments,
        networks: Networks,
        host: HostNetwork,
        pool: IPv4Network,
    ) -> None:
        self._environments = environments
        self._host = host
        self._networks = networks
        self._pool = pool
        self._one_at_a_time = anyio.Lock()

    async def assign(self, name: EnvironmentName, model: ComposeModel) -> Mapping[str, str]:
        """Subnets for the networks of an environment that is being deployed: network → range.

        Raises:
            PolicyRefused: a range that its author chose is one that the host itself needs.
            NetworkPoolExhausted: there are not enough left.
            EngineUnavailable: what others use is not known.
            EnvironmentNotFound: it has no record to keep them in.
        """
        await self.require_free(fixed_ranges(model))
        wanted = network_needs(model)
        async with self._one_at_a_time:
            foreign = await self._foreign(name)
            records = {record.name: record for record in await self._environments.list()}
            own = records.pop(name, None)
            if own is None:
                raise EnvironmentNotFound(name)
            taken = [subnet for record in records.values() for subnet in record.networks.values()]
            # What an earlier deploy of the name had stays its own, in case it is brought back.
            kept = [subnet for key, subnet in own.networks.items() if key not in wanted]
            given = allocate(self._pool, wanted, taken=[*foreign, *taken, *kept], keep=own.networks)
            await self._environments.update(
                name, lambda record: msgspec.structs.replace(record, networks=given)
            )
        return given

    async def spare(self, sizes: Sequence[int], make: Callable[[str], Awaitable[None]]) -> None:
        """Has a network made that belongs to no environment, with addresses of the pool.

        Args:
            sizes: for how many containers it shall have room; the first that the pool has counts.
            make: makes it with a range of addresses; nobody else is given any meanwhile.

        Raises:
            NetworkPoolExhausted: there are none left.
            EngineUnavailable: what others use is not known.
        """
        async with self._one_at_a_time:
            records = await self._environments.list()
            taken = [subnet for record in records for subnet in record.networks.values()]
            taken += [subnet for _, subnet in await self._networks.subnets()]
            await make(self._first_fitting(sizes, taken))

    def _first_fitting(self, sizes: Sequence[int], taken: Sequence[str]) -> str:
        for size in sizes:
            with suppress(NetworkPoolExhausted):
                return allocate(self._pool, {"": size}, taken=taken, keep={})[""]
        raise NetworkPoolExhausted(str(self._pool))

    async def require_free(self, chosen: Mapping[str, str]) -> None:
        """Returns if the host itself needs none of the ranges that somebody chose.

        The host would send into a lab's network what is meant for its manager or its servers.

        Args:
            chosen: where the choice stands → range.

        Raises:
            PolicyRefused: the host needs one.
        """
        needed = await self._host.needed() if chosen else ()
        findings = tuple(
            taken_range(where, text, by)
            for where, text in chosen.items()
            for by in needed
            if IPv4Network(text, strict=False).overlaps(IPv4Network(by, strict=False))
        )
        if findings:
            raise PolicyRefused(findings)

    async def _foreign(self, name: EnvironmentName) -> list[str]:
        """Ranges of networks on the host that are not of this environment."""
        found = await self._networks.subnets()
        return [subnet for network, subnet in found if not belongs_to(network, name)]

    async def in_use(self) -> int:
        """How many subnets are given out."""
        return sum(len(record.networks) for record in await self._environments.list())

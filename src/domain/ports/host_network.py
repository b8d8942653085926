"""What the host itself needs of the network."""

from collections.abc import Sequence
from typing import Protocol


class HostNetwork(Protocol):
    """Knows which addresses must lead out of the host, never into a lab's network."""

    async def needed(self) -> Sequence[str]:
        """IPv4 ranges, single addresses as ``/32``, sorted.

        The networks that the host is in, its gateways and name servers, and the manager's
        addresses, as far as they can be told; networks of the Engine are not among them.

        Raises:
            HostExhausted: the host is too short of something to tell.
        """
        ...

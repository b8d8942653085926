"""What one container prints, bit by bit.

Read inside an ``async with``; leaving it ends the stream and gives thread and socket back within a
second, whoever waits in it. Entering may raise ``ResourceNotFound``; reading ``ResourceConflict``
where the Engine keeps no output of the container, ``EngineUnavailable`` when it does not answer or
hangs up in the middle, and ``EngineRefused`` when it answers with an error. Waiting for the next
one may be cancelled, and nothing is lost by it.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.batches import Batches
from domain.container_streams import OutputChoice, OutputLine


class ContainerOutput(Protocol):
    """The output of single containers, by their identifiers."""

    def lines(
        self, container_id: str, choice: OutputChoice
    ) -> AbstractAsyncContextManager[Batches[OutputLine]]:
        """What was printed, line by line, and what is printed until the container ends.

        One who reads slowly gets all that was printed before; of what is followed he loses the
        oldest, and is told so by a line of the stream ``agent``.
        """
        ...

    def raw(
        self, container_id: str, choice: OutputChoice, *, timestamps: bool
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes that were printed, as they were printed, in pieces.

        Nothing is lost: one who reads slowly holds up his own stream, not the container. Each line
        may have the moment before it at which it was printed.
        """
        ...

    def end(self) -> None:
        """Ends what is followed, as if the containers had ended; for the agent's own end."""
        ...

"""The output of containers.

It is read inside an ``async with``; leaving it ends the stream and gives thread and socket back
within a second, whatever it waits for. All may raise ``EngineUnavailable`` when the Engine does not
answer or hangs up in the middle, and ``EngineRefused`` when it answers with an error.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from domain.batches import Batches
from domain.containers import Container, LogLine


class ContainerLogs(Protocol):
    """The output of containers."""

    def read(
        self,
        containers: Sequence[Container],
        *,
        tail: int | None = None,
        since: datetime | None = None,
        follow: bool = False,
    ) -> AbstractAsyncContextManager[Batches[LogLine]]:
        """The lines of several containers together.

        What was printed before comes sorted by time; what is followed comes as it is printed, until
        all the containers have ended. A container that has gone meanwhile is passed over. One who
        reads slowly loses the oldest lines and is told so by a line of the stream ``agent``.

        Args:
            containers: whose.
            tail: only so many of the last lines of each container.
            since: only what was printed at this moment or later.
            follow: go on with what is printed from now on.
        """
        ...

    def end(self) -> None:
        """Ends what is followed as if the containers had ended; for the agent's own end.

        What has come is still read. Who follows from now on gets what was printed before.
        """
        ...

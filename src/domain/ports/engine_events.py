"""What the Engine tells as it happens."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.engine_events import EngineEvent, Gap


class EngineEvents(Protocol):
    """What happens to containers, images, networks and volumes, and to the Engine itself."""

    def follow(
        self, *, since: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent | Gap]]:
        """Events as they happen.

        The first item is a ``Gap``: from there on nothing is left out, but where another ``Gap``
        tells of it. What was executed in containers is not told of, since health checks would drown
        everything else.

        Goes on until it is left, which gives thread and socket back within a second.

        Args:
            since: also those of that moment and later, in nanoseconds since 1970, as far as the
                Engine remembers them; it keeps the last few hundred.

        Raises:
            EngineUnavailable: the Engine does not answer, or hangs up in the middle.
            EngineRefused: it answers with an error.
        """
        ...

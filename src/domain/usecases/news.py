"""Wakes those who wait for something to change."""

import anyio


class News:
    """Says that something is new, not what: whoever is woken looks for itself."""

    def __init__(self) -> None:
        self._told = anyio.Event()

    def tell(self) -> None:
        """Wakes all who wait."""
        self._told.set()
        self._told = anyio.Event()

    async def wait(self) -> None:
        """Returns when something is new; what was told before does not count."""
        await self._told.wait()

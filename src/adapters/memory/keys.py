"""Keys that are good because a test says so."""

from domain.keys import Claims


class MemoryKeys:
    """Twin of ``PyjwtKeys``."""

    def __init__(self) -> None:
        self._claims: dict[str, Claims] = {}

    def admit(self, key: str, claims: Claims) -> None:
        """Makes a key good."""
        self._claims[key] = claims

    def verify(self, key: str) -> Claims | None:
        """The claims of a key that was made good."""
        return self._claims.get(key)

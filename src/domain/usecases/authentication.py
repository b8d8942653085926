"""Who may call."""

from domain.errors import KeyRefused
from domain.keys import Caller
from domain.ports.keys import SameText, SignedKeys

_NAMELESS = "server-key"
"""Who calls with the key of a host that has no identifier."""


class Authentication:
    """Knows the host's own key and whom the manager's secret vouches for.

    Args:
        signed: verifies keys against the platform's secret.
        same: compares two texts in constant time.
        host_id: the only subject for which a signed key is good; empty admits none.
        server_key: the host's own key; empty admits none.
    """

    def __init__(
        self, signed: SignedKeys, same: SameText, *, host_id: str, server_key: str
    ) -> None:
        self._signed = signed
        self._same = same
        self._host_id = host_id
        self._server_key = server_key

    def caller(self, key: str) -> Caller:
        """Whose key it is.

        Raises:
            KeyRefused: nobody's who may call.
        """
        if self._server_key and self._same(key, self._server_key):
            return Caller(subject=self._host_id or _NAMELESS)
        claims = self._signed.verify(key)
        if claims is None or not self._host_id or not self._same(claims.subject, self._host_id):
            raise KeyRefused
        return Caller(subject=claims.subject, key_id=claims.key_id, expires_at=claims.expires_at)

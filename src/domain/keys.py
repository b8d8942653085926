"""Who may call: the host's own server key, or one that the manager signed for this host."""

from datetime import datetime

import msgspec


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a key with a valid signature says of itself."""

    subject: str
    key_id: str = ""
    """The key's ``jti``, fit for logs as the key itself is not."""
    expires_at: datetime | None = None
    """Until when the key is good; None where it is for ever."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key was accepted."""

    subject: str
    key_id: str = ""
    expires_at: datetime | None = None
    """Until when what the key has opened may go on; None where that is for ever."""

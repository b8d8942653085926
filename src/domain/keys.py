"""Who may call: the host's own server key, or one that the manager signed for this host."""

import msgspec


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a key with a valid signature says of itself."""

    subject: str
    key_id: str = ""
    """The key's ``jti``, fit for logs as the key itself is not."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key was accepted."""

    subject: str
    key_id: str = ""

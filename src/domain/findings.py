"""What is the matter with a bundle, in words that its author can act on."""

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a host does not allow."""

    where: str
    """Its place in the Compose file, ``services.web.volumes[0]``, or in another file of it."""
    what: str
    """What stands there."""
    why: str
    """What could come of it, or which rule it breaks."""
    instead: str = ""
    """What the author can do; empty where there is nothing but to leave it away."""

    @property
    def sentence(self) -> str:
        """All of it as one line."""
        return f"{self.where} = {self.what}: {self.why} {self.instead}".rstrip()

"""Which images may be pulled."""

from domain.errors import ImageRefused
from domain.image_names import RegistryRules, is_identifier, is_ours
from domain.references import image_reference


class PullPolicy:
    """Holds pulls to the registries of this host.

    Args:
        registries: where images may come from.
        trusted: images may come from anywhere, as bundles of this host may say so, too.
    """

    def __init__(self, registries: RegistryRules, *, trusted: bool = False) -> None:
        self._registries = registries
        self._trusted = trusted

    def require(self, reference: str) -> str:
        """The reference, if its image may be pulled.

        Raises:
            InvalidReference: it can name no image.
            ImageRefused: its image may not.
        """
        reference = image_reference(reference)
        if is_identifier(reference):
            raise ImageRefused(f"{reference!r} is an identifier, which no registry knows.")
        if is_ours(reference):
            raise ImageRefused(
                f"{reference!r} is a name that the agent gives to what it builds here; no registry "
                "has it."
            )
        self._require_allowed(reference)
        return reference

    def require_registry(self, registry: str) -> None:
        """Returns if images may come from a registry.

        Raises:
            ImageRefused: they may not.
        """
        self._require_allowed(f"{registry}/any")

    def _require_allowed(self, reference: str) -> None:
        reason = None if self._trusted else self._registries.why_not(reference)
        if reason is not None:
            raise ImageRefused(reason, hint="ALLOWED_REGISTRIES names registries beyond those.")

"""Finds things of the in-memory Engine as Docker does: by name, identifier, or how that begins."""

from collections.abc import Mapping

from domain.errors import ResourceAmbiguous, ResourceNotFound


def found(kind: str, reference: str, identifiers: Mapping[str, str]) -> str:
    """The name of the one thing that a reference means.

    Args:
        kind: ``container``, ``image``, ``network`` or ``volume``, for the message.
        reference: a name, an identifier, or how one begins.
        identifiers: name → identifier of all there are.

    Raises:
        ResourceNotFound: it means none.
        ResourceAmbiguous: several identifiers begin so.
    """
    whole = [name for name, identifier in identifiers.items() if identifier == reference]
    if whole or reference in identifiers:
        return whole[0] if whole else reference
    begun = [name for name, known in identifiers.items() if known.startswith(reference)]
    if len(begun) > 1:
        raise ResourceAmbiguous(kind, reference)
    if not begun:
        raise ResourceNotFound(kind, reference)
    return begun[0]

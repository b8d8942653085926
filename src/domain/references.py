"""References to what the Engine holds, parsed once from outside text.

Nothing else may stand in a path that is asked of the Engine: ``/``, ``?``, ``#`` or ``..`` in an
identifier would lead to other calls of it.
"""

import re

from domain.errors import InvalidReference

MAX_REFERENCE_LENGTH = 255

# Docker's own pattern of names; identifiers fit it too.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)

_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?(?::\d{1,5})?/)?"
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{1,64}", re.ASCII)


def name_or_id(kind: str, text: str) -> str:
    """A container, network or volume as ``text`` names it: its name, or how its identifier begins.

    Args:
        kind: for the message: ``container``.
        text: from outside.

    Raises:
        InvalidReference: it can name none.
    """
    if len(text) <= MAX_REFERENCE_LENGTH and _NAME.fullmatch(text):
        return text
    raise InvalidReference(kind, text)


def image_reference(text: str) -> str:
    """An image as ``text`` names it: a name with or without tag or digest, or an identifier.

    Raises:
        InvalidReference: it can name none.
    """
    if len(text) <= MAX_REFERENCE_LENGTH and (_IMAGE.fullmatch(text) or _DIGEST.fullmatch(text)):
        return text
    raise InvalidReference("image", text)

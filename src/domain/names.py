"""Names, parsed once from outside text; whoever holds one need not check it again."""

import re
from typing import NewType

from domain.errors import InvalidName

EnvironmentName = NewType("EnvironmentName", str)
"""The name of an environment, which is also that of its Compose project and its folder."""

OperationId = NewType("OperationId", str)
"""The identifier of an operation."""

MAX_NAME_LENGTH = 63

# What Compose accepts as a project name.
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)


def environment_name(text: str) -> EnvironmentName:
    """The environment's name that ``text`` spells.

    Raises:
        InvalidName: ``text`` is not a Compose project name of at most 63 characters.
    """
    if len(text) <= MAX_NAME_LENGTH and _PROJECT_NAME.fullmatch(text):
        return EnvironmentName(text)
    shown = text if len(text) <= MAX_NAME_LENGTH else f"{text[:MAX_NAME_LENGTH]}…"
    raise InvalidName(
        f"{shown!r} cannot name an environment.",
        hint=(
            "Use 1 to 63 lower-case letters, digits, '-' and '_', beginning with a letter or digit."
        ),
    )

"""Labels of environments, and variables for their Compose files."""

import re
from collections.abc import Mapping

from domain.errors import RequestUnreadable

MAX_LABELS = 64
MAX_VARIABLES = 256
MAX_VALUE_LENGTH = 32 * 1024

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)

# These steer Compose, its plugins or the loader of programs instead of filling in a Compose file.
_STEERING = re.compile(
    r"(?:COMPOSE|DOCKER|BUILDKIT|BUILDX|BUILD|OTEL|JAEGER|XDG|SSL|LD|LC|GLIBC|NOTIFY|GIT|SSH)_.*"
    r"|GO(?:DEBUG|TRACEBACK|MAXPROCS|MEMLIMIT|GC|ROOT|PATH|COVERDIR)"
    r"|PATH|HOME|SHELL|USER|PWD|TMPDIR|LANG|(?:HTTPS?|NO|ALL|FTP)_PROXY"
    r"|TRACEPARENT|HOSTALIASES|RES_OPTIONS|LOCALDOMAIN",
    re.IGNORECASE,
)


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuses labels that are none.

    Raises:
        RequestUnreadable: one is not.
    """
    if len(labels) > MAX_LABELS:
        raise RequestUnreadable(f"More than {MAX_LABELS} labels.")
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            raise RequestUnreadable(
                f"{name[:80]!r} cannot name a label.",
                hint="Use letters, digits, '.', '_', '/' and '-', at most 128.",
            )
        if len(value) > 1024 or not value.isprintable():
            raise RequestUnreadable(f"Label {name!r} has a value that cannot be shown.")


def check_variables(variables: Mapping[str, str]) -> None:
    """Refuses variables that would do anything but fill in a Compose file.

    Raises:
        RequestUnreadable: one would.
    """
    if len(variables) > MAX_VARIABLES:
        raise RequestUnreadable(f"More than {MAX_VARIABLES} variables.")
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise RequestUnreadable(f"{name[:80]!r} cannot name a variable.")
        if _STEERING.fullmatch(name):
            raise RequestUnreadable(
                f"Variable {name} steers programs of the host.", hint="Give it another name."
            )
        if len(value) > MAX_VALUE_LENGTH or "\0" in value:
            raise RequestUnreadable(f"Variable {name} has a value that no variable can have.")

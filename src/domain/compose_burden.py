"""What would keep Compose busy for minutes while it resolves a small file.

Measured with Compose 2.26: it follows every path from service to service (22 services that all
depend on each other take 3 s, and each further one twice as long), takes the square of nested
variables, and writes out ranges of ports.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from domain.findings import Finding

MOST_SERVICES = 100
MOST_PATHS = 20_000
"""How many ways there may be from one service to another over what they depend on."""

MOST_NESTED_VARIABLES = 10
MOST_RANGED_PORTS = 1_000

_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")
_REFERENCE = re.compile(r"service:(.+)", re.DOTALL)

Edge = tuple[str, str]
"""A service, and one that must be there before it."""


def burdens(document: Mapping[str, Any], *, file: str) -> Iterator[Finding]:
    """What of one document would take too long.

    Args:
        document: as a plain tree.
        file: its name, which findings begin with.
    """
    services = document.get("services")
    bodies = services if isinstance(services, Mapping) else {}
    if len(bodies) > MOST_SERVICES:
        yield _burden(
            f"{file}: services", f"{len(bodies)} services", f"At most {MOST_SERVICES} are read"
        )
    if sum(map(_ranged, bodies.values())) > MOST_RANGED_PORTS:
        yield _burden(f"{file}: services", "ranges of ports", f"At most {MOST_RANGED_PORTS} ports")
    if any(_nested(text) > MOST_NESTED_VARIABLES for text in _texts(document)):
        most = f"At most {MOST_NESTED_VARIABLES} variables in each other"
        yield _burden(file, "nested variables", most)


def edges(document: Mapping[str, Any]) -> Iterator[Edge]:
    """Which services of one document need which others."""
    services = document.get("services")
    for name, body in services.items() if isinstance(services, Mapping) else ():
        if not isinstance(body, Mapping):
            continue
        for other in body.get("depends_on") or ():
            yield name, str(other)
        for key in ("links", "volumes_from"):
            for other in _listed(body.get(key)):
                yield name, str(other).partition(":")[0]
        for key in ("network_mode", "pid", "ipc", "uts"):
            if found := _REFERENCE.fullmatch(str(body.get(key))):
                yield name, found[1]


def too_many_paths(known: set[Edge]) -> Finding | None:
    """A finding where following all paths would take too long, or come to no end."""
    after: dict[str, set[str]] = {}
    for one, other in known:
        after.setdefault(one, set()).add(other)
    paths: dict[str, int] = {}
    for name in after:
        if _paths(name, after, paths) > MOST_PATHS or sum(paths.values()) > MOST_PATHS:
            return _burden(
                "services",
                "services that depend on each other",
                f"At most {MOST_PATHS} ways may lead from one to another",
            )
    return None


def _paths(name: str, after: Mapping[str, set[str]], paths: dict[str, int]) -> int:
    """How many ways lead on from a service; more than enough where they lead in a circle."""
    if name not in paths:
        # What comes back to itself finds this.
        paths[name] = MOST_PATHS + 1
        paths[name] = 1 + sum(_paths(other, after, paths) for other in after.get(name, ()))
    return paths[name]


def _ranged(body: Any) -> int:
    """How many ports the ranges of a service stand for."""
    count = 0
    for entry in _listed(body.get("ports") if isinstance(body, Mapping) else None):
        told = entry.values() if isinstance(entry, Mapping) else [entry]
        for first, last in _RANGE.findall(" ".join(map(str, told))):
            count += abs(int(last) - int(first)) + 1
    return count


def _nested(text: str) -> int:
    deepest = depth = 0
    for sign in re.findall(r"\$\{|\}", text):
        depth = max(0, depth + (1 if sign == "${" else -1))
        deepest = max(deepest, depth)
    return deepest


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield key
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _burden(where: str, what: str, most: str) -> Finding:
    return Finding(
        where=where,
        what=what,
        why=f"Compose would be busy with it for too long. {most}.",
        instead="Make it simpler.",
    )

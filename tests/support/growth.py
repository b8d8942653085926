"""What an agent holds: every container in every object of it, and what its process has open."""

import asyncio
import gc
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

_LOOKED_INTO = ("domain", "adapters", "entrypoints", "anyio", "prometheus_client")
"""Packages whose objects are looked into."""

_CONTAINERS = (Mapping, list, tuple, AbstractSet, deque)


def sizes(root: object) -> dict[str, int]:
    """The size of every container that can be reached from an object: path → size.

    What a mapping or sequence holds is looked into as well, with a star for its key.
    """
    found: dict[str, int] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, _CONTAINERS):
            found[path] = found.get(path, 0) + len(thing)
        waiting += [(f"{path}{step}", inner) for step, inner in _parts(thing)]
    return found


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    if isinstance(thing, Mapping):
        yield from (("[*]", value) for value in list(thing.values()))
    elif isinstance(thing, list | tuple | AbstractSet | deque):
        yield from (("[*]", value) for value in list(thing))
    elif callable(thing) and hasattr(thing, "__self__"):
        yield "()", thing.__self__
    elif _package(thing).startswith(_LOOKED_INTO) and not isinstance(thing, type):
        yield from ((f".{name}", value) for name, value in _attributes(thing).items())


def _package(thing: object) -> str:
    return str(getattr(type(thing), "__module__", ""))


def _attributes(thing: object) -> dict[str, Any]:
    found = dict(getattr(thing, "__dict__", {}))
    if is_dataclass(thing):
        found |= {field.name: getattr(thing, field.name, None) for field in fields(thing)}
    for kind in type(thing).__mro__:
        for name in _slots(kind):
            found[name] = getattr(thing, name, None)
    return found


def _slots(kind: type) -> Sequence[str]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the process has open, and what lies on disk."""

    descriptors: int
    threads: int
    tasks: int
    objects: int
    memory_bytes: int
    files: tuple[str, ...]
    store_bytes: int


def footprint(workspace: Path, state: Path) -> Footprint:
    """What this process and its agent take up now."""
    gc.collect()
    return Footprint(
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - the number is wanted
        threads=threading.active_count(),
        tasks=len(asyncio.all_tasks()),
        objects=len(gc.get_objects()),
        memory_bytes=_resident_bytes(),
        files=tuple(sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*"))),
        store_bytes=sum(path.stat().st_size for path in state.glob("agent.db*")),
    )


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

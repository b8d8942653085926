"""Reads Compose files as plain trees, before Compose does; constructs nothing, explodes nowhere.

Compose reads YAML with another library. What the two could read differently is refused, so that no
key can be hidden from the one that looks.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from domain.bundles import MAX_COMPOSE_FILE_BYTES
from domain.errors import BundleRefused

MAX_DEPTH = 50
MAX_NODES = 100_000
"""How many values a file may have once its aliases are written out; long texts count for more."""

TEXT_OF_ONE_VALUE = 64
"""How many characters count as one value: Compose reads every text again for each alias of it."""

MAX_ALIASES = 1_000
MAX_DOCUMENTS = 10

# libyaml, from which Compose's own library descends, is many times as fast; wheels bring it along.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE = "tag:yaml.org,2002:"
_TAGS = {
    *(f"{_CORE}{kind}" for kind in ("str", "int", "bool", "float", "null", "map", "seq")),
    f"{_CORE}merge",
    f"{_CORE}timestamp",
    f"{_CORE}value",
    "!reset",
    "!override",
}
# What some take for the end of a line and others do not, and what no text needs.
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]|\r(?!\n)")
_MERGE = "<<"
_NULL = f"{_CORE}null"

Plain = Any
"""Mappings, lists, texts and None."""


def read_documents(text: bytes, *, name: str) -> tuple[Plain, ...]:
    """The documents of a YAML file: mappings with merges applied, lists, scalars as their text.

    Raises:
        BundleRefused: it is too large or too deep, no YAML, or could be read in another way.
    """
    try:
        return _documents(_decoded(text))
    except _Refusal as fault:
        raise BundleRefused(f"{name} cannot be read for sure: {fault}.") from fault
    except yaml.YAMLError as fault:
        raise BundleRefused(f"{name} is no YAML: {_told(fault)}.") from fault
    except RecursionError as fault:
        raise BundleRefused(f"{name} is nested more than {MAX_DEPTH} levels deep.") from fault


class _Refusal(Exception):
    """Why a file is not read."""


def _decoded(text: bytes) -> str:
    if len(text) > MAX_COMPOSE_FILE_BYTES:
        raise _Refusal(f"it is larger than {MAX_COMPOSE_FILE_BYTES} bytes")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise _Refusal("it is not written in UTF-8") from fault
    if odd := _ODD.search(decoded):
        line = decoded.count("\n", 0, odd.start()) + 1
        raise _Refusal(f"line {line} has the character U+{ord(odd[0]):04X}")
    return decoded


def _documents(text: str) -> tuple[Plain, ...]:
    _check_events(text)
    nodes = [node for node in yaml.compose_all(text, Loader=_LOADER) if node is not None]
    sizes: dict[int, int] = {}
    if sum(_size(node, sizes) for node in nodes) > MAX_NODES:
        raise _Refusal(f"with its aliases written out it has more than {MAX_NODES} values")
    return tuple(_plain(node) for node in nodes)


def _check_events(text: str) -> None:
    """Refuses, before any tree is made, what is too much or what others read otherwise."""
    depth = aliases = documents = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if count > MAX_NODES:
            # What is refused anyway is not read to its end.
            raise _Refusal(f"it has more than {MAX_NODES} values")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if event.tags or event.version not in {None, (1, 1), (1, 2)}:
                raise _Refusal(f"{_line(event)} has a directive")
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS:
            raise _Refusal(f"{_line(event)} has the tag {str(tag)[:40]!r}")
        if depth > MAX_DEPTH or aliases > MAX_ALIASES or documents > MAX_DOCUMENTS:
            raise _Refusal(
                f"it has more than {MAX_DEPTH} levels, {MAX_ALIASES} aliases or "
                f"{MAX_DOCUMENTS} documents"
            )


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values a node has with its aliases written out."""
    known = sizes.get(id(node))
    if known is not None:
        if not known:
            raise _Refusal(f"{_line(node)} is part of itself")
        return known
    # Nothing yet, which shows a node that is reached from itself.
    sizes[id(node)] = 0
    text = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
    size = 1 + text // TEXT_OF_ONE_VALUE + sum(_size(child, sizes) for child in _children(node))
    if size > MAX_NODES:
        raise _Refusal(f"with its aliases written out it has more than {MAX_NODES} values")
    sizes[id(node)] = size
    return size


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _plain(node: yaml.Node) -> Plain:
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == _NULL else str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child) for child in node.value]
    own: dict[str, Plain] = {}
    merged: dict[str, Plain] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _TAGS:
            raise _Refusal(f"{_line(key)} has a key that is no plain text")
        if key.value == _MERGE:
            # Also where it is quoted, which is read in both ways.
            merged |= _merged(value)
        elif key.value in own:
            raise _Refusal(f"{_line(key)} has the key {key.value[:40]!r} a second time")
        else:
            own[key.value] = _plain(value)
    return {**merged, **own}


def _merged(node: yaml.Node) -> dict[str, Plain]:
    """What is merged in; of several the earlier wins."""
    entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
    merged: dict[str, Plain] = {}
    for entry in entries:
        found = _plain(entry)
        if not isinstance(found, dict):
            raise _Refusal(f"{_line(node)} merges what is no mapping")
        merged = {**found, **merged}
    return merged


def _line(place: Any) -> str:
    return f"line {place.start_mark.line + 1}"


def _told(fault: yaml.YAMLError) -> str:
    mark = getattr(fault, "problem_mark", None)
    problem = getattr(fault, "problem", None) or "it has a character that is not allowed"
    return f"{problem}, in line {mark.line + 1}" if mark is not None else str(problem)

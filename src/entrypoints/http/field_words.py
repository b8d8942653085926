"""What fields mean, for the OpenAPI document: the words that stand below them in the code."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

Words = Mapping[str, str]
"""Field → what it means; without those that need no words."""


def field_words(kind: type[Any]) -> Words:
    """What the fields of a kind mean, those that it has from others included."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        found |= _of_module(one.__module__).get(one.__qualname__, {})
    return found


def kinds_within(kind: Any) -> set[type[Any]]:
    """A kind of body, and all that it is made of."""
    found: set[type[Any]] = set()
    _collect(msgspec.inspect.type_info(kind), found)
    return found


def _collect(node: Any, found: set[type[Any]]) -> None:
    if isinstance(node, tuple):
        for one in node:
            _collect(one, found)
    elif isinstance(node, msgspec.inspect.StructType):
        if node.cls not in found:
            found.add(node.cls)
            _collect(node.fields, found)
    elif isinstance(node, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in node.__struct_fields__:
            _collect(getattr(node, name), found)


@cache
def _of_module(name: str) -> Mapping[str, Words]:
    """Class of a module → words of its fields. Read once: to read a class alone takes as long."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (OSError, TypeError):
        # Not written in Python, or installed without its source.
        return {}
    return {
        node.name: dict(_told(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)
    }


def _told(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, words in pairwise(body):
        match field, words:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.replace("``", "`").split())

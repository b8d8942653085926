"""What a call takes in its query, as its handler declares it."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition

_KNOWN: dict[Callable[..., Any], Mapping[str, FieldDefinition]] = {}
"""By the function: each application has handlers of its own, and would live as long as they."""


def query_parameters(handler: BaseRouteHandler) -> Mapping[str, FieldDefinition]:
    """Name in the query → the field of the handler that it fills."""
    if handler.fn not in _KNOWN:
        _KNOWN[handler.fn] = {
            field.kwarg_definition.name or name: field
            for name, field in handler.parsed_fn_signature.parameters.items()
            if isinstance(field.kwarg_definition, QueryParameter)
        }
    return _KNOWN[handler.fn]


def choices(field: FieldDefinition) -> tuple[str, ...]:
    """What a parameter may be, where only some words are known; else nothing."""
    for kind in (field.annotation, *(inner.annotation for inner in field.inner_types)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return tuple(member.value for member in kind)
    return ()

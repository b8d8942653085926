"""What a call takes in its query, as its handler declares it."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition


@cache
def query_parameters(handler: BaseRouteHandler) -> Mapping[str, FieldDefinition]:
    """Name in the query → the field of the handler that it fills."""
    return {
        field.kwarg_definition.name or name: field
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }


def choices(field: FieldDefinition) -> tuple[str, ...]:
    """What a parameter may be, where only some words are known; else nothing."""
    for kind in (field.annotation, *(inner.annotation for inner in field.inner_types)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return tuple(member.value for member in kind)
    return ()

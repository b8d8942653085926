"""What the rows of the table are made of: checks of one value each.

A check is given a value of the resolved model, its place, and what it is judged against, and gives
a finding for each thing that is not allowed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from domain.compose_policy.rules import PolicyRules
from domain.findings import Finding

_SHOWN_LENGTH = 120


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What values are judged against."""

    rules: PolicyRules
    folder: str
    """Where the bundle was unpacked; absolute. Empty where there is none."""
    services: frozenset[str] = frozenset()
    """The services that the model has."""


Check = Callable[[Any, str, Scope], Iterator[Finding]]
"""Gives what is not allowed about a value at a place."""


class Row(NamedTuple):
    """One key of the table."""

    check: Check
    reason: str
    """Why it is allowed, or not."""


Table = Mapping[str, Row]
"""The keys that one part of a model may have."""


def shown(value: object) -> str:
    """A value as a finding shows it: short, and inert in every terminal and page."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def anything(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows every value."""
    return iter(())


def refused(why: str, instead: str = "") -> Check:
    """Refuses every value but none: null, false, an empty text, list or mapping."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
        if value not in (None, False, "", [], {}):
            yield Finding(where=where, what=shown(value), why=why, instead=instead)

    return check


def one_of(*allowed: str | bool, why: str, instead: str = "Take it away.") -> Check:
    """Allows these words, and none at all."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
        if value is not None and value not in allowed:
            yield Finding(where=where, what=shown(value), why=why, instead=instead)

    return check


def text(pattern: str = r".*", *, longest: int = 4096, why: str = "") -> Check:
    """Allows texts and numbers of a form."""
    form = re.compile(pattern, re.DOTALL)

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
        if value is None:
            return
        plain = isinstance(value, str | int | float)
        if not plain or len(str(value)) > longest or not form.fullmatch(str(value)):
            yield Finding(
                where=where, what=shown(value), why=why or "It is not of the form that is known."
            )

    return check


def switch(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows true and false."""
    if not isinstance(value, bool | None):
        yield Finding(where=where, what=shown(value), why="It is neither true nor false.")


def number(least: float, most: float, *, why: str = "") -> Check:
    """Allows numbers, also as text, from the least to the most."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
        if value is None:
            return
        found = as_number(value)
        if found is None or not least <= found <= most:
            yield Finding(
                where=where,
                what=shown(value),
                why=f"{why} It may be from {least:g} to {most:g}.".strip(),
            )

    return check


def as_number(value: Any) -> float | None:
    """A number, also where it is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def each(check_one: Check, *, most: int = 1000) -> Check:
    """Allows lists whose entries pass, or one entry alone."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
        if value is None:
            return
        entries = value if isinstance(value, list) else [value]
        if len(entries) > most:
            yield Finding(
                where=where, what=f"{len(entries)} entries", why=f"At most {most} are taken."
            )
            return
        for index, entry in enumerate(entries):
            yield from check_one(entry, f"{where}[{index}]", scope)

    return check


def named(check_one: Check, *, check_name: Check = anything, most: int = 1000) -> Check:
    """Allows mappings from any name that passes to values that pass."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
        if value is None:
            return
        if not isinstance(value, Mapping):
            yield _unreadable(value, where)
            return
        if len(value) > most:
            yield Finding(
                where=where, what=f"{len(value)} entries", why=f"At most {most} are taken."
            )
            return
        for name, entry in value.items():
            yield from check_name(name, f"{where}.{name}", scope)
            yield from check_one(entry, f"{where}.{name}", scope)

    return check


def keys(table: Table, *, unknown: Check | None = None) -> Check:
    """Allows mappings with the keys of a table; ``unknown`` judges others, if given."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
        if value is None:
            return
        if not isinstance(value, Mapping):
            yield _unreadable(value, where)
            return
        for name, entry in value.items():
            place = f"{where}.{name}" if where else str(name)
            row = table.get(name)
            if row is not None:
                yield from row.check(entry, place, scope)
            elif unknown is not None:
                yield from unknown(entry, place, scope)
            elif not str(name).startswith("x-"):
                yield Finding(
                    where=place,
                    what=shown(entry),
                    why="This key is not known to be safe.",
                    instead="Take it away.",
                )

    return check


def soft_and_hard(row: Row) -> Check:
    """Allows one value that passes, or a pair of them."""
    pair = keys({"soft": row, "hard": row})

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
        yield from (pair if isinstance(value, Mapping) else row.check)(value, where, scope)

    return check


def _unreadable(value: Any, where: str) -> Finding:
    return Finding(where=where, what=shown(value), why="A mapping of names to values belongs here.")

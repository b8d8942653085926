"""Puts the values of arguments into the words of Dockerfiles, as the builder does."""

import re
from collections import ChainMap
from collections.abc import Callable, Mapping

from domain.dockerfile_instructions import Doubt

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHER_NAME = re.compile(r"[\w@*#?$!-]")
_VALUE = re.compile(r"(?:[^\s\"'\\`]|\"[^\"\\`]*\"|'[^'\\`]*')+")
_PLATFORM = re.compile(r"(TARGET|BUILD)(PLATFORM|OS|OSVERSION|ARCH|VARIANT|STAGE)")
_LONGEST = 512
_DEEPEST = 16

Lookup = Callable[[str, bool], str | None]
"""Gives a variable's value, None where it has none; told whether the text asks if it has one."""


def is_platform(name: str) -> bool:
    """Whether a variable's value comes from the machine that a build is for."""
    return _PLATFORM.fullmatch(name) is not None


def expanded(text: str, value: Lookup, escape: str) -> str:
    """A word with its quotes taken off and its variables put in.

    Raises:
        Doubt: it cannot be told what comes of it.
    """
    if not text.isascii():
        raise _untold()
    return _Word(text, value, escape).upto("")


def declared(
    rest: str, arguments: Mapping[str, str], known: dict[str, str | None], escape: str
) -> dict[str, str | None]:
    """Arguments for all stages that an ``ARG`` declares, with their values.

    Args:
        rest: what stands behind ``ARG``.
        arguments: the build's own; they go before defaults.
        known: what was declared before.
        escape: the sign that takes the meaning from the next.

    Returns:
        None for a value that cannot be told; those that have none are left out.

    Raises:
        Doubt: it cannot be told which they are.
    """
    if _VALUE.sub("", rest).strip(" \t"):
        raise Doubt("It cannot be told for sure which arguments these are.")
    found: dict[str, str | None] = {}
    for word in _VALUE.findall(rest):
        name, given, default = word.partition("=")
        if not _NAME.fullmatch(name):
            raise Doubt("It cannot be told for sure which arguments these are.")
        if name in arguments:
            found[name] = arguments[name]
        elif given:
            found[name] = _default(default, ChainMap(found, known), escape)
        elif name in known or name in found:
            # Whether the earlier default stays depends on the release.
            found[name] = None
    return found


def _default(text: str, known: Mapping[str, str | None], escape: str) -> str | None:
    try:
        return expanded(text, looked_up_in(known), escape)
    except Doubt:
        return None


def looked_up_in(known: Mapping[str, str | None]) -> Lookup:
    """Looks up values among those known, and doubts those that cannot be told."""

    def value(name: str, asked: bool) -> str | None:  # noqa: ARG001
        if is_platform(name) or (name in known and known[name] is None):
            raise _untold()
        return known.get(name)

    return value


def _untold() -> Doubt:
    return Doubt("The value of a variable cannot be told for sure.")


class _Word:
    def __init__(self, text: str, value: Lookup, escape: str) -> None:
        self._text = text
        self._value = value
        self._escape = escape
        self._place = 0
        self._depth = 0

    def upto(self, end: str) -> str:
        """What comes of the text up to a sign outside of quotes, or to the text's end."""
        found = ""
        while sign := self._next():
            if sign == end:
                return found
            found += self._meant(sign)
            # Values made of values grow without end.
            if len(found) > _LONGEST:
                raise _untold()
        if end:
            raise _untold()
        return found

    def _next(self) -> str:
        sign = self._text[self._place : self._place + 1]
        self._place += 1
        return sign

    def _meant(self, sign: str) -> str:
        if sign == self._escape:
            return self._next()
        if sign == "'":
            return self._single()
        if sign == '"':
            return self._double()
        return self._variable() if sign == "$" else sign

    def _single(self) -> str:
        end = self._text.find("'", self._place)
        if end < 0:
            raise _untold()
        start, self._place = self._place, end + 1
        return self._text[start:end]

    def _double(self) -> str:
        found = ""
        while sign := self._next():
            if sign == '"':
                return found
            if sign == self._escape and self._text[self._place : self._place + 1] in (
                '"', "$", self._escape,
            ):  # fmt: skip
                sign = self._next()
            elif sign == "$":
                sign = self._variable()
            found += sign
            if len(found) > _LONGEST:
                raise _untold()
        raise _untold()

    def _variable(self) -> str:
        braced = self._text[self._place : self._place + 1] == "{"
        self._place += braced
        name = _NAME.match(self._text, self._place)
        if name is None:
            if braced or _OTHER_NAME.match(self._text, self._place):
                raise _untold()
            return "$"
        self._place = name.end()
        return self._braced(name[0]) if braced else self._value(name[0], False) or ""

    def _nested(self) -> str:
        if self._depth == _DEEPEST:
            raise _untold()
        self._depth += 1
        found = self.upto("}")
        self._depth -= 1
        return found

    def _braced(self, name: str) -> str:
        sign = self._next()
        if sign == "}":
            return self._value(name, False) or ""
        empty_counts = sign == ":"
        sign = self._next() if empty_counts else sign
        if sign not in {"-", "+", "?"}:
            raise _untold()
        word, value = self._nested(), self._value(name, True)
        lacks = value is None or (empty_counts and not value)
        if sign == "+":
            return "" if lacks else word
        if sign == "?" and lacks:
            raise Doubt(f"The build stops: {name} has no value.")
        return word if lacks else value or ""

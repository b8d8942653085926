"""Reads the text of Dockerfiles into instructions, and says so where it cannot tell.

Releases of the builder differ, and a Dockerfile can ask for another one. What they would read in
different ways is doubted: nothing is taken for one thing that could be another.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from domain.dockerfile_instructions import NAMES, Doubt, Instruction, instruction

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)")
_DIRECTIVES = {"syntax", "escape", "check"}
_BACKTICK = re.compile(r"^[^\S\n]*#[^\S\n]*escape[^\S\n]*=[^\S\n]*`", re.IGNORECASE | re.MULTILINE)
_WORD = re.compile(r"(?:[^\s\"'\\]|\"(?:[^\"\\]|\\.)*\"|'[^']*'|\\.)+")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_HEREDOC_NAME = re.compile(r"(?P<quote>[\"']?)([A-Za-z0-9_.][A-Za-z0-9_.-]*)(?P=quote)")
_PLAIN_VARIABLE = re.compile(r"\$\{\w+(?::[-+?][^\s\"'\\${}<]*)?\}", re.ASCII)


class _Divided(Doubt):
    """Releases of the builder differ in where the next line begins."""


class Reading(msgspec.Struct, frozen=True):
    """What was read of a Dockerfile."""

    instructions: tuple[Instruction, ...]
    doubts: tuple[Doubt, ...]
    """What could not be. Nothing is read beyond one that leaves open where the next line begins."""


def read(text: str) -> Reading:
    """Reads a Dockerfile as far as it can be told what it means."""
    body = _body(text)
    try:
        return _read(body, _escape(body), doubled=None)
    except _Divided as doubt:
        return Reading((), (Doubt(doubt.why, doubt.line),))
    except Doubt as doubt:
        return Reading((), (doubt,))


def readings(text: str) -> Sequence[Reading]:
    """Reads a Dockerfile in every way in which releases of the builder join its lines."""
    body = _body(text)
    try:
        signs = [_escape(body)]
    except _Divided:
        signs = ["\\", "`"]
    except Doubt as doubt:
        return [Reading((), (doubt,))]
    try:
        return [_read(body, sign, doubled=None) for sign in signs]
    except _Divided:
        return [_read(body, sign, doubled=way) for sign in signs for way in (False, True)]


def _body(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _read(body: str, escape: str, *, doubled: bool | None) -> Reading:
    """Reads lines that a sign joins.

    Args:
        body: all of them.
        escape: the sign.
        doubled: whether two of it join lines too; None raises where that matters.
    """
    found: list[Instruction] = []
    doubts: list[Doubt] = []
    lines = _Lines(body)
    try:
        for line in lines:
            number = lines.number
            if whole := _joined(line, lines, escape, doubled):
                instruction = _taken(whole, number, escape, doubts)
                _skip_heredocs(instruction, whole, lines, escape)
                found += [instruction] if instruction else []
    except _Divided as doubt:
        raise _Divided(doubt.why, lines.number) from None
    except Doubt as doubt:
        doubts.append(Doubt(doubt.why, lines.number))
    if not any(instruction.name == "from" for instruction in found):
        doubts.append(Doubt("It has no FROM."))
    return Reading(tuple(found), tuple(doubts))


def is_heredoc(word: str) -> bool:
    """Whether a word opens a text that follows its instruction."""
    return _HEREDOC.fullmatch(word) is not None


def directives(body: str, sign: str) -> dict[str, str]:
    """Directives at the top, which end with the first line that is none."""
    found: dict[str, str] = {}
    for line in body.split("\n"):
        match = _DIRECTIVE.fullmatch(line.removeprefix(sign).strip())
        if not line.startswith(sign) or match is None:
            break
        name = match[1].lower()
        if name not in _DIRECTIVES or name in found:
            break
        found[name] = match[2]
    return found


class _Lines:
    """Lines, one after another, that know how many were taken."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.number >= len(self._lines):
            raise StopIteration
        self.number += 1
        return self._lines[self.number - 1]


def _escape(body: str) -> str:
    found = directives(body, "#")
    escape = found.get("escape", "\\")
    # Releases differ in what may stand before the directive.
    hidden = _BACKTICK.search(body) and (escape != "`" or "check" in found)
    if hidden:
        raise _Divided("Releases of Docker differ in whether they heed its escape directive.")
    if escape not in {"\\", "`"}:
        raise Doubt("Its escape directive names no sign that can be one.")
    return escape


def _joined(line: str, more: Iterator[str], escape: str, doubled: bool | None) -> str:
    """An instruction's line with those that continue it; empty for a comment."""
    if _bare(line).startswith("#"):
        return ""
    whole, rest = "", line.lstrip(" \t")
    while (bare := rest.rstrip(" \t")).endswith(escape):
        if bare.endswith(escape * 2):
            if doubled is None:
                raise _Divided(f"Releases of Docker differ in whether {escape * 2} joins lines.")
            if not doubled:
                break
        whole += bare[:-1]
        rest = next((one for one in more if not _idle(one)), "")
    return (whole + rest).strip(" \t")


def _idle(line: str) -> bool:
    return _bare(line)[:1] in {"", "#"}


def _bare(line: str) -> str:
    """A line without the blanks before it, which must be such that all take for blanks."""
    bare = line.lstrip()
    if line[: len(line) - len(bare)].strip(" \t"):
        raise Doubt("The line begins with a sign that some take for a blank and some do not.")
    return bare


def _taken(whole: str, number: int, escape: str, doubts: list[Doubt]) -> Instruction | None:
    try:
        found = instruction(whole)
    except Doubt as doubt:
        doubts.append(Doubt(doubt.why, number))
        return None
    return msgspec.structs.replace(found, line=number, escape=escape)


def _skip_heredocs(
    instruction: Instruction | None, line: str, lines: Iterator[str], escape: str
) -> None:
    """Reads over the texts that follow an instruction."""
    if "<<" not in line:
        return
    if instruction is None:
        raise Doubt("It cannot be told whether << opens a text here.")
    if instruction.name not in {"run", "copy", "add"} or instruction.listed() is not None:
        return
    if _WORD.sub("", line).strip(" \t") or "${" in _PLAIN_VARIABLE.sub("", line):
        raise Doubt("It cannot be told whether << opens a text here.")
    for word in _WORD.findall(line):
        if opening := _HEREDOC.fullmatch(word):
            _skip_heredoc(opening[2], lines, escape, tabs=bool(opening[1]))


def _skip_heredoc(quoted: str, lines: Iterator[str], escape: str, *, tabs: bool) -> None:
    name = _HEREDOC_NAME.fullmatch(quoted)
    if name is None or name[2].lower() in NAMES:
        raise Doubt(f"<<{quoted[:40]} does not name the end of a text for sure; write <<EOF.")
    last = ""
    for line in lines:
        bare = line.rstrip("\r")
        if (bare.lstrip("\t") if tabs else bare) == name[2]:
            # Releases without such texts would read it as instructions, and the end as a part.
            if last.endswith(escape):
                raise Doubt(f"The text ends with {escape}, which takes its end from some releases.")
            return
        last = line.strip() or last
    raise Doubt(f"The text has no end: {name[2][:40]} on a line of its own.")

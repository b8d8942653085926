"""Reads the text of Dockerfiles into instructions, and says so where it cannot tell.

Releases of the builder differ, and a Dockerfile can ask for another one. What they would read in
different ways is doubted: nothing is taken for one thing that could be another.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)")
_DIRECTIVES = {"syntax", "escape", "check"}
_BACKTICK = re.compile(r"^[^\S\n]*#[^\S\n]*escape[^\S\n]*=[^\S\n]*`", re.IGNORECASE | re.MULTILINE)
# They end lines or words for some releases, or hide what follows from people.
_NEVER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ufeff]")
_ODD = re.compile(r"[^\S \t]|[\ufffd\ud800-\udfff]")
_FLAG = re.compile(r"--([a-z-]+)(?:=(.*))?")
_FLAGS = {
    "from": {"platform"},
    "copy": {"from", "chown", "chmod", "link", "parents", "exclude"},
    "add": {"chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"},
    "run": {"mount", "network", "security", "device"},
    "healthcheck": {"interval", "timeout", "start-period", "start-interval", "retries"},
}
_BARE_FLAGS = {"link", "parents", "keep-git-dir", "unpack"}
_PLAIN = {
    "arg", "cmd", "entrypoint", "env", "expose", "label", "maintainer", "shell", "stopsignal",
    "user", "volume", "workdir",
}  # fmt: skip
_NOT_ON_BUILD = ("onbuild", "from", "maintainer")
_SPLIT_AT_BLANKS = {"from", "copy", "add", "arg", "env"}
_WORD = re.compile(r"(?:[^\s\"'\\]|\"(?:[^\"\\]|\\.)*\"|'[^']*'|\\.)+")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_HEREDOC_NAME = re.compile(r"(?P<quote>[\"']?)([A-Za-z0-9_.][A-Za-z0-9_.-]*)(?P=quote)")
_PLAIN_VARIABLE = re.compile(r"\$\{\w+(?::[-+?][^\s\"'\\${}<]*)?\}", re.ASCII)


class Doubt(Exception):
    """It cannot be told what the text means.

    Attributes:
        why: as a sentence.
        line: number of the line it is about, from 1; 0 where it is about no single one.
    """

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.line = line


class Instruction(msgspec.Struct, frozen=True):
    """One instruction, its lines joined."""

    name: str
    """In lower case."""
    flags: tuple[tuple[str, str], ...]
    """Name and value, without quotes."""
    rest: str
    """What comes after the flags."""
    on_build: bool = False
    """Whether it runs in builds that start from this one's image."""
    line: int = 0
    """Where it begins, from 1."""
    escape: str = "\\"
    """The sign that takes the meaning from the next."""

    def listed(self) -> Sequence[str] | None:
        """Its arguments in JSON form; None where they have another."""
        try:
            return msgspec.json.decode(self.rest, type=list[str])
        except msgspec.MsgspecError:
            return None

    def values(self, flag: str) -> list[str]:
        """What a flag was given, each time."""
        return [value for name, value in self.flags if name == flag]


class Reading(msgspec.Struct, frozen=True):
    """What was read of a Dockerfile."""

    instructions: tuple[Instruction, ...]
    doubts: tuple[Doubt, ...]
    """What could not be. Nothing is read beyond one that leaves open where the next line begins."""


def read(text: str) -> Reading:
    """Reads a Dockerfile as far as it can be told what it means."""
    found: list[Instruction] = []
    doubts: list[Doubt] = []
    body = text.removeprefix("\ufeff").replace("\r\n", "\n")
    lines = _Lines(body)
    try:
        escape = _escape(body)
        for line in lines:
            number = lines.number
            if whole := _joined(line, lines, escape):
                instruction = _taken(whole, number, escape, doubts)
                _skip_heredocs(instruction, whole, lines, escape)
                found += [instruction] if instruction else []
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
    if hidden or escape not in {"\\", "`"}:
        raise Doubt("Releases of Docker differ in whether they heed this escape directive.")
    return escape


def _joined(line: str, more: Iterator[str], escape: str) -> str:
    """An instruction's line with those that continue it; empty for a comment."""
    if _bare(line).startswith("#"):
        return ""
    whole, rest = "", line.lstrip(" \t")
    while (bare := rest.rstrip(" \t")).endswith(escape):
        if bare.endswith(escape * 2):
            raise Doubt(f"Releases of Docker differ in whether {escape * 2} continues the line.")
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
        found = _instruction(whole)
    except Doubt as doubt:
        doubts.append(Doubt(doubt.why, number))
        return None
    return msgspec.structs.replace(found, line=number, escape=escape)


def _instruction(line: str) -> Instruction:
    if _NEVER.search(line):
        raise Doubt("It holds a control character.")
    name, _, rest = line.replace("\t", " ").partition(" ")
    name, rest = name.lower(), line[len(name) :].lstrip(" \t")
    if name == "onbuild":
        if rest.lower().startswith(_NOT_ON_BUILD):
            raise Doubt("ONBUILD does not take this instruction.")
        return msgspec.structs.replace(_instruction(rest), on_build=True)
    if name not in _PLAIN and name not in _FLAGS:
        raise Doubt(f"{name[:40].upper()} is no instruction that is known here.")
    if name in _SPLIT_AT_BLANKS and _ODD.search(rest):
        raise Doubt("It holds a sign that some take for a blank and some do not.")
    flags, rest = _flags(name, rest)
    return Instruction(name, flags, rest)


def _flags(name: str, rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    flags = []
    while rest.startswith("--"):
        word, rest = _flag_word(rest)
        match = _FLAG.fullmatch(word)
        if match is None or match[1] not in _FLAGS.get(name, ()):
            raise Doubt(f"{word[:40]} is no option of {name.upper()} that is known here.")
        if match[2] is None and match[1] not in _BARE_FLAGS:
            raise Doubt(f"{word[:40]} has no value; options are written --name=value.")
        flags.append((match[1], match[2] or ""))
    return tuple(flags), rest


def _flag_word(rest: str) -> tuple[str, str]:
    """The first word, without its quotes, and what follows it."""
    word, quote = "", ""
    for place, sign in enumerate(rest):
        # The builder reads options byte by byte, and finds blanks inside of other characters.
        if not sign.isascii() or sign in "\\`":
            break
        if not quote and sign in " \t":
            return word, rest[place:].lstrip(" \t")
        if sign == quote or (not quote and sign in "\"'"):
            quote = "" if quote else sign
        else:
            word += sign
    else:
        if not quote:
            return word, ""
    raise Doubt("Its options cannot be told for sure.")


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
    if name is None or name[2].lower() in {"onbuild", *_PLAIN, *_FLAGS}:
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

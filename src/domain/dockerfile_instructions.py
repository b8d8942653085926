"""Single instructions of Dockerfiles: their names, options and the rest."""

import re
from collections.abc import Sequence

import msgspec

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

NAMES = frozenset({"onbuild", *_PLAIN, *_FLAGS})
"""Of all instructions, in lower case."""


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


def instruction(line: str) -> Instruction:
    """Takes a line apart, once those that continue it are joined to it.

    Raises:
        Doubt: it cannot be told what it means.
    """
    if _NEVER.search(line):
        raise Doubt("It holds a control character.")
    name, _, rest = line.replace("\t", " ").partition(" ")
    name, rest = name.lower(), line[len(name) :].lstrip(" \t")
    if name == "onbuild":
        if rest.lower().startswith(_NOT_ON_BUILD):
            raise Doubt("ONBUILD does not take this instruction.")
        return msgspec.structs.replace(instruction(rest), on_build=True)
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

"""Reads Dockerfiles just far enough to tell what a build takes in, and says so when it cannot.

Whatever is not surely understood counts as doubt: an image is then not shared, which costs a build,
instead of being taken for another that only looks the same.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

_FRONT_END = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:[:@].+)?")
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = {"syntax", "escape", "check"}
_BACKTICK = re.compile(r"^\s*#\s*escape\s*=\s*`", re.IGNORECASE | re.MULTILINE)
# Characters that some releases take for blanks and others do not.
_ODD = re.compile(r"[^\S \t]|[\x00-\x08\x7f\ufeff]")
_FLAG = re.compile(r"--([a-z-]+)(?:=([^\s\"'`\\]*))?(?:[ \t]+|$)")
_FLAGS = {
    "from": {"platform"},
    "copy": {"from", "chown", "chmod", "link", "parents", "exclude"},
    "add": {"chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"},
    "run": {"mount", "network", "security", "device"},
}
_BARE_FLAGS = {"link", "parents", "keep-git-dir", "unpack"}
_PLAIN = {
    "arg", "cmd", "entrypoint", "env", "expose", "healthcheck", "label", "maintainer", "shell",
    "stopsignal", "user", "volume", "workdir",
}  # fmt: skip
_WORD = re.compile(r"(?:[^\s\"'\\]|\"(?:[^\"\\]|\\.)*\"|'[^']*'|\\.)+")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_HEREDOC_NAME = re.compile(r"(?P<quote>[\"']?)([^\s\"'\\$]+)(?P=quote)")
_VALUE = re.compile(r"(?:[^\s\"'\\`]|\"[^\"\\`]*\"|'[^'\\`]*')+")
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")
_NUMBER = re.compile(r"[+-]?\d+")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^${}\"'`\\]*))?\})", re.ASCII)
_PLATFORM_ARGUMENT = re.compile(r"(TARGET|BUILD)(PLATFORM|OS|OSVERSION|ARCH|VARIANT|STAGE)")
_DOUBTFUL_SOURCE = re.compile(r"[$\"'`\\\[\]^]|\*\*")


class _Doubt(Exception):
    """It cannot be told what the text means."""


class _Instruction(msgspec.Struct, frozen=True):
    name: str
    flags: tuple[tuple[str, str], ...]
    rest: str
    on_build: bool = False

    def listed(self) -> Sequence[str] | None:
        """Its arguments in JSON form; None where they have another."""
        try:
            return msgspec.json.decode(self.rest, type=list[str])
        except msgspec.MsgspecError:
            return None

    def values(self, flag: str) -> list[str]:
        """What a flag was given, each time."""
        return [value for name, value in self.flags if name == flag]


def base_images(text: str, arguments: Mapping[str, str]) -> tuple[str, ...] | None:
    """The images that a Dockerfile starts from or copies out of, as they are named there.

    Args:
        text: the Dockerfile.
        arguments: the build's own; they go before the defaults of ``ARG``.

    Returns:
        Each once, in order, without stages and ``scratch``; None where one cannot be told.
    """
    if "BUILDKIT_SYNTAX" in arguments:
        # Another program reads the text.
        return None
    try:
        return tuple(dict.fromkeys(_images(_instructions(text), arguments)))
    except _Doubt:
        return None


def may_read(text: str, path: str) -> bool:
    """Whether a build could read a file of its context.

    Triggers of base images (their ``ONBUILD``) are not in the text, and not looked at.

    Args:
        text: the Dockerfile.
        path: where the file lies in the context: ``keys/vpn.ovpn``.

    Returns:
        False only where the text surely leaves the file alone.
    """
    try:
        instructions = _instructions(text)
        stages = _stages(instructions)
        return path.startswith("/") or any(
            _takes(instruction, _segments(path), stages) for instruction in instructions
        )
    except _Doubt:
        return True


def front_end(text: str) -> str | None:
    """The image that reads the Dockerfile instead of the builder, if the text asks for one."""
    body = _without_shebang(text)
    for sign in ("#", "//"):
        if syntax := _directives(body, sign).get("syntax"):
            return syntax.split(" ")[0]
    try:
        found = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.MsgspecError:
        return None
    asked = found.get("syntax")
    return asked if isinstance(asked, str) else None


def foreign_front_end(text: str) -> str | None:
    """The front end that a Dockerfile asks for, unless it is the builder's own project's."""
    asked = front_end(text)
    return None if asked is None or _FRONT_END.fullmatch(asked) else asked


def _without_shebang(text: str) -> str:
    body = text.removeprefix("\ufeff")
    return body.partition("\n")[2] if body.startswith("#!") else body


def _directives(body: str, sign: str) -> dict[str, str]:
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


def _instructions(text: str) -> Sequence[_Instruction]:
    asked = front_end(text)
    if asked is not None and not _FRONT_END.fullmatch(asked):
        raise _Doubt
    body = text.removeprefix("\ufeff").replace("\r\n", "\n")
    escape = _escape(body)
    lines = iter(body.split("\n"))
    found = []
    for line in lines:
        if whole := _joined(line, lines, escape):
            instruction = _instruction(whole)
            _skip_heredocs(instruction, whole, lines)
            found.append(instruction)
    if not any(instruction.name == "from" for instruction in found):
        raise _Doubt
    return found


def _escape(body: str) -> str:
    found = _directives(body, "#")
    escape = found.get("escape", "\\")
    # Releases differ in what may stand before the directive.
    hidden = _BACKTICK.search(body) and (escape != "`" or "check" in found)
    if hidden or escape not in {"\\", "`"}:
        raise _Doubt
    return escape


def _joined(line: str, more: Iterator[str], escape: str) -> str:
    """An instruction's line with those that continue it; empty for a comment."""
    if line.lstrip(" \t").startswith("#"):
        return ""
    whole, rest = "", line.lstrip(" \t")
    while (bare := rest.rstrip(" \t")).endswith(escape):
        if bare.endswith(escape * 2):
            raise _Doubt
        whole += bare[:-1]
        rest = next((one for one in more if not _idle(one)), "")
    whole = (whole + rest).strip(" \t")
    if _ODD.search(whole):
        raise _Doubt
    return whole


def _idle(line: str) -> bool:
    return not line.strip(" \t") or line.lstrip(" \t").startswith("#")


def _instruction(line: str) -> _Instruction:
    name, _, rest = line.replace("\t", " ").partition(" ")
    name, rest = name.lower(), line[len(name) :].lstrip(" \t")
    if name == "onbuild":
        inner = _instruction(rest)
        if inner.on_build or inner.name in {"from", "maintainer"}:
            raise _Doubt
        return msgspec.structs.replace(inner, on_build=True)
    if name in _PLAIN:
        return _Instruction(name, (), rest)
    if name not in _FLAGS:
        raise _Doubt
    flags = []
    while rest.startswith("--"):
        match = _FLAG.match(rest)
        if match is None or match[1] not in _FLAGS[name]:
            raise _Doubt
        if match[2] is None and match[1] not in _BARE_FLAGS:
            raise _Doubt
        flags.append((match[1], match[2] or ""))
        rest = rest[match.end() :]
    return _Instruction(name, tuple(flags), rest)


def _skip_heredocs(instruction: _Instruction, line: str, lines: Iterator[str]) -> None:
    """Reads over the texts that follow an instruction."""
    if "<<" not in line or instruction.name not in {"run", "copy", "add"}:
        return
    if instruction.listed() is not None:
        return
    if _WORD.sub("", line).strip(" \t") or "${" in re.sub(r"\$\{\w+\}", "", line):
        raise _Doubt
    for word in _WORD.findall(line):
        if opening := _HEREDOC.fullmatch(word):
            _skip_heredoc(opening[2], lines, tabs="\t" if opening[1] else "")


def _skip_heredoc(quoted: str, lines: Iterator[str], *, tabs: str) -> None:
    name = _HEREDOC_NAME.fullmatch(quoted)
    if name is None:
        raise _Doubt
    for line in lines:
        if line.rstrip("\r").lstrip(tabs or "\0") == name[2]:
            return
    raise _Doubt


def _stages(instructions: Sequence[_Instruction]) -> frozenset[str]:
    return frozenset(name for i in instructions if i.name == "from" if (name := _start(i)[1]))


def _start(instruction: _Instruction) -> tuple[str, str]:
    """What a stage starts from, and its name, which may be empty."""
    match instruction.rest.split():
        case [image]:
            return image, ""
        case [image, word, name] if word.lower() == "as" and _STAGE.fullmatch(name.lower()):
            return image, name.lower()
    raise _Doubt


def _images(instructions: Sequence[_Instruction], arguments: Mapping[str, str]) -> Iterator[str]:
    stages = _stages(instructions)
    known: dict[str, str | None] = {}
    earlier = {"scratch"}
    started = False
    for instruction in instructions:
        if instruction.name == "from":
            started = True
            reference, name = _start(instruction)
            image = _substituted(reference, known)
            if not image or image.split() != [image]:
                raise _Doubt
            if image.lower() not in earlier:
                yield image
            earlier.add(name)
        elif instruction.name == "arg" and not started:
            known |= _declared(instruction.rest, arguments, known)
        for origin in _origins(instruction):
            if origin != "scratch" and not _is_stage(origin, stages):
                yield origin


def _origins(instruction: _Instruction) -> Iterator[str]:
    """Images and stages that something is copied out of."""
    mounts = [_mount(value).get("from", "") for value in instruction.values("mount")]
    for origin in (*instruction.values("from"), *mounts):
        if "$" in origin:
            raise _Doubt
        if origin:
            yield origin


def _is_stage(name: str, stages: frozenset[str]) -> bool:
    return name.lower() in stages or _NUMBER.fullmatch(name) is not None


def _declared(
    rest: str, arguments: Mapping[str, str], known: dict[str, str | None]
) -> dict[str, str | None]:
    """Arguments for all stages, with their values; None for one that cannot be told."""
    if _VALUE.sub("", rest).strip(" \t"):
        raise _Doubt
    found: dict[str, str | None] = {}
    for word in _VALUE.findall(rest):
        name, _, value = word.partition("=")
        found[name] = arguments[name] if name in arguments else _default(value, known | found)
    return found


def _default(value: str, known: Mapping[str, str | None]) -> str | None:
    if "'" in value and ("$" in value or '"' in value):
        return None
    try:
        return _substituted(value.replace("'", "").replace('"', ""), known)
    except _Doubt:
        return None


def _substituted(text: str, known: Mapping[str, str | None]) -> str:
    """A text with the values of arguments in it."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        current = known.get(name)
        if current is None or _PLATFORM_ARGUMENT.fullmatch(name):
            raise _Doubt
        if match[3] is None:
            return current
        return (current or match[4]) if match[3] == "-" else (match[4] if current else "")

    if re.search(r"[\"'`\\]", text) or not text.isascii() or "$" in _VARIABLE.sub("", text):
        raise _Doubt
    return _VARIABLE.sub(value, text)


def _mount(value: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for field in value.split(","):
        key, _, setting = field.partition("=")
        if key.lower() in found:
            raise _Doubt
        found[key.lower()] = setting
    return found


def _takes(instruction: _Instruction, path: Sequence[str], stages: frozenset[str]) -> bool:
    """Whether an instruction could read a file of the context."""
    if instruction.on_build:
        return True
    if instruction.name == "run":
        return any(_binds(_mount(value), stages) for value in instruction.values("mount"))
    if instruction.name not in {"copy", "add"} or instruction.values("from"):
        return False
    listed = instruction.listed()
    words = instruction.rest.split() if listed is None else listed
    if len(words) < 2 or (listed is None and instruction.rest.startswith("[")):
        return True
    sources = [word for word in words[:-1] if listed is not None or not _HEREDOC.fullmatch(word)]
    return any(_could_match(source, path) for source in sources)


def _binds(mount: Mapping[str, str], stages: frozenset[str]) -> bool:
    if origin := mount.get("from"):
        return not _is_stage(origin, stages)
    return mount.get("type", "bind").lower() not in {"cache", "tmpfs", "secret", "ssh"}


def _could_match(source: str, path: Sequence[str]) -> bool:
    """Whether a source names a file, or a folder that it lies in."""
    globs = _segments(source)
    if _DOUBTFUL_SOURCE.search(source):
        return True
    return len(globs) <= len(path) and all(map(_glob_matches, globs, path))


def _segments(path: str) -> Sequence[str]:
    found: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del found[-1:]
        elif segment not in {"", "."}:
            found.append(segment)
    return found


def _glob_matches(glob: str, name: str) -> bool:
    ends = {0}
    for sign in glob:
        if sign == "*":
            ends = set(range(min(ends), len(name) + 1))
        else:
            ends = {end + 1 for end in ends if sign == "?" or name[end : end + 1] == sign}
        if not ends:
            return False
    return len(name) in ends

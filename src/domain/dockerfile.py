"""Reads Dockerfiles just far enough to tell what a build takes in, and says so when it cannot.

Whatever is not surely understood counts as doubt: an image is then not shared, which costs a build,
instead of being taken for another that only looks the same.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from domain.dockerfile_instructions import Doubt, Instruction
from domain.dockerfile_text import directives, is_heredoc, read
from domain.dockerfile_words import declared, expanded, looked_up_in

_FRONT_END = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:@sha256:[0-9a-f]{64})?"
)
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_REFERENCE = re.compile(r"[A-Za-z0-9._/:@\[\]-]+")
_DOUBTFUL_SOURCE = re.compile(r"[$\"'`\\\[\]^]|\*\*")


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
    except Doubt:
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
        stages = stage_names(instructions)
        return path.startswith("/") or any(
            _takes(instruction, _segments(path), stages) for instruction in instructions
        )
    except Doubt:
        return True


def front_end(text: str) -> str | None:
    """The image that reads the Dockerfile instead of the builder, if the text asks for one."""
    body = _without_shebang(text)
    for sign in ("#", "//"):
        if syntax := directives(body, sign).get("syntax"):
            return syntax.split(" ")[0]
    try:
        found = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return None
    asked = found.get("syntax")
    return asked if isinstance(asked, str) else None


def foreign_front_end(text: str) -> str | None:
    """The front end that a Dockerfile asks for, unless it is the builder's own project's."""
    asked = front_end(text)
    return None if asked is None or is_official(asked) else asked


def is_official(front_end: str) -> bool:
    """Whether a front end is the builder's own project's."""
    return _FRONT_END.fullmatch(front_end) is not None


def stage_names(instructions: Sequence[Instruction]) -> frozenset[str]:
    """The names of all stages, in lower case.

    Raises:
        Doubt: one cannot be told.
    """
    return frozenset(name for i in instructions if i.name == "from" if (name := start(i)[1]))


def start(instruction: Instruction) -> tuple[str, str]:
    """What a stage starts from as it is written, and the stage's name, which may be empty.

    Raises:
        Doubt: it cannot be told.
    """
    match instruction.rest.split():
        case [image]:
            return image, ""
        case [image, word, name] if word.lower() == "as" and _STAGE.fullmatch(name.lower()):
            return image, name.lower()
    raise Doubt("FROM is written FROM image, or FROM image AS name.", instruction.line)


def is_stage(name: str, stages: frozenset[str]) -> bool:
    """Whether what something is copied out of is a stage, by name or by number."""
    return name.lower() in stages or _NUMBER.fullmatch(name) is not None


def mount(value: str) -> Mapping[str, str]:
    """The settings of a mount of ``RUN``, their names in lower case.

    Raises:
        Doubt: they cannot be told.
    """
    found: dict[str, str] = {}
    for field in value.split(","):
        key, _, setting = field.partition("=")
        if key.lower() in found or '"' in field:
            raise Doubt("The settings of a mount cannot be told for sure.")
        found[key.lower()] = setting
    return found


def _without_shebang(text: str) -> str:
    body = text.removeprefix("\ufeff")
    return body.partition("\n")[2] if body.startswith("#!") else body


def _instructions(text: str) -> Sequence[Instruction]:
    if foreign_front_end(text) is not None:
        raise Doubt("Another program reads the text.")
    found = read(text)
    if found.doubts:
        raise found.doubts[0]
    return found.instructions


def _images(instructions: Sequence[Instruction], arguments: Mapping[str, str]) -> Iterator[str]:
    stages = stage_names(instructions)
    known: dict[str, str | None] = {}
    earlier = {"scratch"}
    started = False
    for instruction in instructions:
        if instruction.name == "from":
            started = True
            reference, name = start(instruction)
            image = expanded(reference, looked_up_in(known), instruction.escape)
            if not _REFERENCE.fullmatch(image):
                raise Doubt("It cannot be told which image this is.", instruction.line)
            if image.lower() not in earlier:
                yield image
            earlier.add(name)
        elif instruction.name == "arg" and not started:
            known |= declared(instruction.rest, arguments, known, instruction.escape)
        for origin in origins(instruction):
            if origin != "scratch" and not is_stage(origin, stages):
                yield origin


def origins(instruction: Instruction) -> Iterator[str]:
    """Images and stages that something is copied out of.

    Raises:
        Doubt: one cannot be told.
    """
    mounts = [mount(value).get("from", "") for value in instruction.values("mount")]
    for origin in (*instruction.values("from"), *mounts):
        if origin and not _REFERENCE.fullmatch(origin):
            raise Doubt("It cannot be told which image this is.", instruction.line)
        if origin:
            yield origin


def _takes(instruction: Instruction, path: Sequence[str], stages: frozenset[str]) -> bool:
    """Whether an instruction could read a file of the context."""
    if instruction.on_build:
        return True
    if instruction.name == "run":
        return any(_binds(mount(value), stages) for value in instruction.values("mount"))
    if instruction.name not in {"copy", "add"} or instruction.values("from"):
        return False
    listed = instruction.listed()
    words = instruction.rest.split() if listed is None else listed
    if len(words) < 2 or (listed is None and instruction.rest.startswith("[")):
        return True
    sources = [word for word in words[:-1] if listed is not None or not is_heredoc(word)]
    return any(_could_match(source, path) for source in sources)


def _binds(settings: Mapping[str, str], stages: frozenset[str]) -> bool:
    if origin := settings.get("from"):
        return not is_stage(origin, stages)
    return settings.get("type", "bind").lower() not in {"cache", "tmpfs", "secret", "ssh"}


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

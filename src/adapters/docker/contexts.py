"""Reads build contexts from disk: by handle, past links, and no less than a build would get."""

import errno
import os
import posixpath
import re
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from domain.errors import StorageFailed
from domain.ports.contexts import BuildContext
from domain.shortage import shortage, shortages_told

MAX_DOCKERFILE_BYTES = 1 << 20
MAX_IGNORE_BYTES = 1 << 16
MAX_DEPTH = 64
"""Folders in each other; every one holds two handles while it is read."""

_THREADS = 4
_PIECE_BYTES = 1 << 18
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
# Not the disk's fault: closed to us, gone or swapped meanwhile, or leased by somebody.
_UNTOLD = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EAGAIN,
    errno.ENAMETOOLONG, errno.ENODATA, errno.ENXIO, errno.ESTALE,
}  # fmt: skip
_STEM = "Dockerfile"
_IGNORE = ".dockerignore"
# Signs whose meaning in an ignore file differs between releases, or is not worth knowing.
_ODD = re.compile(r"[^\S \t\n]|[\x00-\x08\x7f\ufeff\ufffd]|/[ \t]")
_UNCERTAIN = re.compile(r"[\[\]\\^]")
_CLASS = re.compile(r"\[(?:[0-9A-Za-z]-[0-9A-Za-z]|[0-9A-Za-z._])+\]")
_SIGN = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]]*\]|[^*?[]")

T = TypeVar("T")

Checkpoint = Callable[[], None]
Parts = tuple[str, ...]
Depths = tuple[int, ...]
"""For each pattern, how deep on the way to a path it last matched; 0 where it never did."""


class _GivenUp(Exception):
    """Whoever asked no longer wants to know."""


class _Untold(Exception):
    """What goes into the build cannot be told."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    within: str
    context: Parts
    dockerfile: Parts | None
    stands_in: bool
    inline: str | None
    apart: dict[str, set[str]]


class DiskContexts:
    """Build contexts in folders that strangers filled.

    Besides what the port names, the digest covers the Dockerfile's own bytes, extended attributes,
    devices' numbers and which files are hard links of each other, since builds copy those too. A
    context with files that cannot be read, or that changes under the reader, cannot be told.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_THREADS)

    async def read(
        self,
        directory: str,
        *,
        dockerfile: str | None,
        inline: str | None = None,
        apart: Collection[str] = (),
        within: str,
    ) -> BuildContext | None:
        """What a build of the folder ``directory`` reads; the thread stops soon if cancelled."""

        def work(checkpoint: Checkpoint) -> BuildContext:
            return _read(_asked(directory, dockerfile, inline, apart, within), checkpoint)

        return await self._told(directory, work)

    async def dockerfile(
        self, directory: str, *, dockerfile: str | None, within: str
    ) -> str | None:
        """The text of the Dockerfile that ``read`` would find."""

        def work(checkpoint: Checkpoint) -> str:
            checkpoint()
            return _text(_asked(directory, dockerfile, None, (), within))

        return await self._told(directory, work)

    async def _told(self, directory: str, work: Callable[[Checkpoint], T]) -> T | None:
        """What ``work`` gives in a thread; None where it cannot be told."""
        unwanted = threading.Event()

        def checkpoint() -> None:
            if unwanted.is_set():
                raise _GivenUp

        def guarded() -> T | None:
            try:
                return work(checkpoint)
            except (_Untold, UnicodeEncodeError):
                return None
            except OSError as fault:
                if fault.errno in _UNTOLD:
                    return None
                if (refusal := shortage(fault)) is not None:
                    raise refusal from fault
                raise StorageFailed(
                    f"The disk refuses: reading the build context in {directory} failed "
                    f"({fault.strerror})."
                ) from fault

        try:
            # It only reads, so it may be left to find out by itself.
            with shortages_told():
                return await anyio.to_thread.run_sync(
                    guarded, abandon_on_cancel=True, limiter=self._limiter
                )
        finally:
            unwanted.set()


def _asked(
    directory: str, dockerfile: str | None, inline: str | None, apart: Collection[str], within: str
) -> _Asked:
    inside: dict[str, set[str]] = {}
    for path in apart:
        relative = _below(directory, path)
        if relative:
            inside.setdefault("/".join(relative), set()).add(path)
    context = _below(within, directory)
    own = _below(within, posixpath.join(directory, _STEM if dockerfile is None else dockerfile))
    if context is None or (inline is None and not own):
        raise _Untold
    return _Asked(
        within=within,
        context=context,
        dockerfile=own if inline is None else None,
        stands_in=dockerfile in {None, _STEM},
        inline=inline,
        apart=inside,
    )


def _below(folder: str, path: str) -> Parts | None:
    """The way from a folder down to a path; None where it does not lead down."""
    top, whole = (posixpath.normpath(p).strip("/") for p in (folder, path))
    if "\0" in path or not path.startswith("/"):
        return None
    if whole == top:
        return ()
    if top and not whole.startswith(f"{top}/"):
        return None
    return tuple(whole.removeprefix(top).strip("/").split("/"))


def _text(asked: _Asked) -> str:
    top = os.open(asked.within, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _folder(top, asked.context) as context:
            return _definition(asked, top, context)[0].decode("utf-8", "replace")
    finally:
        os.close(top)


def _read(asked: _Asked, checkpoint: Checkpoint) -> BuildContext:
    checkpoint()
    top = os.open(asked.within, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _folder(top, asked.context) as context:
            text, ignore = _definition(asked, top, context)
            counted = _Counted(asked.apart, checkpoint)
            counted.add("", text, ignore)
            counted.walk(context, _Patterns(ignore))
    finally:
        os.close(top)
    return BuildContext(
        dockerfile=text.decode("utf-8", "replace") if asked.inline is None else asked.inline,
        digest=counted.digest(),
        holds=frozenset(counted.holds),
    )


def _definition(asked: _Asked, top: int, context: int) -> tuple[bytes, bytes]:
    """The Dockerfile, and the ignore file that counts; in doubt none, so that all counts."""
    if asked.dockerfile is None:
        return b"", _ignore(context, _IGNORE)
    *above, name = asked.dockerfile
    with _folder(top, above) as folder:
        other = name.lower() if asked.stands_in and not _exists(folder, name) else name
        text = _bytes(folder, other, MAX_DOCKERFILE_BYTES)
        if text is None:
            raise _Untold
        if _exists(folder, f"{other}{_IGNORE}") or _exists(folder, f"{name}{_IGNORE}"):
            return text, _ignore(folder, f"{name}{_IGNORE}") if other == name else b""
    return text, _ignore(context, _IGNORE)


def _ignore(folder: int, name: str) -> bytes:
    return _bytes(folder, name, MAX_IGNORE_BYTES) or b"" if _exists(folder, name) else b""


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _bytes(folder: int, name: str, limit: int) -> bytes | None:
    """A file's content; None for what is none, or is larger."""
    with _handle(folder, name) as (handle, status):
        if not stat.S_ISREG(status.st_mode):
            return None
        content = b"".join(_pieces(handle, limit + 1))
    return content if len(content) <= limit else None


@contextmanager
def _folder(top: int, parts: Sequence[str]) -> Iterator[int]:
    """A folder's handle; no part of the way may be a link."""
    folder = os.dup(top)
    try:
        for part in parts:
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _handle(folder: int, name: str) -> Iterator[tuple[int, os.stat_result]]:
    """A handle that opens nothing yet, whatever lies there, and what it is."""
    handle = os.open(name, _HANDLE, dir_fd=folder)
    try:
        yield handle, os.fstat(handle)
    finally:
        os.close(handle)


def _pieces(handle: int, limit: int | None = None) -> Iterator[bytes]:
    file = os.open(f"/proc/self/fd/{handle}", _READ)
    try:
        left = _PIECE_BYTES if limit is None else limit
        while left and (piece := os.read(file, min(left, _PIECE_BYTES))):
            left -= 0 if limit is None else len(piece)
            yield piece
    finally:
        os.close(file)


class _Counted:
    """The digest of what a build gets, as it grows."""

    def __init__(self, apart: dict[str, set[str]], checkpoint: Checkpoint) -> None:
        self.holds: set[str] = set()
        self._apart = apart
        self._checkpoint = checkpoint
        self._digest = sha256()
        self._entries = 0
        self._first: dict[tuple[int, int], str] = {}
        self._links = False
        self._left_out: list[bytes] = []

    def digest(self) -> str:
        """Names all that was added."""
        if self._links:
            # A build can copy through a link, and so get what was to be left out.
            self.add("", *self._left_out)
        return self._digest.hexdigest()

    def add(self, path: str, *facts: bytes) -> None:
        """Takes facts about a path in, each with its length."""
        self._entries += 1
        self._digest.update(len(facts).to_bytes(8, "big"))
        for fact in (os.fsencode(path), *facts):
            self._digest.update(len(fact).to_bytes(8, "big"))
            self._digest.update(fact)

    def walk(self, folder: int, patterns: "_Patterns", way: Parts = (), above: Depths = ()) -> None:
        """Adds what lies in a folder as far as the patterns let it through, folders after it."""
        if len(way) > MAX_DEPTH:
            raise _Untold
        for name in sorted(os.listdir(folder)):
            self._checkpoint()
            path = "/".join((*way, name))
            depths = patterns.depths(path, above)
            ignored = patterns.ignores(depths)
            if ignored and not patterns.exceptions:
                continue
            with _handle(folder, name) as (handle, status):
                before = self._entries
                if stat.S_ISDIR(status.st_mode):
                    self._enter(handle, patterns, (*way, name), depths)
                # A folder that is ignored comes along with what is not, in it.
                if not ignored or self._entries > before:
                    self._entry(path, handle, status)

    def _enter(self, handle: int, patterns: "_Patterns", way: Parts, depths: Depths) -> None:
        try:
            folder = os.open(".", _FOLDER, dir_fd=handle)
        except PermissionError:
            if patterns.ignores(depths):
                return
            raise
        try:
            self.walk(folder, patterns, way, depths)
        finally:
            os.close(folder)

    def _entry(self, path: str, handle: int, status: os.stat_result) -> None:
        self.holds |= self._apart.get(path, set())
        kind = stat.S_IFMT(status.st_mode)
        facts = [f"{kind:o} {stat.S_IMODE(status.st_mode):o}".encode()]
        if kind == stat.S_IFREG:
            facts += [self._twin(path, status), self._content(path, handle), *_attributes(handle)]
        elif kind == stat.S_IFDIR:
            facts += _attributes(handle)
        elif kind == stat.S_IFLNK:
            self._links = True
            facts.append(os.fsencode(os.readlink("", dir_fd=handle)))
        else:
            facts.append(str(status.st_rdev).encode())
        self.add(path, *facts)

    def _twin(self, path: str, status: os.stat_result) -> bytes:
        if status.st_nlink == 1:
            return b""
        first = self._first.setdefault((status.st_dev, status.st_ino), path)
        return b"" if first == path else os.fsencode(first)

    def _content(self, path: str, handle: int) -> bytes:
        content = sha256()
        for piece in _pieces(handle):
            self._checkpoint()
            content.update(piece)
        if path not in self._apart:
            return content.digest()
        self._left_out.append(content.digest())
        return b""


def _attributes(handle: int) -> list[bytes]:
    path = f"/proc/self/fd/{handle}"
    try:
        names = sorted(os.listxattr(path))
    except OSError as fault:
        if fault.errno == errno.ENOTSUP:
            return []
        raise
    return [part for name in names for part in (os.fsencode(name), os.getxattr(path, name))]


class _Patterns:
    """An ignore file, read so that it never leaves out what any BuildKit would send.

    Releases differ in what the order of patterns means for what lies in folders that are ignored
    and taken back, so a path counts as ignored only where all of them agree. A pattern whose
    meaning is not certain ignores nothing, or takes back everything.
    """

    def __init__(self, text: bytes) -> None:
        lines = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        lines = lines.replace("\r\n", "\n")
        found = [] if _ODD.search(lines) else [_cleaned(line) for line in lines.split("\n")]
        self._globs = [_Glob(p.removeprefix("!"), loose=p[0] == "!") for p in found if p]
        self.exceptions = any(glob.loose for glob in self._globs)

    def depths(self, path: str, above: Depths) -> Depths:
        """How deep each pattern last matched on the way to a path, given that of its folder."""
        deep = path.count("/") + 1
        before = above or (0,) * len(self._globs)
        pairs = zip(self._globs, before, strict=True)
        return tuple(deep if glob.matches(path) else depth for glob, depth in pairs)

    def ignores(self, depths: Depths) -> bool:
        """Whether a pattern matches that stands after, and not above, all that take back."""
        ignored, taken_back = False, 0
        for glob, depth in zip(self._globs, depths, strict=True):
            if glob.loose:
                ignored, taken_back = ignored and not depth, max(taken_back, depth)
            else:
                ignored = ignored or 0 < depth >= taken_back
        return ignored


def _cleaned(line: str) -> str:
    """A pattern as BuildKit shortens it; empty for a line without one."""
    text = "" if line.startswith("#") else line.strip()
    sign, rest = ("!", text[1:].strip()) if text.startswith("!") else ("", text)
    pattern = posixpath.normpath(rest).lstrip("/") if rest else ""
    return sign + pattern if pattern not in {"", "."} else ""


class _Glob:
    """One pattern as an automaton, whose states are bits: a hostile one takes no more time."""

    def __init__(self, pattern: str, *, loose: bool) -> None:
        self.loose = loose
        """It takes back what others ignore; then ``**`` may stand for more than it does."""
        self._uncertain = bool(_UNCERTAIN.search(_CLASS.sub("", pattern)))
        self._exact = pattern if not re.search(r"[*?[]", pattern) else None
        self._steps: dict[str, int] = {}
        self._any = self._stars = self._deep = self._skips = self._leaps = 0
        self._end = 1
        signs = [] if self._uncertain else _SIGN.findall(pattern)
        for number, sign in enumerate(signs, start=1):
            self._add(sign, last=number == len(signs))

    def matches(self, path: str) -> bool:
        """Whether the pattern matches the whole path."""
        if self._uncertain or self._exact is not None:
            return self.loose if self._uncertain else path == self._exact
        states = self._closed(1)
        for char in path:
            moves = self._steps.get(char, 0) | (0 if char == "/" else self._any)
            stays = 0 if char == "/" else self._stars
            stays |= self._deep if self.loose or char != "\n" else 0
            states = self._closed((states & moves) << 1 | states & stays)
            if not states:
                return False
        return bool(states & self._end)

    def _closed(self, states: int) -> int:
        while True:
            more = (
                states | (states & (self._skips | self._leaps)) << 1 | (states & self._leaps) << 2
            )
            if more == states:
                return states
            states = more

    def _add(self, sign: str, *, last: bool) -> None:
        here = self._end
        if sign.startswith("**") and not (last or self.loose):
            # Nothing, or anything up to a slash.
            self._leaps |= here
            here <<= 1
            self._deep |= here
            self._step("/", here)
        elif sign.startswith("*"):
            self._skips |= here
            self._stars |= here if sign == "*" else 0
            self._deep |= here if sign != "*" else 0
        elif sign == "?":
            self._any |= here
        else:
            for char in _meant(sign):
                self._step(char, here)
        self._end = here << 1

    def _step(self, char: str, here: int) -> None:
        self._steps[char] = self._steps.get(char, 0) | here


def _meant(sign: str) -> Iterator[str]:
    """The characters that a sign without wildcards stands for."""
    for part in re.findall(r".-.|.", sign[1:-1]) if len(sign) > 1 else (sign,):
        yield from map(chr, range(ord(part[0]), ord(part[-1]) + 1))

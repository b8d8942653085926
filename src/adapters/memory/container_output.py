"""Output of single in-memory containers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from adapters.memory.engine import MemoryEngine
from adapters.memory.references import found
from domain.batches import Batches
from domain.container_streams import OutputChoice, OutputLine
from domain.errors import ResourceConflict

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryContainerOutput:
    """Twin of ``DockerContainerOutput``; what is printed is what tests and demonstrations say."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._lines: list[tuple[str, OutputLine]] = []
        self._ended = False
        self.unreadable: set[str] = set()
        """Names of containers whose output is not kept."""

    def print(self, container: str, data: bytes, *, stream: str = "stdout") -> None:
        """Lets a container print a line, a second after the one before."""
        at = _FIRST + timedelta(seconds=len(self._lines))
        line = OutputLine(at=f"{at:%Y-%m-%dT%H:%M:%S}.000000000Z", stream=stream, data=data)
        self._lines.append((self._engine.containers[container].id, line))
        self._engine.tell()

    def end(self) -> None:
        """Ends what is followed."""
        self._ended = True
        self._engine.tell()

    @asynccontextmanager
    async def lines(
        self, container_id: str, choice: OutputChoice
    ) -> AsyncIterator[Batches[OutputLine]]:
        """What was printed, line by line, and what is printed until the container ends."""
        await self._require(container_id)
        yield Batches(_Following(self, container_id, choice).next)

    @asynccontextmanager
    async def raw(
        self, container_id: str, choice: OutputChoice, *, timestamps: bool
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes that were printed, as they were printed."""
        await self._require(container_id)
        lines = Batches(_Following(self, container_id, choice).next)
        yield _plain(lines, timestamps=timestamps)

    async def _require(self, container_id: str) -> None:
        await self._engine.answer("read output")
        known = {name: c.id for name, c in self._engine.containers.items()}
        if found("container", container_id, known) in self.unreadable:
            raise ResourceConflict("The in-memory Engine keeps no output of it.")

    @property
    def printed(self) -> int:
        """How many lines were printed by all."""
        return len(self._lines)

    def since(self, number: int, container_id: str, choice: OutputChoice) -> list[OutputLine]:
        """The chosen lines of a container after so many lines of all."""
        fresh = self._lines[number:]
        return [line for owner, line in fresh if owner == container_id and _taken(line, choice)]

    def goes_on(self, container_id: str) -> bool:
        """Whether a container may print more."""
        standing = self._engine.containers.values()
        return not self._ended and any(c.id == container_id and c.running for c in standing)

    async def news(self) -> None:
        """Returns when something has happened."""
        await self._engine.news.wait()


def _taken(line: OutputLine, choice: OutputChoice) -> bool:
    at = datetime.fromisoformat(line.at)
    return (
        (choice.stdout if line.stream == "stdout" else choice.stderr)
        and (choice.since is None or at >= choice.since)
        and (choice.until is None or at <= choice.until)
    )


class _Following:
    """Lines as they come; waiting for the next ones may be cancelled."""

    def __init__(
        self, output: MemoryContainerOutput, container_id: str, choice: OutputChoice
    ) -> None:
        self._output = output
        self._container_id = container_id
        self._choice = choice
        self._seen = output.printed
        lines = output.since(0, container_id, choice)
        self._ready = lines if choice.tail is None else lines[max(0, len(lines) - choice.tail) :]

    async def next(self) -> Sequence[OutputLine]:
        """The next lines; none at the end."""
        while not self._ready and self._choice.follow:
            self._ready = self._output.since(self._seen, self._container_id, self._choice)
            self._seen = self._output.printed
            if self._ready or not self._output.goes_on(self._container_id):
                break
            await self._output.news()
        ready, self._ready = self._ready, []
        return ready


async def _plain(lines: AsyncIterator[OutputLine], *, timestamps: bool) -> AsyncIterator[bytes]:
    async for line in lines:
        stamp = f"{line.at} ".encode() if timestamps else b""
        yield stamp + line.data + b"\n"

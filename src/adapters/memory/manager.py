"""A manager that answers as a test says."""

from collections import deque

import anyio
import anyio.lowlevel

from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult


class MemoryManager:
    """Twin of ``HttpxManager``: gives ``answers`` in turn, then acknowledges."""

    def __init__(self) -> None:
        self.reports: list[HeartbeatReport] = []
        self.answers: deque[HeartbeatAnswer] = deque()
        self.sending = 0
        """How many heartbeats are on their way."""
        self.most_sending = 0
        self.release: anyio.Event | None = None
        """While set to an event, answers wait for it."""

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Takes one heartbeat."""
        self.reports.append(report)
        self.sending += 1
        self.most_sending = max(self.most_sending, self.sending)
        try:
            await anyio.lowlevel.checkpoint()
            if self.release is not None:
                await self.release.wait()
        finally:
            self.sending -= 1
        if self.answers:
            return self.answers.popleft()
        return HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)

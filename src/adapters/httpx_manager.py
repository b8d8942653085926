"""The manager through httpx."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import anyio
import httpx
import msgspec

from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult

MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer is read."""

_MAX_QUOTED = 200

_REFUSALS = {
    401: "The manager does not accept SERVER_KEY (401). It is wrong or was revoked: register the "
    "host again and set SERVER_KEY to the key it gives.",
    403: "The manager does not let this host in (403). Register the host again and set SERVER_KEY "
    "to the key it gives.",
    404: "The manager does not know this host (404). HOST_ID is not registered there, or "
    "MANAGER_URL has a wrong path: check both.",
    422: "The manager cannot read the heartbeat (422). HOST_ID must be the UUID from the host's "
    "registration.",
}


class HttpxManager:
    """Sends heartbeats; use it in an ``async with``.

    Redirects are never followed, so the key goes nowhere but to ``base_url``.

    Args:
        base_url: the manager's address, without a slash at its end.
        host_id: this host's identifier.
        server_key: this host's key.
        timeout_seconds: limit of one heartbeat, from look-up to the end of the answer.
        version: the agent's version, for the manager's log.
        now: the time of day, to tell how far off a ``Retry-After`` date is.
    """

    def __init__(
        self,
        base_url: str,
        *,
        host_id: str,
        server_key: str,
        timeout_seconds: float,
        version: str,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._url = f"{base_url}/hosts/{quote(host_id, safe='')}/heartbeat"
        self._headers = {"X-Server-Key": server_key}
        self._timeout_seconds = timeout_seconds
        self._now = now or (lambda: datetime.now(UTC))
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"container-host-agent/{version}"},
            follow_redirects=False,
            # One more try on a fresh connection where connecting itself failed.
            timeout=timeout_seconds,
            # Below the idle time after which servers commonly close, so that a heartbeat does not
            # meet a connection that is just going.
            limits=httpx.Limits(max_connections=2, keepalive_expiry=4.0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Sends one heartbeat and says how the manager took it."""
        try:
            with anyio.fail_after(self._timeout_seconds):
                return await self._send(report)
        except TimeoutError:
            return _unreachable(f"no answer within {self._timeout_seconds:g} s")
        except httpx.TimeoutException:
            return _unreachable(f"no answer within {self._timeout_seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as fault:
            return _unreachable(str(fault) or type(fault).__name__)

    async def _send(self, report: HeartbeatReport) -> HeartbeatAnswer:
        request = self._client.stream(
            "POST", self._url, json=msgspec.to_builtins(report), headers=self._headers
        )
        async with request as response:
            return self._answer(response, await _beginning(response))

    def _answer(self, response: httpx.Response, body: bytes) -> HeartbeatAnswer:
        status = response.status_code
        if status == 200:
            return _acknowledgement(body)
        result, detail = _refusal(response, body)
        return HeartbeatAnswer(
            result=result,
            status=status,
            detail=detail,
            retry_after_seconds=self._retry_after(response.headers.get("retry-after")),
        )

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds to wait, as a number or a date says; None for anything else."""
        if value is None:
            return None
        value = value.strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - self._now()).total_seconds()
        return seconds if seconds > 0 else None


async def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])


def _acknowledgement(body: bytes) -> HeartbeatAnswer:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and answer.get("ack") is True:
        return HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
    return HeartbeatAnswer(
        result=HeartbeatResult.UNREADABLE,
        status=200,
        detail="What answers at MANAGER_URL is not the manager, or one of another version: "
        f"it sent {_quoted(body)}.",
    )


def _refusal(response: httpx.Response, body: bytes) -> tuple[HeartbeatResult, str]:
    status = response.status_code
    if status in _REFUSALS:
        return HeartbeatResult.REFUSED, _REFUSALS[status]
    if 300 <= status < 400:
        return HeartbeatResult.REFUSED, _redirected(response)
    return HeartbeatResult.BUSY, f"The manager answered {status}: {_quoted(body)}."


def _redirected(response: httpx.Response) -> str:
    try:
        parts = urlsplit(response.headers.get("location", ""))
        target = f"{parts.scheme}://{parts.netloc}" if parts.netloc else "another path"
    except ValueError:
        target = "another address"
    return (
        f"MANAGER_URL redirects to {_quoted(target.encode())} ({response.status_code}), and the "
        "key is not sent there. Set MANAGER_URL to the manager's own address."
    )


def _unreachable(why: str) -> HeartbeatAnswer:
    return HeartbeatAnswer(
        result=HeartbeatResult.UNREACHABLE,
        detail=f"The manager cannot be reached: {_quoted(why.encode())}. "
        "Check MANAGER_URL and the network.",
    )


def _quoted(text: bytes) -> str:
    """Somebody else's words, short and without control characters."""
    shown = text[:_MAX_QUOTED].decode(errors="replace")
    shown = "".join(c if c.isprintable() else " " for c in shown).strip()
    return shown or "nothing"

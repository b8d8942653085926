"""How heartbeats are sent and answers are taken: against a real HTTP server on loopback."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest

from adapters.httpx_manager import HttpxManager
from adapters.memory.manager import MemoryManager
from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult
from domain.ports.manager import Manager
from tests.support.agents import HOST_ID, SERVER_KEY
from tests.support.manager_server import (
    Behaviour,
    ManagerServer,
    answer,
    drip,
    flood,
    hang,
    manager_server,
    raw,
    reset,
    then_close,
)

pytestmark = pytest.mark.anyio

REPORT = HeartbeatReport(cpu=3, mem=20, containers=2)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def client(server: ManagerServer, **more: object) -> HttpxManager:
    options = {"host_id": HOST_ID, "server_key": SERVER_KEY, "timeout_seconds": 5.0, **more}
    return HttpxManager(server.url, version="1", now=lambda: NOON, **options)  # type: ignore[arg-type]


@pytest.fixture
async def server() -> AsyncIterator[ManagerServer]:
    async with manager_server() as server:
        yield server


@pytest.mark.parametrize("kind", ["memory", "httpx"])
async def test_an_acknowledged_heartbeat_says_so(server: ManagerServer, kind: str) -> None:
    async with client(server) as real:
        manager: Manager = real if kind == "httpx" else MemoryManager()

        told = await manager.heartbeat(REPORT)

    assert told == HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)


async def test_the_request_is_what_the_contract_says(server: ManagerServer) -> None:
    async with client(server) as manager:
        await manager.heartbeat(REPORT)

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST /hosts/{HOST_ID}/heartbeat HTTP/1.1".encode())
    assert f"x-server-key: {SERVER_KEY}".encode() in head.lower()
    assert json.loads(body) == {"cpu": 3, "mem": 20, "containers": 2}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "SERVER_KEY"),
        (403, "SERVER_KEY"),
        (404, "HOST_ID"),
        (422, "UUID"),
        (301, "MANAGER_URL"),
        (307, "MANAGER_URL"),
    ],
)
async def test_a_refusal_says_what_to_do(server: ManagerServer, status: int, words: str) -> None:
    server.behaviour = answer(status, location="https://elsewhere.example.com/x?key=1")
    async with client(server) as manager:
        told = await manager.heartbeat(REPORT)

    assert (told.result, told.status) == (HeartbeatResult.REFUSED, status)
    assert words in told.detail
    assert SERVER_KEY not in told.detail


async def test_a_redirect_is_not_followed(server: ManagerServer) -> None:
    server.behaviour = answer(307, location=f"{server.url}/hosts/x/heartbeat")
    async with client(server) as manager:
        await manager.heartbeat(REPORT)

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 409, 429, 500, 502, 503])
async def test_any_other_status_is_a_manager_that_is_busy(
    server: ManagerServer, status: int
) -> None:
    server.behaviour = answer(status, b"\x1b[31mno\n")
    async with client(server) as manager:
        told = await manager.heartbeat(REPORT)

    assert (told.result, told.status) == (HeartbeatResult.BUSY, status)
    assert told.detail.isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOON - timedelta(seconds=90), usegmt=True), None),
        ("-5", None),
        ("soon", None),
        ("9" * 400, 999999999.0),
        ("", None),
    ],
)
async def test_retry_after_is_understood_in_both_forms(
    server: ManagerServer, value: str, seconds: float | None
) -> None:
    server.behaviour = answer(503, Retry_After=value)
    async with client(server) as manager:
        told = await manager.heartbeat(REPORT)

    assert told.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "body", [b"", b"ok", b"{}", b'{"ack": false}', b'{"ack": "true"}', b"[true]", b"[" * 100_000]
)
async def test_a_200_without_acknowledgement_is_no_manager(
    server: ManagerServer, body: bytes
) -> None:
    server.behaviour = answer(200, body)
    async with client(server) as manager:
        told = await manager.heartbeat(REPORT)

    assert told.result is HeartbeatResult.UNREADABLE
    assert len(told.detail) < 500


@pytest.mark.parametrize(
    "behaviour",
    [hang, drip, reset, raw(b"nonsense\r\n\r\n"), raw(b""), raw(b"HTTP/1.1 200 OK\r\n")],
    ids=["hangs", "drips", "resets", "sends garbage", "closes", "stops half-way"],
)
async def test_a_connection_that_fails_is_unreachable_in_time(
    server: ManagerServer, behaviour: Behaviour
) -> None:
    server.behaviour = behaviour
    async with client(server, timeout_seconds=0.5) as manager:
        with anyio.fail_after(2):
            told = await manager.heartbeat(REPORT)

    assert told.result is HeartbeatResult.UNREACHABLE
    assert "MANAGER_URL" in told.detail


async def test_an_answer_without_end_is_read_only_so_far(server: ManagerServer) -> None:
    server.behaviour = flood
    async with client(server, timeout_seconds=5) as manager:
        with anyio.fail_after(2):
            told = await manager.heartbeat(REPORT)

    assert told.result is HeartbeatResult.UNREADABLE


async def test_nobody_listening_is_unreachable() -> None:
    manager = HttpxManager(
        "http://127.0.0.1:9", host_id="x", server_key=SERVER_KEY, timeout_seconds=1, version="1"
    )
    async with manager:
        told = await manager.heartbeat(REPORT)

    assert told.result is HeartbeatResult.UNREACHABLE


async def test_a_connection_that_the_manager_closed_costs_no_heartbeat(
    server: ManagerServer,
) -> None:
    server.behaviour = then_close(answer(200, b'{"ack": true}'))
    async with client(server) as manager:
        results = []
        for _ in range(3):
            results.append((await manager.heartbeat(REPORT)).result)
            await anyio.sleep(0.02)

    assert results == [HeartbeatResult.ACKNOWLEDGED] * 3

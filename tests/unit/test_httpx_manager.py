"""What the manager's client keeps to itself, and what it leaves behind: nothing."""

import gc
import gzip
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import pytest

from adapters.httpx_manager import HttpxManager
from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult
from tests.support.manager_server import (
    Behaviour,
    ManagerServer,
    answer,
    drip,
    hang,
    manager_server,
    raw,
    reset,
)

pytestmark = pytest.mark.anyio

HOST_ID = "6f1b0a52-0000-4000-8000-000000000001"
SERVER_KEY = "the-server-key-of-this-host"
REPORT = HeartbeatReport(cpu=3, mem=20, containers=2)
ACKNOWLEDGED = HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
ACK = answer(200, b'{"ack": true}')


def client(url: str, *, seconds: float = 20, key: str = SERVER_KEY) -> HttpxManager:
    return HttpxManager(
        url, host_id=HOST_ID, server_key=key, timeout_seconds=seconds, version="1.2.3"
    )


async def told_by(server: ManagerServer, behaviour: Behaviour) -> HeartbeatAnswer:
    server.behaviour = behaviour
    async with client(server.url) as manager:
        return await manager.heartbeat(REPORT)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
async def server() -> AsyncIterator[ManagerServer]:
    async with manager_server() as server:
        yield server


class TestKey:
    """The key reaches the manager and nothing else: what is told ends in an open ``/health``."""

    @pytest.mark.parametrize("status", [200, 302, 401, 500])
    async def test_a_manager_that_repeats_it_does_not_bring_it_out(
        self, server: ManagerServer, status: int
    ) -> None:
        echo = b"x" * 190 + SERVER_KEY.encode()

        told = await told_by(server, answer(status, echo, Location=f"//{SERVER_KEY}.example/"))

        assert SERVER_KEY[:8] not in told.detail

    @pytest.mark.parametrize(
        "key", ["the-key-of-this-host\n", " the-key-of-this-host", "schlüssel"]
    )
    async def test_one_that_no_header_may_hold_is_refused_and_not_quoted(
        self, server: ManagerServer, key: str
    ) -> None:
        async with client(server.url, key=key) as manager:
            told = await manager.heartbeat(REPORT)

        assert told.result is HeartbeatResult.REFUSED
        assert "SERVER_KEY" in told.detail
        assert key.strip() not in told.detail
        assert server.requests == []

    async def test_it_does_not_follow_a_redirect_to_another_host(
        self, server: ManagerServer
    ) -> None:
        async with manager_server() as elsewhere:
            told = await told_by(server, answer(307, Location=elsewhere.url))

            assert told.result is HeartbeatResult.REFUSED
            assert elsewhere.connections == 0

    @pytest.mark.parametrize(
        ("location", "shown"),
        [
            ("https://manager.example/hosts/?token=abc", "redirects to https://manager.example ("),
            ("https://user:pass@manager.example:8443/", "to https://manager.example:8443 ("),
            ("//manager.example/x", "redirects to manager.example ("),
            ("/login?next=abc", "redirects to another path ("),
            ("", "redirects to another path ("),
            ("https://[broken", "redirects to another address ("),
            ("https://manager.example:99999/", "redirects to another address ("),
        ],
    )
    async def test_of_a_redirect_only_the_host_is_told(
        self, server: ManagerServer, location: str, shown: str
    ) -> None:
        assert shown in (await told_by(server, answer(302, Location=location))).detail


class TestWords:
    """What an operator reads."""

    async def test_nobody_listening(self) -> None:
        async with manager_server() as gone:
            pass
        async with client(gone.url) as manager:
            told = await manager.heartbeat(REPORT)

        assert "Connection refused" in told.detail

    @pytest.mark.parametrize(
        ("behaviour", "words"),
        [
            (reset, "Connection reset by peer"),
            (raw(b""), "disconnected without sending a response"),
            (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "SSH-2.0"),
            (raw(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"ack"'), "closed connection"),
        ],
        ids=["reset", "closed", "another protocol", "cut off"],
    )
    async def test_a_connection_that_broke(
        self, server: ManagerServer, behaviour: Behaviour, words: str
    ) -> None:
        told = await told_by(server, behaviour)

        assert told.result is HeartbeatResult.UNREACHABLE
        assert words in told.detail

    async def test_what_the_manager_says_is_cut_and_cannot_steer_a_terminal(
        self, server: ManagerServer
    ) -> None:
        body = b"\x1b[2Jfull\r\n\xe2\x80\xaegnol\xff" + b"x" * 5000

        told = await told_by(server, answer(500, body))

        assert "full" in told.detail
        assert told.detail.isprintable()
        assert len(told.detail) < 300

    @pytest.mark.parametrize("status", [301, 401, 429, 503])
    async def test_a_wait_is_passed_on_whatever_the_refusal(
        self, server: ManagerServer, status: int
    ) -> None:
        told = await told_by(server, answer(status, Retry_After="7"))

        assert told.retry_after_seconds == 7


class TestRequest:
    """What goes over the wire."""

    async def test_it_says_who_sends_and_wants_no_compression(self, server: ManagerServer) -> None:
        await told_by(server, ACK)

        head = server.requests[0].lower()
        assert b"\r\nuser-agent: container-host-agent/1.2.3\r\n" in head
        assert b"\r\naccept-encoding: identity\r\n" in head
        assert b"\r\ncontent-type: application/json\r\n" in head

    async def test_a_path_in_the_managers_address_is_kept(self, server: ManagerServer) -> None:
        async with client(f"{server.url}/api/v1") as manager:
            assert await manager.heartbeat(REPORT) == ACKNOWLEDGED

        assert server.requests[0].startswith(b"POST /api/v1/hosts/")

    async def test_an_answer_compressed_all_the_same_is_not_blown_up(
        self, server: ManagerServer
    ) -> None:
        body = gzip.compress(b" " * 20_000_000 + b'{"ack": true}')

        told = await told_by(server, answer(200, body, Content_Encoding="gzip"))

        assert told.result is HeartbeatResult.UNREADABLE


class TestConnections:
    """None is used twice, and none stays."""

    async def test_each_heartbeat_has_its_own(self, server: ManagerServer) -> None:
        async with client(server.url) as manager:
            told = [await manager.heartbeat(REPORT) for _ in range(3)]

        assert told == [ACKNOWLEDGED] * 3
        assert server.connections == 3

    @pytest.mark.parametrize("behaviour", [hang, drip], ids=["hangs", "drips"])
    async def test_a_limit_that_ran_out_leaves_none(
        self, server: ManagerServer, behaviour: Behaviour
    ) -> None:
        server.behaviour = behaviour
        async with client(server.url, seconds=0.2) as manager:
            told = await manager.heartbeat(REPORT)
            # One that was left open says so when it is collected, which fails the test.
            gc.collect()
            server.behaviour = ACK

            assert "no answer within 0.2 s" in told.detail
            assert await manager.heartbeat(REPORT) == ACKNOWLEDGED

    async def test_a_handshake_without_end_leaves_none(self) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as deaf:
            port = deaf.extra(anyio.abc.SocketAttribute.local_port)
            async with client(f"https://127.0.0.1:{port}", seconds=0.4) as manager:
                told = await manager.heartbeat(REPORT)
                gc.collect()

        assert told.result is HeartbeatResult.UNREACHABLE
        assert "no connection within 0.2 s" in told.detail

    async def test_heartbeats_that_were_cancelled_leave_room_for_the_next(
        self, server: ManagerServer
    ) -> None:
        server.behaviour = hang
        async with client(server.url) as manager:
            for _ in range(12):
                with anyio.move_on_after(0.05):
                    await manager.heartbeat(REPORT)
            server.behaviour = ACK

            with anyio.fail_after(10):
                assert await manager.heartbeat(REPORT) == ACKNOWLEDGED

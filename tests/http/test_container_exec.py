"""Commands in containers over HTTP and WebSockets, on twins and real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage

from adapters.memory.container_exec import MemoryRunningCommand
from domain.usecases import terminals
from entrypoints.connections import ConnectionLimits
from tests.http.test_slow_clients import served
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import call
from tests.support.containers import CONTAINERS, act, lab, run, the_agents_own
from tests.support.terminals import conversation, refusal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await run(world)
        yield world


@pytest.fixture
async def port(world: World) -> AsyncIterator[int]:
    async with served(world, ConnectionLimits()) as port:
        yield port


async def execute(world: World, *command: str, name: str = "web", **fields: Any) -> httpx.Response:
    body = {"command": list(command), **fields}
    return await call(world, "POST", f"{CONTAINERS}/{name}/exec", body)


async def executed(world: World, *command: str, **fields: Any) -> dict[str, Any]:
    answer = await execute(world, *command, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class TestRunning:
    """A command, to its end."""

    async def test_exit_code_and_both_streams_are_told(self, world: World) -> None:
        found = await executed(world, "sh", "-c", "echo é; echo err >&2; exit 3")

        assert found == {
            "exit_code": 3,
            "timed_out": False,
            "may_run_on": False,
            "seconds": found["seconds"],
            "stdout": {"text": "é\n", "size": 3, "cut": False},
            "stderr": {"text": "err\n", "size": 4, "cut": False},
        }

    async def test_variables_folder_and_user_reach_it(self, world: World) -> None:
        found = await executed(
            world,
            "sh",
            "-c",
            "echo $A; pwd; id -u",
            env={"A": "b c"},
            working_dir="/tmp",
            user="daemon",
        )

        assert found["stdout"]["text"] == "b c\n/tmp\n1\n"

    async def test_base64_can_be_asked_for(self, world: World) -> None:
        found = await executed(world, "echo", "a", encoding="base64")

        assert found["stdout"] == {"base64": "YQo=", "size": 2, "cut": False}

    async def test_output_beyond_its_limit_is_counted_and_not_kept(self, world: World) -> None:
        found = await executed(world, "seq", "1", "100000", output_limit="1k")

        assert found["stdout"]["cut"]
        assert found["stdout"]["size"] == 588_895
        assert len(found["stdout"]["text"]) == 1024
        assert found["exit_code"] == 0

    async def test_a_character_that_is_cut_in_two_is_left_out(self, world: World) -> None:
        found = await executed(world, "echo", "aé€", output_limit=5)
        none_left = await executed(world, "echo", "é", output_limit=0)

        assert found["stdout"] == {"text": "aé", "size": 7, "cut": True}
        assert none_left["stdout"] == {"text": "", "size": 3, "cut": True}

    async def test_one_that_takes_too_long_is_ended(self, world: World) -> None:
        with anyio.fail_after(5):
            found = await executed(world, "sh", "-c", "echo begun; sleep 600", timeout=0.2)

        assert found["timed_out"]
        assert not found["may_run_on"]
        assert found["exit_code"] is None
        assert found["stdout"]["text"] == "begun\n"
        assert not world.commands.running

    async def test_one_that_cannot_be_ended_says_so(self, world: World) -> None:
        world.commands.unstoppable = True

        found = await executed(world, "sleep", "600", timeout=0.1)

        assert found["timed_out"]
        assert found["may_run_on"]

    async def test_it_ends_with_whoever_asked_for_it(self, world: World, port: int) -> None:
        url = f"http://127.0.0.1:{port}{CONTAINERS}/web/exec"
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.post(url, headers=KEY, json={"command": ["sleep", "600"]}, timeout=0.3)

        with anyio.fail_after(1):
            while world.commands.running:
                await anyio.sleep(0.01)

    async def test_it_ends_with_the_agent(self, world: World) -> None:
        answers: list[httpx.Response] = []
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                answers.append(await execute(world, "sleep", "600"))

            group.start_soon(ask)
            while not world.commands.running:
                await anyio.sleep(0.01)
            world.agent.containers.execution.end()

        assert answers[0].status_code == 503
        assert not world.commands.running
        assert (await execute(world, "true")).status_code == 503

    @pytest.mark.parametrize(
        "fields",
        [
            {"command": []},
            {"command": [""]},
            {"command": "ls -l"},
            {"command": ["a\0b"]},
            {"command": ["x" * 200_000]},
            {"command": ["x"] * 2000},
            {"env": {"A=B": "c"}},
            {"env": {"": "c"}},
            {"working_dir": "etc"},
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": "11m"},
            {"timeout": 1e999},
            {"output_limit": "17m"},
            {"output_limit": -1},
            {"encoding": "hex"},
            {"tty": True},
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, world: World, fields: dict[str, Any]
    ) -> None:
        answer = await call(
            world, "POST", f"{CONTAINERS}/web/exec", {"command": ["true"], **fields}
        )

        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:container-host-agent:request-unreadable"

    @pytest.mark.parametrize(
        "fields",
        [
            {"privileged": True},
            {"working_dir": "/proc/self/fd/7"},
            {"working_dir": "//x/../proc/self"},
        ],
    )
    async def test_what_could_reach_the_host_is_refused(
        self, world: World, fields: dict[str, Any]
    ) -> None:
        answer = await execute(world, "true", **fields)

        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:container-host-agent:policy-refused"
        assert answer.json()["errors"][0]["where"] in fields

    @pytest.mark.parametrize(
        "fields",
        [{"command": ["no-such"]}, {"user": "nobody-there"}, {"working_dir": "/no/such"}],
    )
    async def test_what_is_not_there_in_it_is_told(
        self, world: World, fields: dict[str, Any]
    ) -> None:
        body = {"command": ["true"], **fields}
        answer = await call(world, "POST", f"{CONTAINERS}/web/exec", body)

        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:container-host-agent:command-not-started"

    async def test_one_that_is_not_there_or_does_not_run_is_told(self, world: World) -> None:
        assert (await execute(world, "true", name="nobody")).status_code == 404
        await act(world, "web", "pause")
        assert (await execute(world, "true")).status_code == 409
        await act(world, "web", "unpause")
        await act(world, "web", "stop")
        assert (await execute(world, "true")).status_code == 409

    async def test_containers_of_environments_may_be_entered(self, world: World) -> None:
        assert (await execute(world, "true", name=await lab(world))).status_code == 200

    async def test_nothing_runs_in_the_agents_own(self, world: World) -> None:
        the_agents_own(world)

        assert (await execute(world, "true", name="the-agent")).status_code == 409

    async def test_an_engine_that_is_away_is_503(self, world: World) -> None:
        world.engine.fault = "it is away"

        answer = await execute(world, "true")

        assert answer.status_code == 503
        assert answer.headers["retry-after"]

    async def test_it_stands_in_the_audit_trail_without_its_words(self, world: World) -> None:
        await execute(world, "echo", "secret-word")

        entries = (await call(world, "GET", "/api/v1/audit?limit=1")).text
        assert f"{CONTAINERS}/{{reference}}/exec" in entries
        assert '"target":"web"' in entries
        assert "secret-word" not in entries


class TestTerminal:
    """A command that is spoken with."""

    async def test_bytes_go_both_ways_and_the_end_is_told(self, port: int) -> None:
        data = bytes(range(256)) * 1000
        async with conversation(port, command="cat", tty="false") as talk:
            for at in range(0, len(data), 50_000):
                await talk.say(data[at : at + 50_000])
            await talk.control("close-input")
            await talk.to_end()

        assert b"".join(piece[1:] for piece in talk.pieces) == data
        assert {piece[0] for piece in talk.pieces} == {1}
        assert talk.end == {
            "type": "end",
            "reason": "exited",
            "detail": "The command has ended.",
            "exit_code": 0,
        }
        assert talk.code == 1000

    async def test_without_a_terminal_streams_are_told_apart(self, port: int) -> None:
        async with conversation(port, tty="false") as talk:
            await talk.say(b"echo out; echo err >&2; exit 4\n")
            await talk.to_end()

        assert talk.pieces == [b"\x01out\n", b"\x02err\n"]
        assert talk.end is not None
        assert talk.end["exit_code"] == 4

    async def test_a_terminal_is_resized(self, port: int) -> None:
        async with conversation(port, columns=99, rows=33) as talk:
            await talk.say(b"stty size\n")
            await talk.until(b"33 99\r\n")
            await talk.control("resize", columns=132, rows=50)
            await talk.say(b"stty size\n")
            await talk.until(b"50 132\r\n")
            await talk.say(b"exit 0\n")
            await talk.to_end()

        assert talk.code == 1000

    async def test_words_variables_folder_and_user_reach_it(self, port: int) -> None:
        query: dict[str, Any] = {
            "command": ["sh", "-c", "echo $A; pwd; id -u"],
            "env": "A=b=c",
            "working_dir": "/tmp",
            "user": "daemon",
        }
        async with conversation(port, **query) as talk:
            await talk.to_end()

        assert talk.output == b"b=c\r\n/tmp\r\n1\r\n"

    async def test_it_ends_with_whoever_speaks_with_it(self, world: World, port: int) -> None:
        async with conversation(port) as talk:
            await talk.say(b"echo hi\n")
            await talk.until(b"hi")
            talk.socket.transport.abort()

            with anyio.fail_after(1):
                while world.commands.running:
                    await anyio.sleep(0.01)

    async def test_it_ends_with_the_agent(self, world: World, port: int) -> None:
        async with conversation(port) as talk:
            world.agent.containers.execution.end()
            await talk.to_end()

        assert talk.end is not None
        assert talk.end["reason"] == "stopping"
        assert talk.code == 1001
        assert not world.commands.running

    async def test_it_ends_with_its_container(self, world: World, port: int) -> None:
        async with conversation(port, command=["sleep", "600"]) as talk:
            world.engine.stop("web")
            await talk.to_end()

        assert talk.end is not None
        assert (talk.end["reason"], talk.end["exit_code"]) == ("exited", None)

    async def test_a_silent_one_is_ended(self) -> None:
        async with agent_on_twins({"EXEC_IDLE": "0.5"}) as world:
            await run(world)
            async with served(world, ConnectionLimits()) as port, conversation(port) as talk:
                for _ in range(4):
                    await anyio.sleep(0.2)
                    await talk.say(b"true\n")
                with anyio.fail_after(5):
                    await talk.to_end()

            assert talk.end is not None
            assert talk.end["reason"] == "idle"
            assert talk.code == 1008
            assert not world.commands.running

    async def test_one_that_reads_nothing_is_ended(
        self, world: World, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(terminals, "UNREAD_SECONDS", 0.3)
        monkeypatch.setattr(world.commands, "deaf", True)
        async with conversation(port, command=["sleep", "600"], tty="false") as talk:
            with anyio.fail_after(10):
                try:
                    for _ in range(100):
                        await talk.say(b"x" * 100_000)
                except ConnectionClosed:
                    pass
                await talk.to_end()

        assert talk.end is not None
        assert talk.end["reason"] == "unread"
        assert not world.commands.running

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "hello",
            "[]",
            '{"type": "signal"}',
            '{"type": "resize"}',
            '{"type": "resize", "columns": 0, "rows": 1}',
            '{"type": "resize", "columns": 80, "rows": 100000}',
            "[" * 50_000,
        ],
    )
    async def test_a_message_that_means_nothing_ends_it(
        self, world: World, port: int, text: str
    ) -> None:
        async with conversation(port) as talk:
            await talk.socket.send(text)
            await talk.to_end()

        assert talk.end is not None
        assert talk.end["reason"] == "request-unreadable"
        assert talk.code == 1008
        assert not world.commands.running

    async def test_a_message_that_is_too_long_ends_it(self, world: World, port: int) -> None:
        async with conversation(port) as talk:
            await talk.say(b"x" * 300_000)
            await talk.to_end()

        assert talk.code == 1009
        with anyio.fail_after(1):
            while world.commands.running:
                await anyio.sleep(0.01)

    async def test_a_fault_of_ours_ends_it_and_stands_in_the_log(
        self, world: World, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(_: object) -> None:
            raise ValueError("of ours")

        monkeypatch.setattr(MemoryRunningCommand, "receive", broken)
        async with conversation(port) as talk:
            await talk.to_end()

        assert talk.code == 1011
        assert world.log.named("request broke")
        assert not world.commands.running

    async def test_fifty_speak_at_once_and_leave_nothing(self, world: World, port: int) -> None:
        heard: list[bytes] = []

        async def speak(number: int) -> None:
            async with conversation(port, tty="false") as talk:
                await talk.say(b"echo %d\n" % number)
                await talk.until(b"\n")
                heard.append(talk.output)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(speak, number)
            while world.commands.running:
                await anyio.sleep(0.01)

        assert sorted(heard) == sorted(b"\x01%d\n" % number for number in range(50))

    async def test_no_more_run_at_once_than_may(self) -> None:
        async with agent_on_twins({"MAX_EXECS": "1"}) as world:
            await run(world)
            async with served(world, ConnectionLimits()) as port, conversation(port):
                status, problem = await refusal(port)
                assert status == 503
                assert "MAX_EXECS" in problem["detail"]
                assert (await execute(world, "true")).status_code == 503
            with anyio.fail_after(1):
                while (await execute(world, "true")).status_code != 200:
                    await anyio.sleep(0.01)


class TestHandshake:
    """Who is let in."""

    @pytest.mark.parametrize("headers", [{}, {"X-Server-Key": "wrong"}])
    async def test_only_with_the_key(
        self, world: World, port: int, headers: dict[str, str]
    ) -> None:
        status, problem = await refusal(port, headers=headers)

        assert status == 401
        assert problem["title"] == "Unauthorized"
        assert not world.commands.running

    async def test_refusals_are_those_of_any_call(self, world: World, port: int) -> None:
        the_agents_own(world)
        assert (await refusal(port, "nobody"))[0] == 404
        assert (await refusal(port, "the-agent"))[0] == 409
        assert (await refusal(port, command="no-such"))[0] == 422
        assert (await refusal(port, env="A"))[0] == 422
        assert (await refusal(port, columns=0))[0] == 422
        assert (await refusal(port, tty="perhaps"))[0] == 422
        assert (await refusal(port, working_dir="/proc/1/root"))[0] == 422
        assert (await refusal(port, "web/../web"))[0] == 404
        world.engine.fault = "it is away"
        assert (await refusal(port))[0] == 503

    async def test_refusals_leave_nothing_in_the_log_that_looks_like_a_fault(
        self, world: World, port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        await refusal(port, "nobody")
        await refusal(port, headers={})
        await refusal(port, headers={"X-Server-Key": "wrong"})

        assert [record.getMessage() for record in caplog.records] == []

    async def test_a_plain_request_is_told_how(self, world: World) -> None:
        answer = await act(world, "web", "exec/terminal", "GET")

        assert answer.status_code == 426
        assert answer.headers["upgrade"] == "websocket"
        assert (await world.http.get(f"{CONTAINERS}/web/exec/terminal")).status_code == 401

    async def test_each_is_in_the_audit_trail(self, world: World, port: int) -> None:
        async with conversation(port, command=["echo", "secret-word"]) as talk:
            await talk.to_end()
        await refusal(port, "nobody")

        answer = await call(world, "GET", "/api/v1/audit?limit=2")
        refused, let_in = answer.json()["entries"]
        assert let_in["entry"]["route"] == f"{CONTAINERS}/{{reference}}/exec/terminal"
        assert (let_in["entry"]["target"], let_in["entry"]["status"]) == ("web", 101)
        assert let_in["outcome"] == "ok"
        assert (refused["entry"]["target"], refused["entry"]["status"]) == ("nobody", 404)
        assert refused["entry"]["code"] == "resource-not-found"
        assert "secret-word" not in answer.text

    async def test_its_connection_counts_until_it_ends(self, world: World) -> None:
        async with served(world, ConnectionLimits(per_peer=2)) as port:
            for _ in range(5):
                async with conversation(port), conversation(port):
                    with pytest.raises((OSError, InvalidMessage)):
                        async with conversation(port):
                            pass
                # The server hears of the end a moment after the client.
                await anyio.sleep(0.1)

    async def test_it_outlasts_the_time_for_a_request(self, world: World) -> None:
        limits = ConnectionLimits(request_seconds=0.2, answer_seconds=0.2)
        async with served(world, limits) as port, conversation(port) as talk:
            await anyio.sleep(0.6)
            await talk.say(b"exit 0\n")
            await talk.to_end()

        assert talk.code == 1000

"""Logs and files of single containers over HTTP, on twins and real sockets."""

import base64
import io
import json
import tarfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest

from entrypoints.connections import ConnectionLimits
from entrypoints.http import container_logs
from tests.http.test_slow_clients import served
from tests.support.agents import KEY, World, agent_on_twins
from tests.support.api import call
from tests.support.containers import CONTAINERS, act, run, the_agents_own

pytestmark = pytest.mark.anyio

NDJSON = {"accept": "application/x-ndjson"}
EVENTS = {"accept": "text/event-stream"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        await run(world)
        yield world


async def logs(
    world: World, query: str = "", headers: dict[str, str] | None = None
) -> httpx.Response:
    return await call(world, "GET", f"{CONTAINERS}/web/logs{query}", headers=headers)


async def records(world: World, query: str = "") -> list[Any]:
    answer = await logs(world, query, NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.content.splitlines()]


class TestLogs:
    """What a container printed."""

    async def test_plain_text_is_the_very_bytes(self, world: World) -> None:
        for data, stream in ((b"one", "stdout"), (b"\xff\x00\x1b[31m", "stderr"), (b"", "stdout")):
            world.output.print("web", data, stream=stream)

        answer = await logs(world)

        assert answer.content == b"one\n\xff\x00\x1b[31m\n\n"
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_streams_are_chosen(self, world: World) -> None:
        world.output.print("web", b"out")
        world.output.print("web", b"err", stream="stderr")

        assert (await logs(world, "?stderr=false")).content == b"out\n"
        assert (await logs(world, "?stdout=false")).content == b"err\n"
        assert (await logs(world, "?stdout=false&stderr=false")).status_code == 422

    async def test_tail_since_and_until_bound_it(self, world: World) -> None:
        for line in (b"one", b"two", b"three"):
            world.output.print("web", line)

        assert (await logs(world, "?tail=1")).content == b"three\n"
        assert (await logs(world, "?tail=all")).content == b"one\ntwo\nthree\n"
        assert (await logs(world, "?since=2026-01-01T00:00:01Z")).content == b"two\nthree\n"
        assert (await logs(world, "?until=2026-01-01T00:00:01Z")).content == b"one\ntwo\n"
        assert (await logs(world, "?since=1h")).content == b"one\ntwo\nthree\n"

    @pytest.mark.parametrize("headers", [{}, NDJSON, EVENTS])
    async def test_what_is_followed_ends_at_until_though_nothing_is_printed_any_more(
        self, world: World, headers: dict[str, str]
    ) -> None:
        world.output.print("web", b"one")
        soon = (world.agent.clock.now() + timedelta(seconds=0.2)).isoformat()

        with anyio.fail_after(5):
            past = await logs(world, "?follow=true&until=1s", headers)
            future = await logs(world, f"?follow=true&until={quote(soon)}", headers)

        assert b"one" not in past.content
        assert b"one" in future.content

    async def test_lines_can_have_the_moment_before_them(self, world: World) -> None:
        world.output.print("web", b"one")

        assert (await logs(world, "?timestamps=true")).text == (
            "2026-01-01T00:00:00.000000000Z one\n"
        )

    async def test_records_tell_stream_and_moment_and_bytes_where_it_is_no_text(
        self, world: World
    ) -> None:
        world.output.print("web", "é\x1b[31m".encode())
        world.output.print("web", b"a\xff", stream="stderr")

        first, second = await records(world)

        assert first == {
            "at": "2026-01-01T00:00:00.000000000Z",
            "stream": "stdout",
            "text": "é\x1b[31m",
        }
        assert second["stream"] == "stderr"
        assert base64.b64decode(second["base64"]) == b"a\xff"

    async def test_no_escape_reaches_a_terminal_in_records(self, world: World) -> None:
        world.output.print("web", b"\x1b]0;owned\x07<script>")

        assert b"\x1b" not in (await logs(world, headers=NDJSON)).content
        assert b"\x1b" not in (await logs(world, headers=EVENTS)).content

    async def test_events_end_with_an_end(self, world: World) -> None:
        world.output.print("web", b"one")

        answer = await logs(world, headers=EVENTS)

        assert answer.headers["content-type"] == "text/event-stream"
        events = answer.text.split("\n\n")
        assert events[0].startswith("event: log\ndata: {")
        assert events[-2:] == ["event: end\ndata: {}", ""]

    async def test_following_ends_with_the_container(self, world: World) -> None:
        world.output.print("web", b"one")

        async with anyio.create_task_group() as group:

            async def end_soon() -> None:
                await anyio.sleep(0.05)
                world.output.print("web", b"two")
                await anyio.sleep(0.05)
                world.engine.stop("web")

            group.start_soon(end_soon)
            with anyio.fail_after(5):
                found = await records(world, "?follow=true")

        assert [record["text"] for record in found] == ["one", "two"]

    async def test_followers_end_when_the_agent_does(self, world: World) -> None:
        async with anyio.create_task_group() as group:

            async def end_soon() -> None:
                await anyio.sleep(0.05)
                world.agent.containers.output.end()

            group.start_soon(end_soon)
            with anyio.fail_after(5):
                answer = await logs(world, "?follow=true", EVENTS)

        assert answer.text == "event: end\ndata: {}\n\n"

    async def test_a_silent_follower_is_kept_alive(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container_logs, "KEEP_ALIVE_SECONDS", 0.02)

        async with anyio.create_task_group() as group:

            async def talk_and_end() -> None:
                await anyio.sleep(1)
                world.output.print("web", b"one")
                world.engine.stop("web")

            group.start_soon(talk_and_end)
            answer = await logs(world, "?follow=true", EVENTS)

        assert answer.text.startswith(": still here\n\n: still here\n\n")
        assert '"text":"one"' in answer.text

    @pytest.mark.parametrize("headers", [NDJSON, EVENTS])
    async def test_who_follows_can_tell_an_agent_that_stops_from_a_container_that_ends(
        self, world: World, headers: dict[str, str]
    ) -> None:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await anyio.sleep(0.1)
                await world.agent.operations.close(1)
                world.agent.containers.output.end()

            group.start_soon(stop)
            answer = await logs(world, "?follow=true", headers)

        assert "The agent is stopping" in answer.text

    async def test_one_whose_output_is_not_kept_says_why_in_its_place(self, world: World) -> None:
        (identifier,) = (c.id for c in world.engine.containers.values())
        world.output.unreadable.add("web")

        (record,) = await records(world)

        assert identifier
        assert record["stream"] == "agent"
        assert "keeps no output" in record["text"]

    @pytest.mark.parametrize("query", ["tail=-1", "since=yesterday", "until=", "follow=perhaps"])
    async def test_what_makes_no_sense_is_refused(self, world: World, query: str) -> None:
        assert (await logs(world, f"?{query}")).status_code == 422

    async def test_one_that_is_not_there_is_404(self, world: World) -> None:
        assert (await act(world, "nobody", "logs", "GET")).status_code == 404

    async def test_fifty_followers_all_hear_and_all_end(self, world: World) -> None:
        async with served(world, ConnectionLimits()) as port:
            heard: list[bytes] = []

            async def follow() -> None:
                url = f"http://127.0.0.1:{port}{CONTAINERS}/web/logs?follow=true"
                async with (
                    httpx.AsyncClient(trust_env=False, timeout=20) as http,
                    http.stream("GET", url, headers=KEY) as answer,
                ):
                    heard.append(b"".join([piece async for piece in answer.aiter_raw()]))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for _ in range(50):
                        group.start_soon(follow)
                    await anyio.sleep(0.5)
                    world.output.print("web", b"hello")
                    world.engine.stop("web")

            assert heard == [b"hello\n"] * 50


class TestFiles:
    """What is read of a container's files."""

    async def files(
        self, world: World, path: str, name: str = "web", **query: str
    ) -> httpx.Response:
        return await act(world, name, "files", "GET", path=path, **query)

    async def test_a_regular_file_comes_with_its_size(self, world: World) -> None:
        content = bytes(range(256)) * 1000
        world.files.write("web", "/srv/a/data.bin", content)

        answer = await self.files(world, "/srv/a/data.bin")

        assert answer.content == content
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-file-size"] == str(len(content))
        assert answer.headers["x-file-mode"] == "0644"
        assert answer.headers["last-modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_a_folder_comes_as_an_archive(self, world: World) -> None:
        world.files.write("web", "/srv/a/one", b"1")

        answer = await self.files(world, "/srv/a")

        assert answer.headers["content-type"] == "application/x-tar"
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            assert "a/one" in archive.getnames()

    async def test_the_form_can_be_chosen(self, world: World) -> None:
        world.files.write("web", "/srv/a/one", b"1")

        archive = await self.files(world, "/srv/a/one", form="tar")
        folder = await self.files(world, "/srv/a", form="raw")

        assert archive.headers["content-type"] == "application/x-tar"
        assert folder.status_code == 422

    async def test_links_are_followed(self, world: World) -> None:
        world.files.write("web", "/srv/one", b"1")
        world.files.link("web", "/link", "/srv/one")

        assert (await self.files(world, "/link")).content == b"1"

    async def test_a_name_of_any_kind_is_inert_in_the_header(self, world: World) -> None:
        world.files.write("web", '/a"\r\nx-evil: é', b"1")

        answer = await self.files(world, '/a"\r\nx-evil: é')

        assert "x-evil" not in answer.headers
        assert answer.headers["content-disposition"] == (
            "attachment; filename*=UTF-8''a%22%0D%0Ax-evil%3A%20%C3%A9"
        )

    @pytest.mark.parametrize("path", ["", "etc", "../etc", "/a\0b", "/" + "a" * 5000])
    async def test_what_can_be_no_path_is_refused(self, world: World, path: str) -> None:
        assert (await self.files(world, path)).status_code == 422

    async def test_what_is_not_there_is_404(self, world: World) -> None:
        assert (await self.files(world, "/no")).status_code == 404
        assert (await self.files(world, "/", name="nobody")).status_code == 404

    async def test_nobody_reads_the_agents_own_files(self, world: World) -> None:
        the_agents_own(world)
        world.files.write("the-agent", "/state/agent.db", b"secret")

        answer = await self.files(world, "/state/agent.db", name="the-agent")

        assert answer.status_code == 409

    async def test_what_breaks_off_is_taken_for_whole_by_nobody(self, world: World) -> None:
        world.files.write("web", "/srv/data", b"x" * 1000)
        world.files.broken.add("/srv/data")

        async with served(world) as port, httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(
                    f"http://127.0.0.1:{port}{CONTAINERS}/web/files?path=/srv/data", headers=KEY
                )

        assert world.log.named("answer broke off")

    async def test_nothing_can_be_written(self, world: World) -> None:
        for method in ("PUT", "POST", "PATCH", "DELETE"):
            answer = await call(world, method, f"{CONTAINERS}/web/files?path=/x")
            assert answer.status_code in {404, 405}

"""What is removed from an Engine where something hangs, and what is left alone."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from adapters.docker.client import EngineClient, EngineLimits
from adapters.docker.runtime import DockerProjectResources
from domain.errors import EngineRefused, EngineUnavailable
from tests.support.fake_engine import FakeEngine, Reply, answers, fake_engine, hangs, takes, until

pytestmark = pytest.mark.anyio

LIMITS = EngineLimits(ask_seconds=5, change_seconds=0.8)

GONE = answers(None, 204)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """An Engine with three containers, a network and two volumes of one project."""
    with fake_engine(tmp_path) as engine:
        rows = [{"Id": f"id-{name}", "Names": [f"/lab-{name}"]} for name in ("a", "b", "c")]
        engine.on("GET /containers/json", answers(rows))
        engine.on("GET /networks", answers([{"Id": "id-net", "Name": "lab_default"}]))
        engine.on("GET /networks/id-net", answers({"Containers": {}}))
        engine.on("GET /volumes", answers({"Volumes": [{"Name": "lab_data"}, {"Name": "kept"}]}))
        engine.on("GET /_ping", answers("OK"))
        engine.on("DELETE .*", GONE)
        yield engine


@pytest.fixture
async def resources(engine: FakeEngine) -> AsyncIterator[DockerProjectResources]:
    client = EngineClient(engine.url, limits=LIMITS)
    yield DockerProjectResources(client, agent_image="agent", owner="/var/lib/mine")
    await client.aclose()


def removed(engine: FakeEngine) -> set[str]:
    return {one.removeprefix("DELETE ") for one in engine.asked("DELETE .*")}


EVERYTHING = {
    "/containers/id-a",
    "/containers/id-b",
    "/containers/id-c",
    "/networks/id-net",
    "/volumes/lab_data",
}


class TestSweep:
    """All that a project has."""

    async def test_a_container_that_hangs_keeps_nothing_else_from_going(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("DELETE /containers/id-a", hangs)

        with pytest.raises(EngineUnavailable, match="removing container lab-a: it took too long"):
            await resources.sweep("lab", keep_volumes=["kept"])

        assert removed(engine) == EVERYTHING

    async def test_what_is_refused_is_told_when_all_else_is_done(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("DELETE /containers/id-b", answers({"message": "device is busy"}, 500))
        engine.on("DELETE /volumes/.*", answers({"message": "volume is in use"}, 409))

        with pytest.raises(EngineRefused, match="removing container lab-b: device is busy"):
            await resources.sweep("lab", keep_volumes=["kept"])

        assert removed(engine) == EVERYTHING

    async def test_an_engine_that_hangs_is_not_asked_for_one_thing_after_the_other(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        rows = [{"Id": f"id-{number}", "Names": None} for number in range(100)]
        engine.on("GET /containers/json", answers(rows))
        engine.on("DELETE .*", hangs)
        engine.on("GET /_ping", answers({"message": "no"}, 500))

        with pytest.raises(EngineUnavailable, match="removing container id-"):
            await resources.sweep("lab", cut_off=True)

        assert len(removed(engine)) <= 4
        assert engine.asked("GET /networks") == []

    async def test_nothing_more_is_removed_once_it_has_failed(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("DELETE /containers/.*", hangs)
        with pytest.raises(EngineUnavailable):
            await resources.sweep("lab")
        sent = len(engine.requests)

        engine.on("DELETE /containers/.*", GONE)
        await anyio.sleep(0.1)

        assert len(engine.requests) == sent

    async def test_another_projects_is_not_held_up(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("DELETE /containers/id-[abc]", hangs)
        async with anyio.create_task_group() as group:

            async def hang() -> None:
                with pytest.raises(EngineUnavailable):
                    await resources.sweep("lab")

            group.start_soon(hang)
            await until(lambda: len(removed(engine)) == 3)
            engine.on("GET /containers/json", answers([{"Id": "id-z", "Names": ["/other-z"]}]))
            engine.on("GET /volumes", answers({"Volumes": None}))
            await resources.sweep("other")

            assert "/containers/id-z" in removed(engine)

    async def test_one_that_goes_already_is_waited_for(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("DELETE /containers/id-a", answers({"message": "in progress"}, 409))
        engine.on("POST /containers/id-a/wait", takes(0.05, answers({"StatusCode": 0})))

        await resources.sweep("lab")

        assert engine.asked("POST /containers/id-a/wait")

    @pytest.mark.parametrize(
        ("waiting", "fault"),
        [
            (answers({"message": "no such container"}, 404), None),
            (answers({"StatusCode": 0, "Error": {"Message": "busy"}}), EngineRefused),
            (hangs, EngineUnavailable),
        ],
        ids=["it has gone by then", "it cannot go", "it hangs"],
    )
    async def test_the_wait_for_one_that_goes_already_ends(
        self,
        engine: FakeEngine,
        resources: DockerProjectResources,
        waiting: Reply,
        fault: type[Exception] | None,
    ) -> None:
        engine.on("DELETE /containers/id-a", answers({"message": "in progress"}, 409))
        engine.on("POST /containers/id-a/wait", waiting)

        if fault is None:
            await resources.sweep("lab")
        else:
            with pytest.raises(fault):
                await resources.sweep("lab")

        assert removed(engine) >= EVERYTHING

    async def test_after_a_cut_off_start_what_hung_is_not_tried_again_and_the_rest_is(
        self, engine: FakeEngine, resources: DockerProjectResources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapters.docker.runtime._LATE_SECONDS", (0.01, 0.01))
        engine.on("DELETE /containers/id-a", hangs)
        engine.on("DELETE /containers/id-b", answers({"message": "busy"}, 500))

        with pytest.raises(EngineUnavailable, match="lab-a"):
            await resources.sweep("lab", cut_off=True)

        assert len(engine.asked("DELETE /containers/id-a")) == 1
        assert len(engine.asked("DELETE /containers/id-b")) == 3

    async def test_what_goes_in_the_end_is_no_fault(
        self, engine: FakeEngine, resources: DockerProjectResources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapters.docker.runtime._LATE_SECONDS", (0.01,))
        engine.on("DELETE /volumes/lab_data", answers({"message": "volume is in use"}, 409))
        engine.on("DELETE /containers/id-c", takes(0.05, _lets_go(engine)))

        await resources.sweep("lab", keep_volumes=["kept"], cut_off=True)

    async def test_a_sweep_that_is_cancelled_sends_nothing_more(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("DELETE /containers/.*", takes(0.05, GONE))
        async with anyio.create_task_group() as group:
            group.start_soon(resources.sweep, "lab")
            await until(lambda: len(removed(engine)) == 3)
            group.cancel_scope.cancel()
        sent = len(engine.requests)

        await anyio.sleep(0.1)

        assert len(engine.requests) == sent


def _lets_go(engine: FakeEngine) -> Reply:
    """Removes the container that used the volume, a moment after the volume was asked for."""

    def reply(connection: socket.socket) -> bool:
        if len(engine.asked("DELETE /containers/id-c")) > 1:
            engine.on("DELETE /volumes/lab_data", GONE)
        return GONE(connection)

    return reply


class TestErasing:
    """Folders with files of other users."""

    @pytest.fixture(autouse=True)
    def ready(self, engine: FakeEngine) -> None:
        engine.on("POST /containers/create", answers({"Id": "id-eraser"}, 201))
        engine.on("POST /containers/.*/start", GONE)
        engine.on("POST /containers/.*/wait", answers({"StatusCode": 0}))

    async def test_it_leaves_no_container(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        await resources.erase("/srv/lab")

        (gone,) = removed(engine)
        assert gone.startswith("/containers/container-host-agent-eraser-")

    @pytest.mark.parametrize("step", ["create", ".*/start", ".*/wait"])
    async def test_one_that_hangs_leaves_none_either(
        self, engine: FakeEngine, resources: DockerProjectResources, step: str
    ) -> None:
        engine.on(f"POST /containers/{step}", hangs)

        with pytest.raises(EngineUnavailable, match="emptying /srv/lab: it took too long"):
            await resources.erase("/srv/lab")

        assert len(removed(engine)) == 1

    async def test_one_that_is_cancelled_leaves_none_either(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("POST /containers/.*/wait", hangs)
        async with anyio.create_task_group() as group:
            group.start_soon(resources.erase, "/srv/lab")
            await until(lambda: bool(engine.asked("POST /containers/.*/wait")))
            group.cancel_scope.cancel()

        assert len(removed(engine)) == 1

    async def test_what_it_says_when_it_fails_is_told_though_it_cannot_be_removed(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        engine.on("POST /containers/.*/wait", answers({"StatusCode": 1}))
        engine.on("GET /containers/.*/json", answers({"Config": {"Tty": True}}))
        engine.on("GET /containers/.*/logs", answers("read-only file system"))
        engine.on("DELETE .*", hangs)

        with pytest.raises(EngineRefused, match=r"/srv/lab could not be removed: .*read-only"):
            await resources.erase("/srv/lab")

    async def test_it_is_marked_as_the_agents_own(
        self, engine: FakeEngine, resources: DockerProjectResources
    ) -> None:
        await resources.erase("/srv/lab")

        (body,) = engine.bodies("POST /containers/create")
        assert json.loads(body)["Labels"] == {"container-host-agent.eraser": "/var/lib/mine"}

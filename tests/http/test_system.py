"""The open endpoints: health, readiness, information, resources, metrics, documents."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import Request
from prometheus_client.parser import text_string_to_metric_families

from domain.errors import AgentError, EngineUnavailable, StoreUnavailable
from entrypoints.http.problems import STATUSES, recorded_problem
from tests.http.test_contract import LAB
from tests.support.agents import SERVER_KEY, World, agent_on_twins

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


async def away(world: World) -> None:
    world.engine.fault = "is away"
    with pytest.raises(EngineUnavailable):
        await world.agent.inventory.refresh()


async def samples(world: World) -> dict[str, float]:
    text = (await world.http.get("/metrics")).text
    return {
        f"{sample.name}{sorted(sample.labels.items()) or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/health", "application/json"),
        ("/system/info", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
    ],
)
async def test_what_is_sent_is_said_so_that_browsers_and_prometheus_take_it(
    world: World, method: str, path: str, expected: str
) -> None:
    answer = await world.http.request(method, path)

    assert answer.headers.get_list("content-type") == [expected]


class TestHealth:
    async def test_all_is_well(self, world: World) -> None:
        answer = await world.http.get("/health")

        report = answer.json()
        assert (answer.status_code, report["status"], report["reasons"]) == (200, "ok", [])
        assert {"engine", "store", "heartbeat", "version", "uptime_seconds"} <= set(report)

    async def test_without_an_engine_it_is_degraded_and_still_answers_200(
        self, world: World
    ) -> None:
        await away(world)

        answer = await world.http.get("/health")

        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "is away" in answer.json()["reasons"][0]

    async def test_it_is_well_again_when_the_engine_is_back(self, world: World) -> None:
        await away(world)
        world.engine.fault = ""
        await world.agent.inventory.refresh()

        assert (await world.http.get("/health")).json()["status"] == "ok"
        assert world.log.named("engine answers again")

    async def test_records_that_cannot_be_written_degrade_it(self, world: World) -> None:
        world.store.fault = StoreUnavailable("The disk is full.")
        await world.agent.storage.observe_records()

        report = (await world.http.get("/health")).json()

        assert (report["status"], report["store"]["state"]) == ("degraded", "down")

    async def test_a_workspace_that_is_gone_degrades_it_until_it_is_back(
        self, world: World
    ) -> None:
        world.workspaces.fault = "The folder is gone."
        await world.agent.storage.observe_files()
        report = (await world.http.get("/health")).json()
        assert (report["status"], report["reasons"]) == ("degraded", ["The folder is gone."])
        assert world.log.named("workspace does not answer")

        world.workspaces.fault = ""
        await world.agent.storage.observe_files()

        assert (await world.http.get("/health")).json()["status"] == "ok"
        assert world.log.named("workspace answers again")


class TestReady:
    async def test_able_to_work(self, world: World) -> None:
        answer = await world.http.get("/ready")

        assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})

    async def test_not_before_recovery_is_done(self) -> None:
        async with agent_on_twins(ready=False) as world:
            await world.agent.inventory.refresh()

            assert (await world.http.get("/ready")).status_code == 503

    async def test_not_without_engine_or_store(self, world: World) -> None:
        await away(world)
        assert (await world.http.get("/ready")).status_code == 503

        world.engine.fault = ""
        await world.agent.inventory.refresh()
        world.store.fault = StoreUnavailable("The disk is full.")
        await world.agent.storage.observe_records()
        answer = await world.http.get("/ready")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["The disk is full."]

    async def test_not_without_a_workspace(self, world: World) -> None:
        world.workspaces.fault = "The folder is gone."
        await world.agent.storage.observe_files()

        answer = await world.http.get("/ready")

        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["The folder is gone."]


async def test_info_tells_of_host_docker_and_agent(world: World) -> None:
    info = (await world.http.get("/system/info")).json()

    assert info["docker_version"] == "memory"
    assert info["compose_version"] == "memory"
    assert {
        "hostname",
        "operating_system",
        "kernel",
        "architecture",
        "cpus",
        "memory_bytes",
    } <= set(info)


async def test_resources_tell_of_load_and_file_systems_by_role(world: World) -> None:
    await world.clock.advance(10)
    await world.agent.host.observe()

    told = (await world.http.get("/system/resources")).json()

    assert told["cpu"]["percent"] == 10.0
    assert told["cpu"]["per_core_percent"] == [10.0, 10.0]
    assert told["memory"]["percent"] == 20.0
    roles = {file_system["role"] for file_system in told["file_systems"]}
    assert {"workspace", "docker", "root"} <= roles


class TestMetrics:
    async def test_they_tell_of_host_containers_heartbeat_and_docker(self, world: World) -> None:
        await world.launch("lab", LAB)
        found = await samples(world)

        assert found["host_agent_docker_up"] == 1
        assert found["host_agent_containers[('state', 'running')]"] == 2
        assert found["host_agent_heartbeat_enabled"] == 0
        assert found["host_agent_host_memory_percent"] == 20
        assert all(v == 1 for n, v in found.items() if n.startswith("host_agent_scrape_source"))

    async def test_requests_are_counted_by_route_not_by_path(self, world: World) -> None:
        for name in ("a", "b", "c"):
            await world.http.delete(
                f"/agent/containers/{name}", headers={"X-Server-Key": SERVER_KEY}
            )
            await world.http.get(f"/made-up/{name}")

        found = await samples(world)

        counted = {n: v for n, v in found.items() if n.startswith("host_agent_http_requests_total")}
        by_route = [v for n, v in counted.items() if "/agent/containers/{name" in n]
        assert by_route == [3]
        assert [v for n, v in counted.items() if "unmatched" in n] == [3]

    async def test_an_engine_that_is_away_shows(self, world: World) -> None:
        await away(world)

        assert (await samples(world))["host_agent_docker_up"] == 0


class TestDocuments:
    async def test_the_document_lists_every_call(self, world: World) -> None:
        document = (await world.http.get("/openapi.json")).json()

        assert {"/agent/containers", "/agent/containers/{name}", "/health"} <= set(
            document["paths"]
        )
        launch = document["paths"]["/agent/containers"]["post"]
        assert "requestBody" in launch
        assert {"201", "401", "422", "503"} <= set(launch["responses"])

    async def test_the_pages_show_headers_fields_and_lines_to_try(self, world: World) -> None:
        page = (await world.http.get("/docs")).text

        for text in ("Prefer", "Idempotency-Key", "Last-Event-ID", "--data-binary @lab.zip"):
            assert text in page
        assert "-F bundle=@lab.zip -F name=my-lab -F ttl=2h" in page
        assert "<code>isolation</code>" in page

    async def test_the_page_loads_nothing_from_elsewhere(self, world: World) -> None:
        page = await world.http.get("/docs")

        assert page.status_code == 200
        assert "/agent/containers" in page.text
        assert not re.search(r"<script|src=|<link|https?://(?!localhost)", page.text)


class TestProblems:
    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/health", 405)]
    )
    async def test_what_no_route_takes_is_a_problem_document(
        self, world: World, method: str, path: str, status: int
    ) -> None:
        answer = await world.http.request(method, path)

        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]

    @pytest.mark.parametrize(
        "kind", [kind for kind, status in STATUSES.items() if status == 503], ids=lambda k: k.code
    )
    def test_whoever_is_to_come_back_is_told_when(self, kind: type[AgentError]) -> None:
        request: Request[Any, Any, Any] = Request({"type": "http", "path": "/", "state": {}})  # type: ignore[arg-type]

        answer = recorded_problem(request, kind.code, "")

        assert int(answer.headers["Retry-After"]) > 0

    def test_every_failure_has_a_status(self) -> None:
        def family(kind: type[AgentError]) -> set[type[AgentError]]:
            return {kind, *(k for child in kind.__subclasses__() for k in family(child))}

        assert family(AgentError) == set(STATUSES)

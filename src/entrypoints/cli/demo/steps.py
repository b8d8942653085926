"""The steps of the demonstration, each asked of the agent over HTTP."""

import base64
import time
from collections.abc import Callable
from typing import Any

import httpx

from entrypoints.cli.demo.processes import pause

LAB_NAME = "demo-lab"
VPN_PROFILE = b"client\ndev tun\n# a credential, so it stands in the project with mode 0600\n"
HEARTBEAT_SECONDS = 2

ShowStep = Callable[[str, Callable[[], str]], None]
"""Takes a step's title and its work, which gives what it showed."""


class StepWentWrong(Exception):
    """A step did not show what it should."""


class Steps:
    """What the manager does with a lab, from its key to its removal."""

    def __init__(
        self, agent: httpx.Client, server_key: str, beats: Callable[[], list[dict[str, Any]]]
    ) -> None:
        self._agent = agent
        self._agent.headers["X-Server-Key"] = server_key
        self._beats = beats
        self._path = f"/agent/containers/{LAB_NAME}"

    def play(self, show: ShowStep, bundle: bytes, lab_port: int | None) -> None:
        """Shows all steps; the lab's page only where its port is known."""
        show("key", self._key)
        show("deploy", lambda: self._deploy(bundle))
        show("list", self._list)
        if lab_port is not None:
            show("the lab's page", lambda: self._page(lab_port))
        show("resources", self._resources)
        show("heartbeat acknowledged", self._heartbeat)
        show("restart", self._restart)
        show("metrics", self._metrics)
        show("delete", self._delete)

    def _key(self) -> str:
        _expect(httpx.get(self._agent.base_url.join("/agent/containers")), 401)
        _expect(self._agent.get("/agent/containers"), 200)
        return "401 without the key, 200 with it"

    def _deploy(self, bundle: bytes) -> str:
        body = {
            "name": LAB_NAME,
            "docker_zip_base64": base64.b64encode(bundle).decode(),
            "vpn_conf_base64": base64.b64encode(VPN_PROFILE).decode(),
        }
        answer = _expect(self._agent.post("/agent/containers", json=body, timeout=600), 201)
        return f"201 {answer.text}"

    def _list(self) -> str:
        names = self._names()
        _check(len(names) == 2, f"two containers were expected, {names} are there")
        return ", ".join(names)

    def _names(self) -> list[str]:
        rows = _expect(self._agent.get("/agent/containers"), 200).json()
        return [row["name"] for row in rows if LAB_NAME in row["name"]]

    def _page(self, lab_port: int) -> str:
        url = f"http://127.0.0.1:{lab_port}/"
        answer = _expect(httpx.get(url, trust_env=False), 200)
        _check("The lab is up" in answer.text, "the page is not the lab's")
        return f"{url} answers"

    def _resources(self) -> str:
        told = _expect(self._agent.get("/system/resources"), 200).json()
        return f"CPU {told['cpu']['percent']} %, memory {told['memory']['percent']} %"

    def _heartbeat(self) -> str:
        until = time.monotonic() + 10 * HEARTBEAT_SECONDS
        while time.monotonic() < until:
            beats = self._beats()
            if beats and beats[-1]["containers"] >= 2:
                return f"the manager acknowledged {beats[-1]}"
            pause(0.2)
        raise StepWentWrong("no heartbeat told of the lab's containers")

    def _restart(self) -> str:
        return f"200 {_expect(self._agent.post(f'{self._path}/restart'), 200).text}"

    def _metrics(self) -> str:
        text = _expect(self._agent.get("/metrics"), 200).text
        _check("host_agent_docker_up 1.0" in text, "the metrics do not show a runtime that is up")
        return f"{sum(not line.startswith('#') for line in text.splitlines())} samples"

    def _delete(self) -> str:
        answer = _expect(self._agent.delete(self._path), 200)
        _expect(self._agent.delete(self._path), 404)
        _check(not self._names(), "containers are left")
        return f"200 {answer.text}, then 404"


def _expect(answer: httpx.Response, status: int) -> httpx.Response:
    told = f"{status} was expected: {answer.status_code} {answer.text}"
    _check(answer.status_code == status, told)
    return answer


def _check(good: bool, otherwise: str) -> None:
    if not good:
        raise StepWentWrong(otherwise)

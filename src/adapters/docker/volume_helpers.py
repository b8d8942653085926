"""Short-lived containers that see one volume and nothing else."""

import io
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from secrets import token_hex
from typing import Any, TypeVar

import anyio
import msgspec
from docker import APIClient
from docker.types import LogConfig

from adapters.docker.client import EngineClient
from adapters.docker.named import named
from adapters.docker.removal import remove_container
from domain.containers import HELPER_LABEL
from domain.errors import AgentError, EngineUnavailable, ResourceNotFound

T = TypeVar("T")

END_SECONDS = 600.0
"""How long a script may take once it has all that it needs: many files take their time to go."""

_EMPTY_IMAGE = "container-host-agent/empty:latest"
"""Holds nothing; containers of it never run."""

_VOLUME_LABEL = "container-host-agent.volume"
_TASK_LABEL = "container-host-agent.task"
_STAGE_LABEL = "container-host-agent.stage"
_HASTE_SECONDS = 5.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.03, 1.0


class Task(StrEnum):
    """What a helper is there for."""

    READ = "read"
    UNPACK = "unpack"
    REPLACE = "replace"
    DISCARD = "discard"


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a helper runs in its volume."""

    task: Task
    text: str
    stage: str
    """The folder of the volume that it works on, ``$STAGE`` in the script."""
    clear: bool = False
    """Whether what the volume holds may go; ``$CLEAR`` is ``yes`` or ``no``."""


class LeftHelper(msgspec.Struct, frozen=True, kw_only=True):
    """A helper that nobody is at any more."""

    container: str
    volume: str
    task: Task | None
    stage: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a script ended."""

    status: int
    output: str
    """Its last words."""


class VolumeHelpers:
    """Makes helpers, and removes them whatever happens.

    Args:
        client: for short calls.
        owner: tells the helpers of agents on one Engine apart.
    """

    def __init__(self, client: EngineClient, *, owner: str) -> None:
        self._client = client
        self._owner = owner
        self._at_work: set[str] = set()
        self._kept: set[str] = set()

    @asynccontextmanager
    async def reader(self, volume: str) -> AsyncIterator[str]:
        """A container that never runs and may not write; its volume lies at ``/volume``."""

        def create(api: APIClient, name: str) -> None:
            _provide_empty_image(api)
            api.create_container(
                _EMPTY_IMAGE,
                name=name,
                labels=self._labels(volume, Task.READ),
                command=["none"],
                network_disabled=True,
                host_config=_host_config(api, volume, writes=False),
            )

        async with self._container(create) as container:
            yield container

    @asynccontextmanager
    async def writer(self, image: str, volume: str, script: Script) -> AsyncIterator[str]:
        """A container that has not run yet, with a script that may write."""

        def create(api: APIClient, name: str) -> None:
            api.create_container(
                image,
                name=name,
                labels={**self._labels(volume, script.task), _STAGE_LABEL: script.stage},
                entrypoint=["sh", "-c", script.text],
                user="0:0",
                environment={"STAGE": script.stage, "CLEAR": "yes" if script.clear else "no"},
                stdin_open=True,
                healthcheck={"test": ["NONE"]},
                network_disabled=True,
                host_config=_host_config(api, volume, writes=True),
            )

        async with self._container(create) as container:
            yield container

    @asynccontextmanager
    async def _container(self, create: Callable[[APIClient, str], None]) -> AsyncIterator[str]:
        name = f"container-host-agent-volume-{token_hex(8)}"
        self._at_work.add(name)
        try:
            await self._change("looking into a volume", lambda api: create(api, name))
            yield name
        finally:
            try:
                with anyio.CancelScope(shield=True), suppress(AgentError):
                    if name not in self._kept:
                        # By its name, as its identifier may never have come.
                        await self.remove(name)
            finally:
                self._at_work.discard(name)
                self._kept.discard(name)

    def keep(self, container: str, *, kept: bool = True) -> None:
        """Lets a helper stand when its block ends, since what it was there for is to be done."""
        if kept:
            self._kept.add(container)
        else:
            self._kept.discard(container)

    async def start(self, container: str) -> None:
        """Lets a script begin."""
        with named("container", container):
            await self._change("looking into a volume", lambda api: api.start(container))

    async def end(self, container: str) -> Ended:
        """How a script ended, once it has.

        Raises:
            EngineUnavailable: it does not end in time.
        """
        pause = _SHORTEST_PAUSE
        with anyio.move_on_after(END_SECONDS):
            while (status := await self._status(container)) is None:
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            return Ended(status=status, output=await self._output(container))
        raise EngineUnavailable(f"The volume was not written within {END_SECONDS:g} s.")

    async def ended(self, container: str) -> bool:
        """Whether a script has ended."""
        return await self._status(container) is not None

    async def _status(self, container: str) -> int | None:
        row = await self._client.look(
            "looking at a helper", lambda api: api.inspect_container(container)
        )
        ended = row["State"]["Status"] in {"exited", "dead"}
        return int(row["State"]["ExitCode"]) if ended else None

    async def _output(self, container: str) -> str:
        last = await self._client.look(
            "reading what a helper printed", lambda api: api.logs(container, tail=3)
        )
        return str(last.decode(errors="replace")).strip()

    async def run(self, image: str, volume: str, script: Script) -> Ended:
        """Runs a script to its end; its helper stands where nobody knows whether it came to it.

        Whoever cancels this waits a few seconds for that end.
        """
        async with self.writer(image, volume, script) as container:
            try:
                await self.start(container)
                return await self.end(container)
            except AgentError:
                self.keep(container)
                raise
            except anyio.get_cancelled_exc_class():
                if not await self._ends_soon(container):
                    self.keep(container)
                raise

    async def _ends_soon(self, container: str) -> bool:
        with anyio.move_on_after(_HASTE_SECONDS, shield=True), suppress(AgentError):
            await self.end(container)
            return True
        return False

    async def left_over(self) -> Sequence[LeftHelper]:
        """Helpers of the owner that nobody is at, in this life of the agent or an earlier one."""
        at_work = set(self._at_work)
        filters = {"label": f"{HELPER_LABEL}={self._owner}"}
        rows = await self._client.ask(
            "looking for helpers", lambda api: api.containers(all=True, filters=filters)
        )
        return [
            _left(row["Id"], row["Labels"])
            for row in rows
            if (at_work | self._at_work).isdisjoint(n.lstrip("/") for n in row["Names"] or ())
        ]

    async def halt(self, container: str) -> None:
        """Ends what a helper runs, if it runs anything.

        Raises:
            AgentError: it may run on.
        """
        with suppress(ResourceNotFound), named("container", container):
            await self._change("ending a helper", lambda api: api.stop(container, timeout=0))

    async def remove(self, container: str) -> None:
        """Removes a helper, running or not; one that has gone is fine."""
        await self._change("removing a helper", lambda api: remove_container(api, container))

    def _labels(self, volume: str, task: Task) -> dict[str, str]:
        return {
            HELPER_LABEL: self._owner,
            _VOLUME_LABEL: volume,
            _TASK_LABEL: task.value,
        }

    async def _change(self, what: str, work: Callable[[APIClient], T]) -> T:
        return await self._client.change(what, work)


def _left(container: str, labels: Mapping[str, str]) -> LeftHelper:
    task = labels.get(_TASK_LABEL, "")
    known = {member.value: member for member in Task}
    return LeftHelper(
        container=container,
        volume=labels.get(_VOLUME_LABEL, ""),
        task=known.get(task),
        stage=labels.get(_STAGE_LABEL, ""),
    )


def _host_config(api: APIClient, volume: str, *, writes: bool) -> Any:
    return api.create_host_config(
        binds=[f"{volume}:/volume:{'rw' if writes else 'ro'},nocopy"],
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"],
        security_opt=["no-new-privileges"],
        read_only=True,
        log_config=LogConfig(type="json-file", config={"max-size": "64k", "max-file": "1"}),
    )


def _provide_empty_image(api: APIClient) -> None:
    if api.images(_EMPTY_IMAGE):
        return
    nothing = io.BytesIO()
    with tarfile.open(fileobj=nothing, mode="w"):
        pass
    repository, _, tag = _EMPTY_IMAGE.partition(":")
    api.import_image_from_data(nothing.getvalue(), repository=repository, tag=tag)

"""Empties folders of the host with the Engine's rights, from short-lived containers."""

from collections.abc import Collection
from functools import partial
from secrets import token_hex

import anyio
from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.removal import remove_container
from domain.containers import ERASER_LABEL
from domain.errors import AgentError, EngineRefused

# Deletes by folder handles, so that no link that a container left can lead it outside.
_ERASER = (
    "import os, shutil\n"
    "for entry in os.scandir('/erase'):\n"
    "    if entry.is_dir(follow_symlinks=False):\n"
    "        shutil.rmtree(entry.path)\n"
    "    else:\n"
    "        os.unlink(entry.path)\n"
)


async def erase(
    client: EngineClient, image: str, directory: str, owner: str, at_work: set[str]
) -> None:
    """Empties a folder from a container of ``image``, which is marked as the owner's.

    Args:
        client: for the Engine.
        image: has Python.
        directory: the folder.
        owner: tells the erasers of agents on one Engine apart.
        at_work: holds the eraser's name as long as it is waited for.

    Raises:
        EngineUnavailable: the Engine does not answer, or the container takes too long.
        EngineRefused: it does not work.
    """
    name, what = f"container-host-agent-eraser-{token_hex(8)}", f"emptying {directory}"
    at_work.add(name)
    try:
        await client.change(what, partial(_create, image, directory, owner, name))
        await client.change(what, partial(_run, directory, name))
    finally:
        # By its name, as its identifier may never have come.
        with anyio.CancelScope(shield=True):
            try:
                await _remove(client, name)
            finally:
                at_work.discard(name)


async def _remove(client: EngineClient, container: str) -> bool:
    """Whether it goes; it has done its work, so where it does not, ``end_all`` tries again."""
    try:
        await client.change("removing an eraser", lambda api: remove_container(api, container))
    except AgentError:
        return False
    return True


async def end_all(client: EngineClient, owner: str, at_work: Collection[str]) -> int:
    """Removes the containers that an owner's erasing left; how many. Any that hang stay.

    Args:
        client: for the Engine.
        owner: whose they are.
        at_work: names of those that are waited for, which stay.

    Raises:
        EngineUnavailable: the Engine does not answer.
        EngineRefused: it answers with an error.
    """
    label, known = f"{ERASER_LABEL}={owner}", set(at_work)
    rows = await client.ask(
        "listing containers", lambda api: api.containers(all=True, filters={"label": label})
    )
    known |= set(at_work)
    left = [row for row in rows if known.isdisjoint(n.lstrip("/") for n in row["Names"] or ())]
    return sum([await _remove(client, row["Id"]) for row in left])


def _create(image: str, directory: str, owner: str, name: str, api: APIClient) -> None:
    host_config = api.create_host_config(
        binds=[f"{directory}:/erase"],
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["DAC_OVERRIDE", "FOWNER"],
        security_opt=["no-new-privileges"],
        read_only=True,
    )
    api.create_container(
        image,
        name=name,
        labels={ERASER_LABEL: owner},
        entrypoint=["python3", "-c", _ERASER],
        user="0:0",
        host_config=host_config,
        healthcheck={"test": ["NONE"]},
    )


def _run(directory: str, name: str, api: APIClient) -> None:
    api.start(name)
    status = api.wait(name)["StatusCode"]
    if status != 0:
        output = api.logs(name, tail=3).decode(errors="replace").strip()
        raise EngineRefused(f"The files in {directory} could not be removed: {output}")

"""Changes single containers through the Engine."""

from collections.abc import Callable, Sequence
from typing import Any

from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.container_config import configuration
from adapters.docker.named import named, short
from domain.container_orders import ContainerOrder
from domain.errors import EngineRefused, ResourceNotFound
from domain.limits import HeldLimits


class DockerContainerChanges:
    """Changes single containers."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def create(self, order: ContainerOrder, limits: HeldLimits) -> Sequence[str]:
        """Makes a container that does not run yet; what the Engine warns of."""
        body = configuration(order, limits)

        def work(api: APIClient) -> Sequence[str]:
            made: Any = api.create_container_from_config(  # type: ignore[no-untyped-call]
                body, order.name
            )
            for network in order.networks[1:]:
                api.connect_container_to_network(
                    made["Id"],
                    network.name,
                    ipv4_address=network.ipv4_address or None,
                    aliases=list(network.aliases),
                )
            return tuple(made.get("Warnings") or ())

        what = f"creating container {order.name}"
        with named("container", order.name):
            try:
                return await self._client.change(what, work)
            except EngineRefused as fault:
                if fault.status == 404 and fault.reason.lower().startswith("no such image"):
                    raise ResourceNotFound("image", order.image) from fault
                raise

    async def start(self, reference: str) -> None:
        """Lets it run."""
        await self._change("starting", reference, lambda api: api.start(reference))

    async def stop(self, reference: str, grace_seconds: int | None = None) -> None:
        """Tells it to end, and kills it after the grace; returns when it has ended."""
        await self._change(
            "stopping",
            reference,
            lambda api: api.stop(reference, timeout=grace_seconds),
            grace_seconds=grace_seconds,
        )

    async def restart(self, reference: str, grace_seconds: int | None = None) -> None:
        """Stops and starts it."""
        url = f"/containers/{reference}/restart"
        parameters = {} if grace_seconds is None else {"t": grace_seconds}
        await self._change(
            "restarting",
            reference,
            lambda api: _post(api, url, parameters),
            grace_seconds=grace_seconds,
        )

    async def kill(self, reference: str, signal: str) -> None:
        """Sends a signal to its first process."""
        await self._change("killing", reference, lambda api: api.kill(reference, signal))

    async def pause(self, reference: str) -> None:
        """Freezes its processes."""
        await self._change("pausing", reference, lambda api: api.pause(reference))

    async def unpause(self, reference: str) -> None:
        """Lets its processes go on."""
        await self._change("unpausing", reference, lambda api: api.unpause(reference))

    async def rename(self, reference: str, name: str) -> None:
        """Gives it another name."""
        await self._change("renaming", reference, lambda api: api.rename(reference, name))

    async def remove(self, reference: str, *, force: bool, volumes: bool) -> None:
        """Takes it away."""
        await self._change(
            "removing",
            reference,
            lambda api: api.remove_container(reference, v=volumes, force=force),
        )

    async def _change(
        self,
        what: str,
        reference: str,
        work: Callable[[APIClient], object],
        *,
        grace_seconds: int | None = None,
    ) -> None:
        with named("container", reference):
            await self._client.change(
                f"{what} container {short(reference)}", work, more_seconds=grace_seconds or 0
            )


def _post(api: Any, path: str, parameters: dict[str, int]) -> None:
    """docker-py's own restart knows no way to leave the grace to the container."""
    response = api.post(f"{api.base_url}/v{api.api_version}{path}", params=parameters)
    api._raise_for_status(response)  # noqa: SLF001 - its own way to raise its errors

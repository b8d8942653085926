"""The host's networks: ``/api/v1/networks``."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from domain.engine_networks import (
    BRIDGE,
    Attachment,
    Endpoint,
    NetworkDetails,
    NetworkOrder,
    NetworkRange,
)
from domain.usecases.networks import OwnedNetwork
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.bodies import read_json
from entrypoints.http.responses import problems
from entrypoints.http.selection import labelled

AnyRequest = Request[Any, Any, Any]

Limit = Annotated[int, QueryParameter(ge=1, le=5000)]


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """One network."""

    id: str
    name: str
    driver: str
    scope: str
    internal: bool
    """Whether it has no way out."""
    ipv6: bool
    ranges: tuple[NetworkRange, ...]
    labels: Mapping[str, str]
    created_at: datetime | None
    environment: str | None
    """To which it belongs."""


class NetworkList(msgspec.Struct, frozen=True, kw_only=True):
    """Networks, sorted by name."""

    networks: tuple[NetworkView, ...]


class NetworkDetailsView(msgspec.Struct, frozen=True, kw_only=True):
    """One network, and who is attached to it."""

    network: NetworkView
    endpoints: tuple[Endpoint, ...]
    """Of running containers, sorted by name."""


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network that shall be."""

    name: str
    driver: str = BRIDGE
    subnet: str = ""
    """Empty for one out of `NETWORK_POOL`, which the firewall knows."""
    gateway: str = ""
    internal: bool = False
    labels: Mapping[str, str] = {}


class AttachmentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a container joins a network."""

    container: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""


class DetachmentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which container is taken out of a network."""

    container: str
    cut_off: bool = False
    """Also one that the Engine does not know any more."""


class PrunedNetworks(msgspec.Struct, frozen=True, kw_only=True):
    """Networks that went, or would go."""

    dry_run: bool
    networks: tuple[str, ...]
    """Their names, sorted."""


def _view(owned: OwnedNetwork) -> NetworkView:
    network = owned.network
    return NetworkView(
        id=network.id,
        name=network.name,
        driver=network.driver,
        scope=network.scope,
        internal=network.internal,
        ipv6=network.ipv6,
        ranges=network.ranges,
        labels=network.labels,
        created_at=network.created_at,
        environment=owned.environment,
    )


def _details(owned: OwnedNetwork, details: NetworkDetails) -> NetworkDetailsView:
    return NetworkDetailsView(network=_view(owned), endpoints=details.endpoints)


@get("/", responses=problems(401, 422, 502, 503))
async def list_networks(
    request: AnyRequest,
    name: FromQuery[str | None] = None,
    label: FromQuery[list[str] | None] = None,
    environment: FromQuery[str | None] = None,
    limit: Limit = 500,
) -> NetworkList:
    """All networks of the host: `name` a part of the name, `label` as `key` or `key=value`."""
    found = [
        view
        for view in map(_view, await _agent(request).networks.list())
        if (name is None or name in view.name)
        and labelled(view.labels, label)
        and environment in {None, view.environment}
    ]
    return NetworkList(networks=tuple(found[:limit]))


@get("/{reference:str}", responses=problems(401, 404, 409, 422, 502, 503))
async def inspect_network(request: AnyRequest, reference: FromPath[str]) -> NetworkDetailsView:
    """One network and the running containers in it, by name or how its identifier begins."""
    return _details(*await _agent(request).networks.inspect(reference))


@post("/", responses=problems(401, 409, 413, 408, 422, 502, 503))
async def create_network(request: AnyRequest) -> Response[NetworkDetailsView]:
    """Makes a network; its addresses come from the agent's own pool where none are named."""
    wanted = await read_json(request, NetworkRequest)
    tell(request, target=wanted.name)
    order = NetworkOrder(
        name=wanted.name,
        driver=wanted.driver,
        subnet=wanted.subnet,
        gateway=wanted.gateway,
        internal=wanted.internal,
        labels=wanted.labels,
    )
    view = _details(*await _agent(request).networks.create(order))
    return Response(
        view, status_code=201, headers={"location": f"/api/v1/networks/{view.network.id}"}
    )


@post("/{reference:str}/connect", responses=problems(401, 404, 408, 409, 413, 422, 502, 503))
async def connect_container(
    request: AnyRequest, reference: FromPath[str], force: FromQuery[bool] = False
) -> Response[NetworkDetailsView]:
    """Lets a container join; `force=true` also the network of an environment."""
    wanted = await read_json(request, AttachmentRequest)
    attachment = Attachment(
        container=wanted.container, aliases=wanted.aliases, ipv4_address=wanted.ipv4_address
    )
    networks = _agent(request).networks
    await networks.connect(reference, attachment, force=force)
    return Response(_details(*await networks.inspect(reference)), status_code=200)


@post("/{reference:str}/disconnect", responses=problems(401, 404, 408, 409, 413, 422, 502, 503))
async def disconnect_container(
    request: AnyRequest, reference: FromPath[str], force: FromQuery[bool] = False
) -> Response[NetworkDetailsView]:
    """Takes a container out; `force=true` also out of the network of an environment."""
    wanted = await read_json(request, DetachmentRequest)
    networks = _agent(request).networks
    await networks.disconnect(reference, wanted.container, cut_off=wanted.cut_off, force=force)
    return Response(_details(*await networks.inspect(reference)), status_code=200)


@delete("/{reference:str}", status_code=204, responses=problems(401, 404, 409, 422, 502, 503))
async def remove_network(
    request: AnyRequest, reference: FromPath[str], force: FromQuery[bool] = False
) -> None:
    """Removes a network that nobody is in; `force=true` also one of an environment."""
    await _agent(request).networks.remove(reference, force=force)


@post("/prune", responses=problems(401, 422, 502, 503))
async def prune_networks(
    request: AnyRequest, dry_run: FromQuery[bool] = False
) -> Response[PrunedNetworks]:
    """Removes networks that nobody is in and no environment owns; `dry_run` tells which."""
    gone = await _agent(request).networks.prune(dry_run=dry_run)
    names = tuple(network.name for network in gone)
    return Response(PrunedNetworks(dry_run=dry_run, networks=names), status_code=200)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/networks",
    route_handlers=[
        list_networks,
        create_network,
        prune_networks,
        inspect_network,
        connect_container,
        disconnect_container,
        remove_network,
    ],
    tags=["networks"],
    security=[{"serverKey": []}],
)

"""The host's networks: ``/api/v1/networks``."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import QueryParameter

from domain.engine_networks import (
    BRIDGE,
    Attachment,
    Endpoint,
    NetworkDetails,
    NetworkOrder,
    NetworkRange,
)
from domain.usecases.network_pruning import NetworkPruneWish, PrunedNetworks
from domain.usecases.networks import NetworkFilter, OwnedNetwork
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.bodies import read_json
from entrypoints.http.documented_bodies import takes_json
from entrypoints.http.moments import ago
from entrypoints.http.parameters import (
    DryRun,
    Force,
    Labels,
    Limit,
    NamePart,
    NetworkReference,
    OfDriver,
    OfEnvironment,
    OlderThan,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


_NETWORK_EXAMPLE = {
    "name": "course-web",
    "internal": True,
    "labels": {"course": "web-101"},
}
_CONNECT_EXAMPLE = {
    "container": "web-101",
    "aliases": ["web", "www.course.example"],
    "ipv4_address": "10.213.4.10",
}
_DISCONNECT_EXAMPLE = {"container": "web-101"}


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
    options: Mapping[str, str]
    """What its driver was told."""
    created_at: datetime | None
    environment: str | None
    """To which it belongs."""


class NetworkList(msgspec.Struct, frozen=True, kw_only=True):
    """Networks, sorted by name."""

    networks: tuple[NetworkView, ...]
    total: int
    """How many there are, with those beyond `limit`."""


class NetworkDetailsView(NetworkView, frozen=True, kw_only=True):
    """One network, and who is attached to it."""

    endpoints: tuple[Endpoint, ...]
    """Of all containers that are in it, stopped ones too, sorted by name."""


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network that shall be."""

    name: str
    driver: str = BRIDGE
    subnet: str = ""
    """Empty for one out of `NETWORK_POOL`, which the firewall knows."""
    gateway: str = ""
    internal: bool = False
    """Whether nothing in it shall have a way out."""
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    """For its driver, such as `com.docker.network.driver.mtu`."""


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
        options=network.options,
        created_at=network.created_at,
        environment=owned.environment,
    )


def _details(owned: OwnedNetwork, details: NetworkDetails) -> NetworkDetailsView:
    view = msgspec.structs.asdict(_view(owned))
    return NetworkDetailsView(**view, endpoints=details.endpoints)


@get("/", responses=problems(401, 422, 502, 503))
async def list_networks(
    request: AnyRequest,
    name: NamePart = "",
    label: Labels = (),
    driver: OfDriver = "",
    environment: OfEnvironment = "",
    unused: Annotated[
        bool | None,
        QueryParameter(
            description="`true` lists only those that no container is in, stopped ones counted; "
            "`false` only others."
        ),
    ] = None,
    limit: Limit = 500,
) -> NetworkList:
    """All networks of the host, Docker's own too, sorted by name.

    `name` is a part of the name; `label=key` and `label=key=value` may come several times;
    `environment` is one that they belong to. `unused=true` are those that no container is in,
    stopped ones counted.
    """
    wanted = NetworkFilter(
        name=name,
        labels=label,
        driver=driver,
        environment=environment,
        unused=unused,
    )
    found = await _agent(request).networks.host.list(wanted)
    return NetworkList(networks=tuple(map(_view, found[:limit])), total=len(found))


@get("/{reference:str}", responses=problems(401, 404, 409, 422, 502, 503))
async def inspect_network(request: AnyRequest, reference: NetworkReference) -> NetworkDetailsView:
    """One network and the containers in it, by its name or how its identifier begins."""
    return _details(*await _agent(request).networks.host.inspect(reference))


@post(
    "/",
    status_code=201,
    operation_class=takes_json(NetworkRequest, _NETWORK_EXAMPLE),
    responses=problems(401, 408, 409, 413, 422, 502, 503),
)
async def create_network(request: AnyRequest) -> Response[NetworkDetailsView]:
    """Makes a network, held to the same policy as those of bundles: 422 with every finding.

    Without a `subnet` its addresses come from `NETWORK_POOL`, whose networks the firewall keeps
    from the host and from each other; containers of this API join no others. A chosen `subnet` may
    overlap neither the pool, nor what the host itself needs, nor another network.
    """
    wanted = await read_json(request, NetworkRequest)
    tell(request, target=wanted.name)
    order = NetworkOrder(
        name=wanted.name,
        driver=wanted.driver,
        subnet=wanted.subnet,
        gateway=wanted.gateway,
        internal=wanted.internal,
        labels=wanted.labels,
        options=wanted.options,
    )
    view = _details(*await _agent(request).networks.host.create(order))
    return Response(view, status_code=201, headers={"location": f"/api/v1/networks/{view.id}"})


@post(
    "/{reference:str}/connect",
    status_code=200,
    operation_class=takes_json(AttachmentRequest, _CONNECT_EXAMPLE),
    responses=problems(401, 404, 408, 409, 413, 422, 502, 503),
)
async def connect_container(
    request: AnyRequest, reference: NetworkReference, force: Force = False
) -> Response[NetworkDetailsView]:
    """Lets a container join, with `aliases` and a fixed `ipv4_address` where it shall have them.

    `force=true` also where the network or the container belongs to an environment.
    """
    wanted = await read_json(request, AttachmentRequest)
    attachment = Attachment(
        container=wanted.container, aliases=wanted.aliases, ipv4_address=wanted.ipv4_address
    )
    networks = _agent(request).networks
    await networks.joining.connect(reference, attachment, force=force)
    return Response(_details(*await networks.host.inspect(reference)))


@post(
    "/{reference:str}/disconnect",
    status_code=200,
    operation_class=takes_json(DetachmentRequest, _DISCONNECT_EXAMPLE),
    responses=problems(401, 404, 408, 409, 413, 422, 502, 503),
)
async def disconnect_container(
    request: AnyRequest, reference: NetworkReference, force: Force = False
) -> Response[NetworkDetailsView]:
    """Takes a container out; `force=true` also where one of both belongs to an environment."""
    wanted = await read_json(request, DetachmentRequest)
    networks = _agent(request).networks
    await networks.joining.disconnect(
        reference, wanted.container, cut_off=wanted.cut_off, force=force
    )
    return Response(_details(*await networks.host.inspect(reference)))


@delete("/{reference:str}", status_code=204, responses=problems(401, 404, 409, 422, 502, 503))
async def remove_network(
    request: AnyRequest, reference: NetworkReference, force: Force = False
) -> None:
    """Removes a network that nobody is in; `force=true` also one of an environment."""
    await _agent(request).networks.host.remove(reference, force=force)


@post("/prune", status_code=200, responses=problems(401, 422, 502, 503))
async def prune_networks(
    request: AnyRequest,
    dry_run: DryRun = False,
    label: Labels = (),
    older_than: OlderThan = None,
) -> PrunedNetworks:
    """Removes networks that no container is in, stopped ones counted, and no environment owns.

    `dry_run=true` only tells which would go. `label=key` or `label=key=value` and `older_than=24h`
    leave others out. What could not go stands in `kept`, with the reason.
    """
    agent = _agent(request)
    before = None if older_than is None else ago(agent, older_than)
    wish = NetworkPruneWish(labels=label, before=before, dry_run=dry_run)
    return await agent.networks.pruning.prune(wish)


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

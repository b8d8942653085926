"""Credentials that are kept for registries: ``/api/v1/registries``."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, put
from litestar.params import QueryParameter

from domain.registry_credentials import KeptRegistry, RegistryCredentials
from entrypoints.agent import Agent
from entrypoints.http.bodies import read_json
from entrypoints.http.documented_bodies import takes_json
from entrypoints.http.parameters import (
    RegistryInPath,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


class CredentialsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user name with its password, or an identity token."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def parsed(self) -> RegistryCredentials:
        """The same, as the agent holds it."""
        return RegistryCredentials(
            username=self.username, password=self.password, identity_token=self.identity_token
        )

    def __repr__(self) -> str:
        """Nothing that could be read in a log."""
        return repr(self.parsed())


class RegistryList(msgspec.Struct, frozen=True, kw_only=True):
    """Registries that credentials are kept for, sorted; never the credentials."""

    registries: tuple[KeptRegistry, ...]


@get("/", responses=problems(401, 422, 500, 503))
async def list_registries(request: AnyRequest) -> RegistryList:
    """The registries that credentials are kept for, and for which user."""
    return RegistryList(registries=tuple(await _agent(request).images.registries.list()))


@put(
    "/{registry:str}",
    operation_class=takes_json(CredentialsRequest, {"username": "jana", "password": "…"}),
    responses=problems(401, 403, 408, 413, 422, 500, 502, 503, 504, 507),
)
async def keep_registry(
    request: AnyRequest,
    registry: RegistryInPath,
    check: Annotated[
        bool, QueryParameter(description="`false` keeps them without trying them at the registry.")
    ] = True,
) -> Response[KeptRegistry]:
    """Keeps credentials for a registry (`docker.io`, `registry.example.com`, `10.0.0.5:5000`).

    They are tried first, unless `check=false`. Pulls take them, and deploys whose images come from
    there. They are never shown again.
    """
    wanted = await read_json(request, CredentialsRequest)
    kept = await _agent(request).images.registries.keep(registry, wanted.parsed(), check=check)
    return Response(kept, status_code=200)


@delete("/{registry:str}", status_code=204, responses=problems(401, 404, 422, 500, 503, 507))
async def forget_registry(request: AnyRequest, registry: RegistryInPath) -> None:
    """Forgets the credentials of a registry."""
    await _agent(request).images.registries.forget(registry)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/registries",
    route_handlers=[list_registries, keep_registry, forget_registry],
    tags=["registries"],
    security=[{"serverKey": []}],
)

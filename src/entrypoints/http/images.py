"""The host's images: ``/api/v1/images``.

Names of images hold slashes, so that one stands at the end of a path, where it is the rest of it.
Other calls about images have a path that is no further divided: ``/images/tag``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import QueryParameter

from domain.engine_images import (
    EngineImage,
    HistoryStep,
    ImageConfig,
    ImageDetails,
    ImageRemoval,
    ImageUsers,
)
from domain.usecases.host_images import ImageFilter
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.bodies import read_json
from entrypoints.http.documented_bodies import takes_json
from entrypoints.http.parameters import (
    DryRun,
    Force,
    Fresh,
    ImageReference,
    Labels,
    Limit,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """One image, and who uses it."""

    id: str
    repo_tags: tuple[str, ...]
    """Names with their tags, sorted."""
    repo_digests: tuple[str, ...]
    """Names with the digest by which a registry knows it."""
    created_at: datetime | None
    size_bytes: int
    """Of all its layers."""
    shared_bytes: int
    """Of those of its layers that other images of this host have, too."""
    labels: Mapping[str, str]
    dangling: bool
    """Whether no name leads to it any more."""
    used_by: ImageUsers


class ImageList(msgspec.Struct, frozen=True, kw_only=True):
    """Images, sorted by name; those without one come last."""

    images: tuple[ImageView, ...]
    total: int
    """How many there are, with those beyond `limit`."""


class ImageDetailsView(msgspec.Struct, frozen=True, kw_only=True):
    """All about one image."""

    id: str
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created_at: datetime | None
    size_bytes: int
    labels: Mapping[str, str]
    architecture: str
    variant: str
    os: str
    author: str
    comment: str
    config: ImageConfig
    """What its containers begin with."""
    layers: tuple[str, ...]
    """Digests, the lowest first."""
    history: tuple[HistoryStep, ...]
    """How it came to be, the newest step first."""
    used_by: ImageUsers


class TagRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One name more for an image."""

    source: str
    """A name or identifier that the image has."""
    target: str
    """The name that it shall have, too."""


class PrunedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image that went, or would go."""

    id: str
    repo_tags: tuple[str, ...]
    size_bytes: int


class ImagePruneResult(msgspec.Struct, frozen=True, kw_only=True):
    """What went, or would go."""

    dry_run: bool
    images: tuple[PrunedImage, ...]
    """By name."""
    reclaimed_bytes: int
    """What their layers take up that no image has which stays."""


def _view(image: EngineImage, users: ImageUsers) -> ImageView:
    return ImageView(
        id=image.id,
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        created_at=image.created_at,
        size_bytes=image.size_bytes,
        shared_bytes=image.shared_bytes,
        labels=image.labels,
        dangling=image.dangling,
        used_by=users,
    )


def _details(details: ImageDetails, users: ImageUsers) -> ImageDetailsView:
    image = details.image
    return ImageDetailsView(
        id=image.id,
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        created_at=image.created_at,
        size_bytes=image.size_bytes,
        labels=image.labels,
        architecture=details.architecture,
        variant=details.variant,
        os=details.os,
        author=details.author,
        comment=details.comment,
        config=details.config,
        layers=details.layers,
        history=details.history,
        used_by=users,
    )


@get("/", responses=problems(401, 422, 502, 503))
async def list_images(
    request: AnyRequest,
    name: Annotated[
        str | None, QueryParameter(description="Only those with this in one of their names.")
    ] = None,
    label: Labels = (),
    dangling: Annotated[
        bool | None,
        QueryParameter(
            description="`true` lists only those that no name leads to, `false` only others."
        ),
    ] = None,
    unused: Annotated[
        bool | None,
        QueryParameter(
            description="`true` lists only those that no container was made from and no "
            "environment would start, `false` only others."
        ),
    ] = None,
    fresh: Fresh = False,
    limit: Limit = 500,
) -> ImageList:
    """All images of the host, and who uses each.

    `name` is a part of a name, `label` a `key` or `key=value`. `dangling` are those that no name
    leads to, `unused` those that no container was made from and no environment would start.
    Containers are as the Engine last told; `fresh=true` asks it now.
    """
    wanted = ImageFilter(name=name, labels=label, dangling=dangling, unused=unused)
    found = await _agent(request).images.host.list(wanted, fresh=fresh)
    return ImageList(
        images=tuple(_view(one.image, one.users) for one in found[:limit]), total=len(found)
    )


@get("/{image:path}", responses=problems(401, 404, 409, 422, 502, 503))
async def inspect_image(
    request: AnyRequest, image: ImageReference, fresh: Fresh = False
) -> ImageDetailsView:
    """One image: its configuration, layers, history, and who uses it (`fresh=true` asks now)."""
    found = await _agent(request).images.host.inspect(_reference(image), fresh=fresh)
    return _details(*found)


@post(
    "/tag",
    status_code=200,
    operation_class=takes_json(TagRequest, {"source": "busybox", "target": "labs/shell:2"}),
    responses=problems(401, 404, 408, 409, 413, 422, 502, 503),
)
async def tag_image(request: AnyRequest, force: Force = False) -> Response[ImageView]:
    """Gives an image one name more, which until now may have been another's.

    `force=true` also where an environment counts on what the name means now. Names that the agent
    gives to what it builds, and that of its own image, cannot be given.
    """
    wanted = await read_json(request, TagRequest)
    tell(request, target=wanted.target)
    named = await _agent(request).images.host.tag(wanted.source, wanted.target, force=force)
    return Response(_view(named.image, named.users))


@delete("/{image:path}", status_code=200, responses=problems(401, 404, 409, 422, 502, 503))
async def remove_image(
    request: AnyRequest, image: ImageReference, force: Force = False
) -> ImageRemoval:
    """Takes a name away, and the image with it when that was its last; an identifier takes it all.

    409 while a container or an environment needs it. `force=true` overrides that, but for running
    containers.
    """
    reference = _reference(image)
    tell(request, target=reference)
    return await _agent(request).images.host.remove(reference, force=force)


@post("/prune", status_code=200, responses=problems(401, 422, 502, 503))
async def prune_images(
    request: AnyRequest,
    all_unused: Annotated[
        bool,
        QueryParameter(
            name="all",
            description="`true` takes all that nobody uses, not only those without a name.",
        ),
    ] = False,
    label: Labels = (),
    dry_run: DryRun = False,
) -> Response[ImagePruneResult]:
    """Removes dangling images, or with `all=true` all that nobody uses; `dry_run` tells which.

    What containers, environments, stopped ones too, and changes under way need always stays.
    """
    pruning, labels = _agent(request).images.pruning, label
    work = pruning.plan if dry_run else pruning.prune
    done = await work(all_unused=all_unused, labels=labels)
    result = ImagePruneResult(
        dry_run=dry_run,
        images=tuple(
            PrunedImage(id=i.id, repo_tags=i.repo_tags, size_bytes=i.size_bytes)
            for i in done.images
        ),
        reclaimed_bytes=done.reclaimed_bytes,
    )
    return Response(result)


def _reference(path: str) -> str:
    return path.removeprefix("/")


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/images",
    route_handlers=[list_images, tag_image, prune_images, inspect_image, remove_image],
    tags=["images"],
    security=[{"serverKey": []}],
)

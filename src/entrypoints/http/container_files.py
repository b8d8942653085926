"""Files and folders of one container, to be read only."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from email.utils import format_datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Request, get
from litestar.background_tasks import BackgroundTask
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.container_streams import FileKind, FileStatus
from domain.errors import RequestUnreadable
from domain.ports.container_files import OpenFile
from entrypoints.agent import Agent
from entrypoints.http.parameters import (
    ContainerReference,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_BYTES = "application/octet-stream"
_TAR = "application/x-tar"


class FileForm(StrEnum):
    """How something is given."""

    RAW = "raw"
    """The bytes of one regular file."""
    TAR = "tar"
    """A tar archive, as Docker gives it."""


@get(
    "/{reference:str}/files",
    media_type=_BYTES,
    responses={
        200: ResponseSpec(
            bytes,
            description="The bytes of a file, or a tar archive; `X-File-Size`, `X-File-Mode` and "
            "`Last-Modified` tell of what stands at the path.",
            media_type=_BYTES,
            generate_examples=False,
        ),
        **problems(401, 404, 409, 422, 502, 503),
    },
)
async def read_files(
    request: AnyRequest,
    reference: ContainerReference,
    path: Annotated[
        str,
        QueryParameter(
            min_length=1,
            max_length=4096,
            description="A file or folder as seen from the container's root; begins with a slash.",
        ),
    ],
    form: Annotated[
        FileForm | None,
        QueryParameter(
            description="`raw` for the bytes of a file, `tar` for an archive; left out, files "
            "come raw and folders as tar."
        ),
    ] = None,
) -> Stream:
    """A file or folder of a container, running or not: `path` as seen from its root.

    A regular file comes as it is, with `Content-Length`, and a folder as a tar archive; `form=tar`
    gives an archive of anything. Links are followed within the container. Nothing can be written.
    While it is read, the Engine can do nothing else to the container, so who pauses for 10 s is
    cut off.
    """
    agent: Agent = request.app.state.agent
    if "\0" in path or not path.startswith("/"):
        raise RequestUnreadable(
            "The path cannot be one of a container.", hint="Begin it with a slash."
        )
    container = await agent.containers.access.readable(reference)
    async with AsyncExitStack() as stack:
        opened, chosen = await _open(agent, stack, container.id, path, form)
        # Closed by whoever reads it to its end, or after the answer where nobody began to.
        kept = stack.pop_all()
    return Stream(
        _content(kept, opened),
        headers=_headers(opened.status, chosen),
        background=BackgroundTask(kept.aclose),
    )


async def _open(
    agent: Agent, stack: AsyncExitStack, container_id: str, path: str, form: FileForm | None
) -> tuple[OpenFile, FileForm]:
    files = agent.containers.files
    if form is None:
        status = await files.status(container_id, path)
        if status.kind is FileKind.LINK:
            path = status.link_target
            status = await files.status(container_id, path)
        form = FileForm.RAW if status.kind is FileKind.FILE else FileForm.TAR
    reading = files.regular if form is FileForm.RAW else files.tar
    return await stack.enter_async_context(reading(container_id, path)), form


def _headers(status: FileStatus, form: FileForm) -> dict[str, str]:
    raw = form is FileForm.RAW
    name = status.name.strip("/") or "root"
    headers = {
        "content-type": _BYTES if raw else _TAR,
        "content-disposition": "attachment; filename*=UTF-8''"
        + quote(name if raw else f"{name}.tar", safe=""),
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-file-size": str(status.size_bytes),
        "x-file-mode": f"{status.mode:04o}",
    }
    if status.modified_at is not None:
        headers["last-modified"] = format_datetime(status.modified_at, usegmt=True)
    if raw:
        headers["content-length"] = str(status.size_bytes)
    return headers


async def _content(stack: AsyncExitStack, opened: OpenFile) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in opened.content:
            yield piece

"""This API, to read: as an OpenAPI document and as a page."""

from typing import Any, NamedTuple

import anyio
import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.concurrency import sync_to_thread

from entrypoints.http.auth import MONITORING
from entrypoints.http.docs import render_page
from entrypoints.http.published_document import published

AnyRequest = Request[Any, Any, Any]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class _Written(NamedTuple):
    document: bytes
    page: bytes


class Pages:
    """What is to be read of one application; written once, as it never changes."""

    def __init__(self) -> None:
        self._one_at_a_time = anyio.Lock()
        self._written: _Written | None = None

    async def written(self, app: Litestar) -> _Written:
        """Document and page."""
        async with self._one_at_a_time:
            if self._written is None:
                # It takes the better part of a second, which others must not wait for.
                self._written = await sync_to_thread(_write, app)
            return self._written


def _write(app: Litestar) -> _Written:
    document = published(app.openapi_schema.to_schema())
    return _Written(document=msgspec.json.encode(document), page=render_page(document).encode())


@get("/openapi.json", opt=MONITORING, include_in_schema=False)
async def openapi(request: AnyRequest) -> Response[bytes]:
    """This API as an OpenAPI document."""
    return Response((await _written(request)).document, media_type=MediaType.JSON)


@get("/docs", opt=MONITORING, include_in_schema=False)
async def docs(request: AnyRequest) -> Response[bytes]:
    """This API to read; the page needs nothing from elsewhere."""
    headers = {"content-security-policy": _POLICY, "content-type": "text/html; charset=utf-8"}
    page = (await _written(request)).page
    return Response(page, headers=headers)


async def _written(request: AnyRequest) -> _Written:
    pages: Pages = request.app.state.pages
    return await pages.written(request.app)


router = Router(path="/", route_handlers=[openapi, docs])

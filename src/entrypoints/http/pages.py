"""This API, to read: as an OpenAPI document and as a page."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, Router, get
from litestar.concurrency import sync_to_thread

from entrypoints.http.auth import MONITORING
from entrypoints.http.docs import render_page
from entrypoints.http.published_document import published

AnyRequest = Request[Any, Any, Any]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@get("/openapi.json", opt=MONITORING, include_in_schema=False)
async def openapi(request: AnyRequest) -> Response[bytes]:
    """This API as an OpenAPI document."""
    document = msgspec.json.encode(await _document(request))
    return Response(document, media_type=MediaType.JSON)


@get("/docs", opt=MONITORING, include_in_schema=False)
async def docs(request: AnyRequest) -> Response[str]:
    """This API to read; the page needs nothing from elsewhere."""
    page = render_page(await _document(request))
    return Response(page, media_type=MediaType.HTML, headers={"content-security-policy": _POLICY})


async def _document(request: AnyRequest) -> dict[str, Any]:
    schema = request.app.openapi_schema
    return await sync_to_thread(lambda: published(schema.to_schema()))


router = Router(path="/", route_handlers=[openapi, docs])

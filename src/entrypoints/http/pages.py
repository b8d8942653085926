"""This API, to read: as an OpenAPI document and as a page."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, Router, get

from entrypoints.http.auth import MONITORING
from entrypoints.http.docs import render_page
from entrypoints.http.published_document import published

AnyRequest = Request[Any, Any, Any]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@get("/openapi.json", opt=MONITORING, include_in_schema=False)
async def openapi(request: AnyRequest) -> Response[bytes]:
    """This API as an OpenAPI document."""
    document = msgspec.json.encode(published(request.app.openapi_schema.to_schema()))
    return Response(document, media_type=MediaType.JSON)


@get("/docs", opt=MONITORING, include_in_schema=False)
async def docs(request: AnyRequest) -> Response[str]:
    """This API to read; the page needs nothing from elsewhere."""
    page = render_page(published(request.app.openapi_schema.to_schema()))
    return Response(page, media_type=MediaType.HTML, headers={"content-security-policy": _POLICY})


router = Router(path="/", route_handlers=[openapi, docs])

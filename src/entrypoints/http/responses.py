"""How failures stand in the OpenAPI document."""

from collections.abc import Mapping
from http import HTTPStatus

from litestar.openapi.datastructures import ResponseSpec

from entrypoints.http.problems import MEDIA_TYPE, Problem

_MEANINGS = {
    401: "The server key is missing or wrong.",
    400: "What was received is not what its digest says.",
    403: "The registry does not give it to whoever asks with these credentials.",
    404: "There is no such thing.",
    408: "The request did not arrive in time.",
    409: "It stands in the way of something else, or a later request took its place.",
    413: "The request is too large.",
    422: "The request, or the bundle in it, cannot be used as it is; `detail` says why.",
    500: "The agent could not do it; `detail` says why.",
    502: "The Docker Engine answered with an error.",
    503: "Not now; `Retry-After` says when to try again.",
    504: "A step took too long.",
    507: "The disk is full.",
}


def problems(*statuses: int) -> Mapping[int, ResponseSpec]:
    """The problem documents that a route may answer with; where the Engine refuses, its disk may
    be full, too.
    """
    full = {HTTPStatus.INSUFFICIENT_STORAGE} if HTTPStatus.BAD_GATEWAY in statuses else set()
    return {
        status: ResponseSpec(
            Problem,
            description=_MEANINGS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({*statuses, *full})
    }

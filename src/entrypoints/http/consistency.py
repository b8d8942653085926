"""Whether records, Engine and disk agree: ``/api/v1/system/consistency``."""

from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.params import QueryParameter

from domain.consistency import ConsistencyReport
from entrypoints.agent import Agent
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


@get("/", responses=problems(401, 422, 500, 502, 503, 507))
async def consistency(
    request: AnyRequest,
    fresh: Annotated[
        bool,
        QueryParameter(
            description="`true` looks now; else the answer is what the last look found."
        ),
    ] = False,
) -> ConsistencyReport:
    """What records, Engine and disk say differently, and what was healed; `fresh` looks now.

    The agent looks every few minutes, and as soon as the Engine answers again after it was away.
    """
    agent: Agent = request.app.state.agent
    if fresh and agent.operations.accepting:
        return await agent.consistency.look()
    return agent.consistency.report


router = Router(
    path="/api/v1/system/consistency",
    route_handlers=[consistency],
    tags=["system"],
    security=[{"serverKey": []}],
)

"""Commands that are run in one container, to their end."""

from typing import Any

from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from entrypoints.agent import Agent
from entrypoints.http.bodies import read_json
from entrypoints.http.disconnects import while_connected
from entrypoints.http.documented_bodies import takes_json
from entrypoints.http.exec_requests import ANSWER, EXAMPLE, ExecRequest, ExecResult, result
from entrypoints.http.parameters import (
    ContainerReference,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


@post(
    "/{reference:str}/exec",
    status_code=200,
    operation_class=takes_json(ExecRequest, EXAMPLE),
    responses={
        200: ResponseSpec(
            ExecResult,
            description="The command has ended, or its time has run out.",
            generate_examples=False,
            examples=[Example(value=ANSWER)],
        ),
        **problems(401, 404, 408, 409, 413, 422, 502, 503),
    },
)
async def run_command(request: AnyRequest, reference: ContainerReference) -> ExecResult:
    """Runs a command in a container, and tells how it ended and what it printed.

    200 whatever its exit code; 422 where it cannot be run at all: no such program, user or folder
    in the container. After `timeout` it is ended, as it is when the caller goes away;
    `may_run_on` says where that could not be made certain. Beyond `output_limit` its output is
    counted and not kept.
    """
    agent: Agent = request.app.state.agent
    asked = await read_json(request, ExecRequest)
    order, seconds, most_bytes = asked.order(), asked.most_seconds(), asked.most_bytes()
    run = await while_connected(
        request,
        lambda: agent.containers.execution.run(
            reference, order, seconds=seconds, most_bytes=most_bytes
        ),
    )
    return result(run, asked.encoding)

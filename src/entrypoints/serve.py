"""Runs the agent: the server and the workers in one task group, and an orderly end."""

import asyncio
import signal
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc
import uvicorn

from domain.errors import AgentError
from entrypoints.agent import Agent
from entrypoints.composition.agent import open_agent
from entrypoints.connections import allow_many_files, bounded_protocol, limits_within
from entrypoints.http.app import create_app
from entrypoints.look_ups import LookUps
from entrypoints.prometheus import PrometheusExposition
from entrypoints.settings import Settings
from entrypoints.urgency import go_first
from entrypoints.websockets import WEBSOCKETS
from entrypoints.workers import run_workers

_LAST_ANSWERS_SECONDS = 5
"""How long answers may still take once all operations have ended."""

_CUT_OFF_SECONDS = 1.0
"""How long those may take to end that were cut off then."""


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals.

    It raises a signal again after its shutdown, which would end the process before the workers
    have ended.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to ``_end_on_signal``."""
        yield


async def serve(settings: Settings) -> None:
    """Serves until told to stop by SIGTERM or SIGINT.

    A worker that dies ends it with an exception group, so that a restart policy can act.

    Raises:
        OSError: the port cannot be opened; nothing was touched then.
    """
    # First of all: a second agent on this host must not set about recovering the first one's work.
    listener = listen(settings.api_host, settings.api_port)
    go_first()
    asyncio.get_running_loop().set_default_executor(LookUps())
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_agent(settings) as agent:
            app = create_app(agent, PrometheusExposition(agent))
            server = _Server(_configuration(app, settings))
            _announce(agent)
            async with anyio.create_task_group() as group:
                group.start_soon(_end_on_signal, agent, server, signals)
                group.start_soon(run_workers, agent)
                await server.serve(sockets=[listener])
                await _cut_off(server)
                group.cancel_scope.cancel()
            await _write_rest(agent)
            agent.log.info("agent ends")


async def _cut_off(server: uvicorn.Server) -> None:
    """Returns when requests that were cut off have ended, so that the audit trail has them."""
    with anyio.move_on_after(_CUT_OFF_SECONDS):
        while server.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody
            await anyio.sleep(0.02)


async def _write_rest(agent: Agent) -> None:
    try:
        with anyio.move_on_after(_LAST_ANSWERS_SECONDS):
            await agent.operations.write_ends()
            await agent.audit.flush()
    except AgentError as fault:
        agent.log.warning("last records are in the log only", reason=fault.detail)


def listen(host: str, port: int) -> socket.socket:
    """The socket that the agent serves.

    Raises:
        OSError: the port cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # Connections inherit it. Else the second half of an answer waits until the client has
    # acknowledged the first, which clients put off for 40 ms; asyncio sees to that only for sockets
    # that it made itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _configuration(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # Litestar's and uvicorn's names for the same ASGI types
        host=settings.api_host,
        port=settings.api_port,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Else whoever speaks to it from this host, container or proxy, could name any address.
        proxy_headers=False,
        http=bounded_protocol(limits_within(allow_many_files())),
        **WEBSOCKETS,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
    )


def _announce(agent: Agent) -> None:
    settings = agent.settings
    agent.log.info(
        "agent starts",
        version=agent.version,
        port=settings.api_port,
        runtime=settings.runtime,
        compose=agent.compose_version,
    )
    if not settings.server_key and not settings.jwt_secret:
        agent.log.warning("no key is set, only open calls are answered; set SERVER_KEY")
    if settings.jwt_secret and len(settings.jwt_secret) < 32:
        agent.log.warning("JWT_SECRET is shorter than 32 characters and can be guessed")
    if settings.runtime == "docker" and not agent.compose_version:
        agent.log.error("docker compose is not installed, nothing can be deployed")
    if settings.runtime == "docker" and _is_open(Path(settings.workspace_dir)):
        # Containers can leave programs there that run as root whoever starts them.
        agent.log.warning(
            "other users of this host can enter WORKSPACE_DIR; chmod 0700 it",
            path=settings.workspace_dir,
        )
    if settings.manager_url.startswith("http://"):
        agent.log.warning("MANAGER_URL is not https, the server key crosses the network in clear")


def _is_open(folder: Path) -> bool:
    """Whether others than its owner and its group can enter a folder."""
    with suppress(OSError):
        return bool(folder.stat().st_mode & stat.S_IXOTH)
    return False


async def _end_on_signal(
    agent: Agent, server: uvicorn.Server, signals: AsyncIterator[signal.Signals]
) -> None:
    number = await anext(signals)
    agent.log.info("agent is told to stop", signal=number.name, operations=agent.operations.count)
    async with anyio.create_task_group() as group:
        group.start_soon(_hasten_on_signal, agent, signals)
        await wind_up(agent)
        group.cancel_scope.cancel()
    server.should_exit = True


async def _hasten_on_signal(agent: Agent, signals: AsyncIterator[signal.Signals]) -> None:
    async for number in signals:
        agent.log.warning(
            "agent is told again to stop, what it does is interrupted",
            signal=number.name,
            operations=agent.operations.count,
        )
        agent.operations.interrupt()


async def wind_up(agent: Agent) -> None:
    """Ends the agent's work in order: who listens, what it does, what it tells.

    Who follows an operation or the journal is told first what becomes of what is under way; all
    others would only be kept waiting by it, in terminals that soon lead nowhere.
    """
    _end_streams(agent)
    await agent.operations.close(agent.settings.shutdown_timeout)
    await agent.heartbeat.end()
    agent.events.end()
    agent.journal.end()
    agent.images.pulls.end()


def _end_streams(agent: Agent) -> None:
    """Ends what has nothing to do with operations, with its last line and an end."""
    agent.containers.execution.end()
    agent.containers.output.end()
    agent.containers.stats.end()
    agent.logs.end()

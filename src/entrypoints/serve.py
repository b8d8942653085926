"""Runs the agent: the server and the workers in one task group, and an orderly end."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.abc
import uvicorn

from domain.errors import AgentError
from entrypoints.agent import Agent
from entrypoints.composition import open_agent
from entrypoints.connections import allow_many_files, bounded_protocol, limits_within
from entrypoints.http.app import create_app
from entrypoints.prometheus import PrometheusExposition
from entrypoints.settings import Settings
from entrypoints.workers import run_workers

_LAST_ANSWERS_SECONDS = 5
"""How long answers may still take once all operations have ended."""


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
    listener = _listen(settings.api_host, settings.api_port)
    async with open_agent(settings) as agent:
        app = create_app(agent, PrometheusExposition(agent))
        server = _Server(_configuration(app, settings))
        agent.log.info(
            "agent starts",
            version=agent.version,
            port=settings.api_port,
            runtime=settings.runtime,
            compose=agent.compose_version,
        )
        _warn(agent)
        async with anyio.create_task_group() as group:
            group.start_soon(_end_on_signal, agent, server)
            group.start_soon(run_workers, agent)
            await server.serve(sockets=[listener])
            group.cancel_scope.cancel()
        await _flush_audit(agent)
        agent.log.info("agent ends")


async def _flush_audit(agent: Agent) -> None:
    try:
        with anyio.move_on_after(_LAST_ANSWERS_SECONDS):
            await agent.audit.flush()
    except AgentError as fault:
        agent.log.warning("last audit entries are in the log only", reason=fault.detail)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # Else the kernel keeps an answer's body back for 40 ms, until its head has been acknowledged:
    # asyncio turns this off only on sockets that name their protocol. What is accepted inherits it.
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
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
    )


def _warn(agent: Agent) -> None:
    settings = agent.settings
    if not settings.server_key and not settings.jwt_secret:
        agent.log.warning("no key is set, only open calls are answered; set SERVER_KEY")
    if settings.jwt_secret and len(settings.jwt_secret) < 32:
        agent.log.warning("JWT_SECRET is shorter than 32 characters and can be guessed")
    if settings.runtime == "docker" and not agent.compose_version:
        agent.log.error("docker compose is not installed, nothing can be deployed")
    if settings.manager_url.startswith("http://"):
        agent.log.warning("MANAGER_URL is not https, the server key crosses the network in clear")


async def _end_on_signal(agent: Agent, server: uvicorn.Server) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            agent.log.info("agent is told to stop", signal=signal.Signals(number).name)
            await agent.operations.close(agent.settings.shutdown_timeout)
            # Who follows them would be waited for, and cut off in the middle of a line.
            agent.logs.end()
            agent.events.end()
            agent.images.pulls.end()
            agent.containers.output.end()
            agent.containers.files.end()
            server.should_exit = True
            return

"""Single containers of the in-memory Engine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from adapters.memory.engine import MemoryEngine
from adapters.memory.references import found
from domain.container_details import (
    ContainerDetails,
    ContainerHealth,
    DetailedLimits,
    DetailedState,
    FileChange,
    LogConfiguration,
    MountPoint,
    NetworkAttachment,
    ProcessColumn,
    ProcessTable,
    told_columns,
)
from domain.container_orders import ContainerOrder, HealthcheckOrder
from domain.containers import Container, ContainerState, PublishedPort
from domain.errors import (
    EngineUnavailable,
    RequestUnreadable,
    ResourceConflict,
    ResourceNotFound,
)
from domain.limits import HeldLimits

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_SIGNALS = frozenset({"HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "STOP", "CONT"})
_DEADLY = frozenset({"KILL", "TERM", "QUIT", "INT", "HUP"})
_SHM_BYTES = 64 * 1024 * 1024
"""Docker's own choice for what lies in ``/dev/shm``."""

_NOTHING = HeldLimits(cpus=0, memory_bytes=0, pids=0, log_bytes=0)


class _Standing:
    """Finds containers on an in-memory Engine."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def _find(self, reference: str) -> Container:
        await self._engine.answer(f"look at container {reference}")
        return self._found(reference)

    def _found(self, reference: str) -> Container:
        known = {name: c.id for name, c in self._engine.containers.items()}
        return self._engine.containers[found("container", reference, known)]


class MemoryContainerLookup(_Standing):
    """Twin of ``DockerContainerLookup``."""

    async def inspect(self, reference: str) -> ContainerDetails:
        """One container, whole."""
        container = await self._find(reference)
        order, limits = self._engine.orders.get(container.id, (None, _NOTHING))
        return _details(container, order, limits, self._engine)

    async def processes(
        self, reference: str, columns: Collection[ProcessColumn] = ()
    ) -> ProcessTable:
        """The processes of one that runs: just the first."""
        container = await self._find(reference)
        _require_running(container)
        order, _ = self._engine.orders.get(container.id, (None, None))
        command = " ".join((order.command or ()) if order else ()) or container.image
        if columns:
            known = {"pid": ("PID", "1"), "user": ("USER", "root"), "args": ("COMMAND", command)}
            told = [known.get(c.value, (c.value.upper(), "0")) for c in told_columns(columns)]
            return ProcessTable(
                titles=tuple(title for title, _ in told),
                processes=(tuple(cell for _, cell in told),),
            )
        return ProcessTable(
            titles=("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"),
            processes=(("root", "1", "0", "0", "00:00", "?", "00:00:00", command),),
        )

    async def file_changes(self, reference: str) -> Sequence[FileChange]:
        """How its file system differs from its image."""
        container = await self._find(reference)
        return sorted(self._engine.file_changes.get(container.id, ()))

    async def sizes(self) -> Mapping[str, int]:
        """Nothing is ever written here."""
        await self._engine.answer("measure containers")
        return {container.id: 0 for container in self._engine.containers.values()}


class MemoryContainerChanges(_Standing):
    """Twin of ``DockerContainerChanges``."""

    async def create(self, order: ContainerOrder, limits: HeldLimits) -> Sequence[str]:
        """Makes a container that does not run yet."""
        change = partial(self._create, order, limits)
        await self._engine.answer(f"create container {order.name}", change)
        return ()

    def _create(self, order: ContainerOrder, limits: HeldLimits) -> None:
        engine = self._engine
        if order.name in engine.containers:
            raise _conflict(f'The container name "/{order.name}" is already in use.')
        if not engine.at_hand(order.image):
            raise ResourceNotFound("image", order.image)
        for mount in order.volumes:
            if mount.source and mount.type == "volume":
                engine.create_volume(mount.source, "", {})
        container = Container(
            id=engine.new_id(),
            name=order.name,
            image=order.image,
            state=ContainerState.CREATED,
            status="Created",
            labels=dict(order.labels),
            created_at=_FIRST,
        )
        engine.orders[container.id] = (order, limits)
        engine.create(container)
        engine.tell()

    async def _change(self, what: str, reference: str, change: Callable[[Container], None]) -> None:
        """Changes a container as it is when the Engine gets to it."""
        await self._engine.answer(
            f"{what} container {reference}", lambda: change(self._found(reference))
        )

    async def start(self, reference: str) -> None:
        """Lets it run, if its ports and networks are to be had."""
        await self._change("start", reference, self._start)

    def _start(self, container: Container) -> None:
        if container.state is ContainerState.PAUSED:
            raise _conflict("cannot start a paused container, try unpause instead")
        order, _ = self._engine.orders.get(container.id, (None, None))
        if order is not None and not container.running:
            self._require_networks(order)
            self._bind(container.name, order)
        self._engine.start(container.id)

    def _require_networks(self, order: ContainerOrder) -> None:
        for network in order.networks:
            if network.name not in {*self._engine.networks, "none", "host", "bridge"}:
                raise _conflict(f"network {network.name} not found")

    def _bind(self, name: str, order: ContainerOrder) -> None:
        wanted = [int(port.host_port) for port in order.ports if port.host_port.isdigit()]
        for port in wanted:
            if self._engine.ports.get(port, name) != name:
                raise _conflict(f"Bind for 0.0.0.0:{port} failed: port is already allocated")
        self._engine.ports.update(dict.fromkeys(wanted, name))

    async def stop(
        self,
        reference: str,
        grace_seconds: int | None = None,  # noqa: ARG002 - what runs here ends at once
    ) -> None:
        """Ends it, at once."""
        await self._change("stop", reference, self._stop)

    def _stop(self, container: Container) -> None:
        if container.running:
            self._end(container, 137)

    async def restart(
        self,
        reference: str,
        grace_seconds: int | None = None,  # noqa: ARG002 - what runs here ends at once
    ) -> None:
        """Stops and starts it."""
        await self._change("restart", reference, self._restart)

    def _restart(self, container: Container) -> None:
        self._stop(container)
        self._start(self._found(container.id))

    async def kill(self, reference: str, signal: str) -> None:
        """Sends a signal; those that end a process by themselves end it."""
        await self._change("kill", reference, partial(_kill, self._end, signal))

    def _end(self, container: Container, exit_code: int) -> None:
        if container.name in self._engine.stuck:
            raise EngineUnavailable("The in-memory Engine did not answer: it took too long.")
        self._engine.stop(container.name, exit_code=exit_code)

    async def pause(self, reference: str) -> None:
        """Freezes its processes."""
        await self._change("pause", reference, self._pause)

    def _pause(self, container: Container) -> None:
        if container.state is ContainerState.PAUSED:
            raise _conflict(f"Container {container.id} is already paused")
        _require_running(container)
        self._put(container, ContainerState.PAUSED, "Up 1 second (Paused)")

    async def unpause(self, reference: str) -> None:
        """Lets its processes go on."""
        await self._change("unpause", reference, self._unpause)

    def _unpause(self, container: Container) -> None:
        if container.state is not ContainerState.PAUSED:
            raise _conflict(f"Container {container.id} is not paused")
        self._put(container, ContainerState.RUNNING, "Up 1 second")

    def _put(self, container: Container, state: ContainerState, status: str) -> None:
        changed = msgspec.structs.replace(container, state=state, status=status)
        self._engine.containers[container.name] = changed
        self._engine.tell()

    async def rename(self, reference: str, name: str) -> None:
        """Gives it another name."""
        await self._change("rename", reference, partial(self._rename, name))

    def _rename(self, name: str, container: Container) -> None:
        if name == container.name:
            raise RequestUnreadable("Renaming a container with the same name as its current name")
        if name in self._engine.containers:
            raise _conflict(f'The container name "/{name}" is already in use.')
        self._engine.rename(container.id, name)

    async def remove(
        self,
        reference: str,
        *,
        force: bool,
        volumes: bool,  # noqa: ARG002 - volumes without a name are not kept here
    ) -> None:
        """Takes it away."""
        await self._change("remove", reference, partial(self._remove, force=force))

    def _remove(self, container: Container, *, force: bool) -> None:
        if container.running and not force:
            raise _conflict("container is running: stop the container before removing")
        self._engine.remove(container.name)


def _kill(end: Callable[[Container, int], None], signal: str, container: Container) -> None:
    name = signal.upper().removeprefix("SIG")
    if name not in _SIGNALS and not name.isdigit():
        raise RequestUnreadable(f"The in-memory Engine refused it: invalid signal: {signal}")
    _require_running(container)
    if name in _DEADLY or name in {"9", "15"}:
        end(container, 137)


def _conflict(reason: str) -> ResourceConflict:
    return ResourceConflict(f"The in-memory Engine refused it: {reason}")


def _require_running(container: Container) -> None:
    if not container.running:
        raise _conflict(f"container {container.id} is not running")


def _healthcheck(asked: HealthcheckOrder | None) -> HealthcheckOrder | None:
    """What is run; images here have none of their own."""
    return asked if asked and asked.test[:1] not in {(), ("NONE",)} else None


def _details(
    container: Container, order: ContainerOrder | None, limits: HeldLimits, engine: MemoryEngine
) -> ContainerDetails:
    asked = order or ContainerOrder(name=container.name, image=container.image)
    return ContainerDetails(
        id=container.id,
        name=container.name,
        created_at=container.created_at,
        image=container.image,
        image_id=container.image_id,
        state=_state(container, engine),
        command=asked.command or (),
        entrypoint=asked.entrypoint or (),
        env=asked.env,
        labels=container.labels,
        user=asked.user,
        working_dir=asked.working_dir,
        hostname=asked.hostname or container.id[:12],
        tty=asked.tty,
        open_stdin=asked.open_stdin,
        stop_signal=asked.stop_signal,
        stop_timeout=asked.stop_timeout,
        read_only=asked.read_only,
        init=bool(asked.init),
        network_mode=asked.networks[0].name if asked.networks else "",
        cap_add=asked.cap_add,
        cap_drop=asked.cap_drop,
        security_opt=asked.security_opt,
        devices=asked.devices,
        restart_policy=asked.restart_policy,
        healthcheck=_healthcheck(asked.healthcheck),
        extra_hosts=asked.extra_hosts,
        dns=asked.dns,
        dns_search=asked.dns_search,
        dns_options=asked.dns_options,
        ulimits=asked.ulimits,
        sysctls=asked.sysctls,
        shm_size_bytes=asked.shm_size_bytes or _SHM_BYTES,
        group_add=asked.group_add,
        limits=DetailedLimits(
            cpus=limits.cpus or None,
            memory_bytes=limits.memory_bytes or None,
            memory_and_swap_bytes=limits.memory_bytes or None,
            pids=limits.pids or None,
        ),
        log_config=LogConfiguration(type="local", config={}),
        mounts=tuple(
            MountPoint(
                type=mount.type.value,
                name=mount.source if mount.type == "volume" else "",
                source=mount.source,
                destination=mount.target,
                read_only=mount.read_only,
            )
            for mount in asked.volumes
        ),
        networks=tuple(
            NetworkAttachment(name=network.name, aliases=network.aliases)
            for network in asked.networks
        ),
        port_bindings=asked.ports,
        ports=_ports(container, asked),
    )


def _state(container: Container, engine: MemoryEngine) -> DetailedState:
    started, ended = engine.times.get(container.id, (0, 0))
    return DetailedState(
        status=container.state,
        pid=1 if container.running else None,
        exit_code=container.exit_code,
        started_at=_FIRST + timedelta(seconds=started) if started else None,
        finished_at=_FIRST + timedelta(seconds=ended) if ended else None,
        health=ContainerHealth(status=container.health) if container.health else None,
    )


def _ports(container: Container, order: ContainerOrder) -> tuple[PublishedPort, ...]:
    if not container.running:
        return ()
    return tuple(
        PublishedPort(
            container_port=port.container_port,
            protocol=port.protocol,
            host_address=port.host_address or "0.0.0.0",  # noqa: S104 - as the Engine tells it
            host_port=int(port.host_port),
        )
        for port in order.ports
        if port.host_port.isdigit()
    )

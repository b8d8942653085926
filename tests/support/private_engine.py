"""A Docker Engine of a test's own, to be killed, frozen, stopped and started again.

It runs in namespaces of its own: what happens in them touches no other Engine on the machine, and
when their first process ends, the kernel ends all others and takes mounts, addresses and the packet
filter away with them. That first process ends with the one that made it, however that one ends.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import docker
import psutil

from tests.support import engine

_PREFIX = "private-engine-"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_CLEAR_SECONDS = 10.0
_COMMANDS = ("dockerd", "containerd", "runc", "unshare", "ip", "mount")

# The first process of the namespaces. It runs each command that it reads, is the parent of all that
# lose theirs, and ends when nobody can tell it anything any more.
_INIT = """
import json, os, signal, subprocess, sys

def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

# Sockets of containerd's shims and the lock of iptables lie here, whatever dockerd is told.
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
signal.signal(signal.SIGCHLD, reap)
print("ready", flush=True)
quiet = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
for line in sys.stdin:
    command = json.loads(line)
    os.posix_spawnp(command[0], command, os.environ, file_actions=quiet)
"""


def missing() -> str:
    """Why no Engine can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "a Docker Engine of the test's own can only be started by root"
    absent = [command for command in _COMMANDS if shutil.which(command) is None]
    if absent:
        return f"a Docker Engine of the test's own needs {', '.join(absent)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.decode().strip()}"


class PrivateEngine:
    """One Engine; made by ``private_engine``."""

    def __init__(self, root: Path, init: "subprocess.Popen[bytes]", options: Sequence[str]) -> None:
        self.root = root
        self.address = f"unix://{root}/docker.sock"
        self._init = init
        self._command = [
            *("dockerd", "--config-file", str(root / "daemon.json")),
            *("--host", self.address, "--pidfile", str(root / "docker.pid")),
            *("--data-root", str(root / "data"), "--exec-root", str(root / "exec")),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{root.name}"),
            *options,
        ]

    @property
    def log(self) -> str:
        """The last that it wrote."""
        return (self.root / "log").read_text(errors="replace")[-4000:]

    @property
    def process(self) -> psutil.Process | None:
        """``dockerd`` itself; None while it does not run."""
        (first,) = psutil.Process(self._init.pid).children()
        return next((child for child in first.children() if child.name() == "dockerd"), None)

    def begin(self) -> None:
        """Starts it without waiting for it."""
        # The number in it may by now be that of another process.
        (self.root / "docker.pid").unlink(missing_ok=True)
        assert self._init.stdin is not None
        self._init.stdin.write(json.dumps(self._command).encode() + b"\n")
        self._init.stdin.flush()

    def start(self) -> None:
        """Starts it, and returns when it answers.

        Raises:
            RuntimeError: it does not.
        """
        self.begin()
        until = time.monotonic() + _START_SECONDS
        while not self.answers():
            if time.monotonic() > until:
                raise RuntimeError(f"The private Engine did not start:\n{self.log}")
            time.sleep(0.02)  # noqa: TID251 - another process is waited for

    def answers(self) -> bool:
        """Whether it answers within a second."""
        # docker-py leaves the sockets of calls that failed to the garbage collector.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(self.address.removeprefix("unix://"))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
            except OSError:
                return False

    @contextmanager
    def client(self, *, timeout: int = 60) -> Iterator[docker.APIClient]:
        """A client of it."""
        client = docker.APIClient(base_url=self.address, version="1.43", timeout=timeout)
        try:
            yield client
        finally:
            client.close()

    def stop(self) -> None:
        """Tells it to end, as an operator does, and waits until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kills it; its containers' processes stay."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if (process := self.process) is not None:
            process.send_signal(number)
            process.wait(_STOP_SECONDS)

    def freeze(self) -> None:
        """Stops it in its tracks: the kernel takes connections for it, and nobody answers."""
        if (process := self.process) is not None:
            process.suspend()

    def thaw(self) -> None:
        """Lets it go on."""
        if (process := self.process) is not None:
            process.resume()


@contextmanager
def private_engine(*options: str) -> Iterator[PrivateEngine]:
    """An Engine that answers, with ``engine.BASE_IMAGE``; all of it goes when the block is left.

    Args:
        options: further arguments of ``dockerd``.

    Raises:
        RuntimeError: it does not start.
    """
    _clear_stale()
    root = Path(mkdtemp(prefix=_PREFIX))
    with _held(root):
        try:
            (root / "daemon.json").write_text("{}")
            with _namespaces(root / "log") as init:
                own = PrivateEngine(root, init, options)
                own.start()
                _provide_image(own)
                yield own
        finally:
            _clear(root)


def _provide_image(own: PrivateEngine) -> None:
    with own.client() as client:
        if reason := engine.provide_base_image(client):
            raise RuntimeError(reason)


@contextmanager
def _namespaces(log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Namespaces of their own; gives the process that holds them open."""
    apart = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*apart, "--", sys.executable, "-c", _INIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
        )
    # Its end closes what it reads from, by which it ends; all within ends before it does.
    with process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"No namespaces for a private Engine:\n{log.read_text()}")
        yield process


@contextmanager
def _held(root: Path) -> Iterator[None]:
    """Marks the folder as one whose process lives."""
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear_stale() -> None:
    """Removes what a run left whose process was killed."""
    for root in Path(gettempdir()).glob(f"{_PREFIX}*"):
        if _abandoned(root):
            _clear(root)


def _abandoned(root: Path) -> bool:
    try:
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # it is being made, or going
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _clear(root: Path) -> None:
    until = time.monotonic() + _CLEAR_SECONDS
    while root.exists():
        try:
            shutil.rmtree(root)
        except OSError:
            # The kernel may still be taking mounts away.
            if time.monotonic() > until:
                raise
            time.sleep(0.1)  # noqa: TID251 - the kernel is waited for
    # One hierarchy, or one for each controller.
    groups = Path("/sys/fs/cgroup")
    for top in (groups / root.name, *groups.glob(f"*/{root.name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()

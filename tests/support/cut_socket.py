"""A socket between the agent and its Engine that can be cut."""

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp


class CutSocket:
    """Hands everything on to another socket, until it is cut."""

    def __init__(self, path: Path, target: Path) -> None:
        self._target = target
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._away = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self.url = f"unix://{path}"
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks off all connections there are."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        self.cuts += len(pairs)
        for pair in pairs:
            _close(*pair)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Breaks off all connections, and every new one too as long as the block lasts."""
        self._away = True
        self.cut()
        try:
            yield
        finally:
            self._away = False

    def close(self) -> None:
        """Ends it."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                _close(near)
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._target))
            with self._lock:
                self._pairs.add((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_hand_on, args=(one, other), daemon=True).start()


def _hand_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    _close(source, sink)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def cut_socket(target: Path) -> Iterator[CutSocket]:
    """A socket in front of another one, as long as the block lasts."""
    # The path of a socket may have a hundred characters only.
    folder = Path(mkdtemp(prefix="cut-"))
    proxy = CutSocket(folder / "engine.sock", target)
    try:
        yield proxy
    finally:
        proxy.close()
        shutil.rmtree(folder, ignore_errors=True)

"""An endpoint that goes away and comes back: a TCP proxy before the chain's, for daemons that reach it this way only.

with open_proxy(rpc_url) as proxy:
    cluster.start("buyer", settings={"chain.rpc": proxy.url})
    with proxy.down():           # connections are cut, new ones refused
        …
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

CHUNK = 65_536


class Proxy:
    """Listens on a port of its own while it is up."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._port = 0
        self._door: socket.socket | None = None
        self._pipes: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen, on the same port as before."""
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self._port))
        door.listen()
        self._port = door.getsockname()[1]
        self._door = door
        threading.Thread(target=self._serve, args=(door,), daemon=True).start()

    def cut(self) -> None:
        """Refuse whoever comes, end all that is open in the middle of whatever it says."""
        if self._door is not None:
            with suppress(OSError):
                self._door.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._door.close()
            self._door = None
        for pipe in list(self._pipes):
            with suppress(OSError):
                pipe.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody is there."""
        self.cut()
        try:
            yield
        finally:
            self.up()

    def _serve(self, door: socket.socket) -> None:
        while True:
            try:
                caller, _ = door.accept()
            except OSError:
                return
            try:
                chain = socket.create_connection(self._target, timeout=10)
            except OSError:
                caller.close()
                continue
            chain.settimeout(None)
            self._pipes |= {caller, chain}
            for source, sink in ((caller, chain), (chain, caller)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        for pipe in (source, sink):
            with suppress(OSError):
                pipe.shutdown(socket.SHUT_RDWR)
            pipe.close()
            self._pipes.discard(pipe)


@contextmanager
def open_proxy(url: str) -> Iterator[Proxy]:
    """A proxy that is up."""
    proxy = Proxy(url)
    proxy.up()
    try:
        yield proxy
    finally:
        proxy.cut()

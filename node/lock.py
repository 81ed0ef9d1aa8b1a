"""One node a folder: an flock on LOCK that the kernel lets go of when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from config.paths import NodePaths

LAYOUT = 1  # what lies where in a node's folder; raise it with a migration, never without


class LockError(Exception):
    """The folder cannot be used now, or not by this program."""

    kind = "locked"
    hint = "stop the other node (schwung stop), or use another --datadir"


class LayoutTooNew(LockError):
    """A newer program has arranged this folder."""

    hint = "run the Schwung version that wrote this folder, or a newer one"


class Lock:
    """Holds a node's folder for the length of a `with`. Raises LockError with the pid of who has it."""

    def __init__(self, paths: NodePaths) -> None:
        self._paths = paths
        self._fd = -1

    def __enter__(self) -> Lock:
        self._fd = os.open(self._paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            pid = os.read(self._fd, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise LockError(f"another node (pid {pid}) runs on {self._paths.root}") from err
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())
        self._check_layout()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def _check_layout(self) -> None:
        version = self._paths.version
        if not version.exists():
            version.write_text(f"{LAYOUT}\n")
            return
        found = version.read_text().strip()
        if not found.isdecimal() or int(found) > LAYOUT:
            os.close(self._fd)
            raise LayoutTooNew(f"{version} says layout {found[:20]!r}, this program knows up to {LAYOUT}")

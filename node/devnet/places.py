"""What lies where in the devnet's folder, and its lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.paths import SOCKET_LIMIT, NodePaths
from node.devnet.errors import DevnetError

NETWORK = "devnet"
BOOTSTRAP = "bootstrap"


class Places:
    """The devnet's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.network_file = self.root / "devnet.toml"
        self.processes = self.root / "processes.json"
        self.chain_state = self.root / "chain.json"
        self.chain_log = self.root / "chain.log"
        self.passphrase = self.root / "passphrase"
        self.nodes = self.root / "nodes"

    def node(self, name: str) -> NodePaths:
        """The paths of one of its nodes; the socket moves to a short folder if its own is too long for the kernel."""
        datadir = self.nodes / name
        paths = NodePaths(datadir, NETWORK)
        if len(os.fsencode(paths.socket)) <= SOCKET_LIMIT:
            return paths
        short = hashlib.sha256(os.fsencode(datadir)).hexdigest()[:12]
        return NodePaths(datadir, NETWORK, Path(tempfile.gettempdir()) / f"schwung-{short}" / "node.sock")

    def log(self, name: str) -> Path:
        return self.nodes / name / "node.log"

    def names(self) -> list[str]:
        """The nodes that were ever started here, the bootstrap node first."""
        found = sorted(path.name for path in self.nodes.glob("*") if path.is_dir())
        return sorted(found, key=lambda name: name != BOOTSTRAP)

    def create(self) -> None:
        """Make the folder, and the passphrase of its nodes' wallets."""
        self.nodes.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        write_passphrase(self.passphrase)

    def wipe(self) -> None:
        """Delete the folder, if it is a devnet's; nothing may run in it. Raises DevnetError for another folder."""
        if not self.root.exists():
            return
        if any(self.root.iterdir()) and not (self.network_file.exists() or self.processes.exists()):
            raise DevnetError(f"{self.root} is no devnet's folder: nothing was deleted")
        shutil.rmtree(self.root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `devnet` command at a time; a second one waits."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.root / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def write_passphrase(path: Path) -> None:
    """A new random passphrase, 0600, unless there is one."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_urlsafe(24) + "\n")

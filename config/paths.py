"""Where a node keeps things: `<datadir>/<network>/…`, one folder a network, so that keys never meet by accident.

Standard library and platformdirs only: the command line imports this on every call.
"""

from __future__ import annotations

import os
from pathlib import Path

from config.errors import SocketPathTooLong

SOCKET_LIMIT = 107  # sizeof(sockaddr_un.sun_path) on Linux is 108, one of them for the terminating zero


def default_datadir() -> Path:
    """`SCHWUNG_DATADIR`, or the user's data folder."""
    if given := os.environ.get("SCHWUNG_DATADIR"):
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("schwung")


def devnet_dir() -> Path:
    """Where the local devnet lives: `SCHWUNG_DEVNET_DIR`, or a folder beside the default datadir."""
    if given := os.environ.get("SCHWUNG_DEVNET_DIR"):
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("schwung-devnet")


class NodePaths:
    """The files of one node on one network; nothing is created before `create`."""

    def __init__(self, datadir: Path | str, network: str, socket: Path | str | None = None) -> None:
        self.datadir = Path(datadir).expanduser().absolute()
        self.network = network
        self.root = self.datadir / network
        given = socket or os.environ.get("SCHWUNG_SOCKET")
        self.socket = Path(given).expanduser().absolute() if given else self.root / "node.sock"
        self.config = self.datadir / "config.toml"
        self.lock = self.root / "LOCK"
        self.version = self.root / "VERSION"
        self.identity = self.root / "identity.key"
        self.session = self.root / "session.key"
        self.keystore = self.root / "keystore"
        self.shard = self.root / "shard"
        self.blocks = self.root / "blocks"
        self.journal = self.root / "journal.db"
        self.models = self.root / "models"
        self.console_token = self.root / "console.token"

    def create(self) -> None:
        """Make the folders, readable by the owner only. Raises OSError."""
        for folder in (self.root, self.keystore, self.shard, self.blocks, self.models):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)

    def check_socket(self) -> Path:
        """The socket's path, if the kernel can take it. Raises SocketPathTooLong."""
        size = len(os.fsencode(self.socket))
        if size > SOCKET_LIMIT:
            raise SocketPathTooLong(f"socket path is {size} bytes, the limit is {SOCKET_LIMIT}: set --socket")
        return self.socket

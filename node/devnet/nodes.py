"""The devnet's nodes: folder, wallet, process, readiness."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config.paths import NodePaths
from node.cli.client import Client
from node.cli.errors import CliError
from node.devnet.errors import DevnetError
from node.devnet.places import NETWORK, Places
from node.devnet.processes import Processes

READY_S = 120.0  # importing takes seconds of CPU a node, and a small machine starts several at once
SCRYPT_LOG2 = 12  # as in config/networks/devnet.toml: keys worth nothing need not be hard to guess


def schwung() -> list[str]:
    """The console script of this environment."""
    script = Path(sys.executable).with_name("schwung")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from node.cli.main import main; exit(main())"]


def create_wallet(paths: NodePaths, passphrase_file: Path) -> tuple[str, bool]:
    """The address of a node's wallet, and whether it is new."""
    import trio

    from node.identity.keystore import Keystore

    keystore = Keystore(paths.keystore, scrypt_log2=SCRYPT_LOG2)
    there = keystore.address()
    if there is not None:
        return str(there), False
    paths.create()
    passphrase = passphrase_file.read_text().split("\n", 1)[0]
    return str(trio.run(keystore.create, passphrase, datetime.now(UTC))), True


def start(places: Places, processes: Processes, name: str, settings: Mapping[str, str]) -> None:
    """Start a node's process; it is ready later."""
    paths = places.node(name)
    paths.create()
    paths.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [*schwung(), "run", "--datadir", str(paths.datadir), "--network", NETWORK, "--socket", str(paths.socket)]
    for key, value in {"wallet.passphrase_file": str(places.passphrase), **settings}.items():
        command += ["--set", f"{key}={value}"]
    processes.start(name, command, places.log(name), {"SCHWUNG_DEVNET_DIR": str(places.root)})


def wait_ready(places: Places, processes: Processes, name: str, within_s: float = READY_S) -> dict[str, Any]:
    """The status of a node as soon as it answers. Raises DevnetError with its last words when it ends instead."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with Client(places.node(name).socket, 10) as client:
                return dict(client.call("node.status"))
        except CliError as err:
            if name not in processes.running():
                raise DevnetError(f"{name} did not start: {last_words(places.log(name))}") from err
            if time.monotonic() > deadline:
                raise DevnetError(f"{name} is not ready after {within_s:g} s; see {places.log(name)}") from err
            time.sleep(0.1)


def last_words(log: Path, lines: int = 4) -> str:
    """The end of a log on one line."""
    try:
        return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])[-600:]
    except FileNotFoundError:
        return "nothing was logged"

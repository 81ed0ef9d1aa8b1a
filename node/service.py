"""A running node between start and stop: opens it, unlocks the wallet if a passphrase is at hand, waits for the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version

import structlog
import trio

from config.loader import Loaded
from config.paths import NodePaths
from node.app import open_node
from node.layers.node import Node

log = structlog.get_logger(__name__)

# CPython's default. py_ecc, which libp2p and web3 import, raises it to 100,000: then nested JSON of some kilobytes
# overruns the C stack of our decoders and ends the process instead of being refused.
RECURSION_LIMIT = 1_000


async def serve(
    loaded: Loaded,
    paths: NodePaths,
    on_signal: Callable[[Callable[[], None]], None],
    ready: Callable[[list[str]], None],
    passphrase: str | None,
    stop_s: float,
) -> None:
    """Run until a signal or `node.stop`; what does not end within `stop_s` seconds is cancelled."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    stop = trio.Event()
    token = trio.lowlevel.current_trio_token()
    on_signal(lambda: _soon(token, stop))
    with trio.CancelScope() as scope:
        async with open_node(loaded, paths, stop=stop.set) as node:
            if passphrase is not None and node.wallet.exists:
                await node.wallet.unlock(passphrase)
            ready(banner(node))
            log.info("node is ready", peer=node.network.peer_id, network=paths.network)
            await stop.wait()
            log.info("node stops")
            scope.deadline = trio.current_time() + stop_s


def _soon(token: trio.lowlevel.TrioToken, stop: trio.Event) -> None:
    with suppress(trio.RunFinishedError):  # the signal came after the end
        token.run_sync_soon(stop.set)


def banner(node: Node) -> list[str]:
    """The essentials on six lines; `schwung status` has the same facts."""
    profile, wallet = node.loaded.settings.profile, node.wallet
    account = f"{wallet.address}   {'locked' if wallet.locked else 'unlocked'}" if wallet.exists else "none yet"
    return [
        f"schwung   {version('schwung')}   {profile.network_id}",
        f"peer      {node.network.peer_id}",
        *(f"listen    {address}" for address in node.network.addresses),
        f"chain     {profile.chain.id}",
        f"wallet    {account}",
        f"socket    {node.paths.socket}",
        f"folder    {node.paths.root}",
    ]

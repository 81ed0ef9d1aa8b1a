"""A libp2p host as we want it: TCP, Noise, Yamux and nothing else, and no handler that can end the process.

py-libp2p's defaults accept plaintext connections with unproven peer ids, dial everybody they hear of, and let an
exception in a stream handler fall through to the root nursery; here the first two are switched off and the third is
caught at one border.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

import structlog
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from node.network import private
from node.network.addresses import parse_listen
from node.network.errors import ListenFailed
from node.network.guard.border import MAX_STREAMS_PER_PEER, NEGOTIATION_S, Border, drop
from node.network.guard.conduct import Conduct
from node.network.guard.doorway import UPGRADE_S, Doorway
from node.network.guard.gate import Gate
from node.network.guard.turnstile import Turnstile
from node.network.options import NetworkOptions
from node.network.peers import HELLO
from node.network.substrate import substrate

__all__ = ["MAX_STREAMS_PER_PEER", "check_port", "drop", "make_host"]

log = structlog.get_logger(__name__)

SEED_BYTES = 32


def make_host(options: NetworkOptions, seed: bytes, conduct: Conduct, turnstile: Turnstile) -> Any:
    """A host that does not listen yet. `seed` is the 32-byte Ed25519 seed of the node's identity. Raises BadAddress."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"the network identity is a seed of {SEED_BYTES} bytes, not {len(seed)}")
    reason = substrate.install()
    if reason:
        log.warning("network runs on stock libp2p", reason=reason)
    private.install()
    keys = create_new_key_pair(seed)
    noise = NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)
    host = new_host(
        key_pair=keys,
        sec_opt={TProtocol(NOISE): noise},
        muxer_opt={TProtocol(YAMUX): Yamux},
        listen_addrs=[parse_listen(text) for text in options.listen],
        connection_config=_connections(options.max_connections),
        announce_addrs=[Multiaddr(text) for text in options.announce] or None,
        psk=options.private_key.hex() or None,
        disable_identify_address_discovery=True,  # what some peers claim to observe; ours is `reachability`
    )
    swarm = host.get_network()
    swarm.retry_config = RetryConfig(max_retries=0)  # our own dialling has its own backoff
    swarm.auto_connector = NoAutoConnector(swarm)
    swarm.set_stream_handler(Border(host, conduct, HELLO))
    Gate(swarm, conduct, turnstile)
    Doorway(swarm, options.max_connections)
    return host


def _connections(limit: int) -> ConnectionConfig:
    return ConnectionConfig(
        min_connections=0,
        low_watermark=0,
        high_watermark=max(1, limit * 9 // 10),
        max_connections=limit,
        max_connections_per_peer=2,  # a simultaneous dial makes two for a moment
        inbound_upgrade_timeout=UPGRADE_S,
        outbound_upgrade_timeout=UPGRADE_S,
        outbound_stream_protocol_negotiation_timeout=NEGOTIATION_S,
        inbound_stream_protocol_negotiation_timeout=NEGOTIATION_S,
    )


class NoAutoConnector(AutoConnector):  # type: ignore[misc]
    """Dials nobody: the library's own aims at half of `high_watermark` connections, whatever the other settings say."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        return None

    async def maybe_connect(self) -> None:
        return None


def check_port(address: Multiaddr) -> None:
    """Raise ListenFailed when the port is taken.

    The library binds with SO_REUSEPORT: two nodes on one port would both start, and the kernel would deal the
    connections out between them. A plain bind sees the other one.
    """
    host, port = _socket_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError as err:
            raise ListenFailed(f"cannot listen on {address}: {_why(err)}") from err


def _socket_address(address: Multiaddr) -> tuple[str, int]:
    parts = str(address).split("/")  # "", "ip4", host, "tcp", port
    return parts[2], int(parts[4])


def _why(err: OSError) -> str:
    if err.errno == errno.EADDRINUSE:
        return "another program has this port"
    if err.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    return err.strerror or str(err)

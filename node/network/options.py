"""What the network needs to know to start; the daemon fills it from the settings."""

from __future__ import annotations

import msgspec


class NetworkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`network_id` and `chain_id` decide who belongs together; addresses are multiaddresses as text."""

    network_id: str
    chain_id: int
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    announce: tuple[str, ...] = ()  # what peers should dial in place of the listen addresses (behind a NAT)
    bootstrap: tuple[str, ...] = ()
    private_key: bytes = b""  # of a private network: 32 bytes, see node.network.private
    version: str = "0"
    max_connections: int = 200  # each costs about 100 KiB idle; over it new inbound ones are closed
    target_peers: int = 8  # below it, remembered and introduced peers are dialled
    dht: bool = True  # keep and ask provider records
    ipfs_peers: tuple[str, ...] = ()  # IPFS nodes to stay connected with, which keep our provider records too

"""What the network needs to know to start; the daemon fills it from the settings."""

from __future__ import annotations

from typing import Literal

import msgspec


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of itself a relay lends to peers that cannot be dialled."""

    reservations: int = 32  # peers
    circuits: int = 64  # connections at a time
    circuit_bytes: int = 128 << 20  # of one connection, in each direction
    circuit_s: int = 3_600  # of one connection
    bytes_per_s: int = 4 << 20  # all together


class NetworkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`network_id` and `chain_id` decide who belongs together; addresses are multiaddresses as text."""

    network_id: str
    chain_id: int
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    announce: tuple[str, ...] = ()  # what peers should dial in place of the listen addresses (behind a NAT)
    bootstrap: tuple[str, ...] = ()
    private_key: bytes = b""  # of a private network: 32 bytes, see node.network.private
    relay: RelayLimits | None = RelayLimits()  # None: be no relay
    use_relays: bool = True  # be reached through others when we cannot be dialled
    reachability: Literal["auto", "public", "private"] = "auto"  # auto: peers are asked to dial us
    version: str = "0"
    max_connections: int = 200  # each costs about 100 KiB idle; over it new inbound ones are closed
    target_peers: int = 8  # below it, remembered and introduced peers are dialled
    dht: bool = True  # keep and ask provider records
    ipfs_peers: tuple[str, ...] = ()  # IPFS nodes to stay connected with, which keep our provider records too
    max_per_address: int = 8  # connections at a time from one IPv4 address or IPv6 /64
    local_leniency: int = 32  # times as many from addresses that are not of the public Internet

"""The network of peers. Every libp2p import of the node lives in this package.

    async with open_network(NetworkOptions(network_id="devnet", chain_id=31337), seed) as network:
        await network.connect("/ip4/127.0.0.1/tcp/4001/p2p/12D3Koo…")
        reply = await network.request(peer, "/schwung/catalog/2", body, timeout_s=5, max_reply_bytes=1 << 20)

`network` is the service, `host` libp2p with one transport, one cipher and one muxer; `links` are connections, `streams`
and `serving` the two ends of requests and dialogues, `meeting` the hello, `dialing` whom a node stays connected with,
`bitswap` blocks for any IPFS peer. Rooms: `gossip`, `dht` (who has what, who listens to what), `outside` (how others
reach us), `guard` (what a peer may cost us), `substrate` (repairs of py-libp2p's hot paths). `README.md` tells how it
behaves in the field.
"""

import logging
import warnings

with warnings.catch_warnings():
    # libp2p pulls in transports that we never use; one of them announces its own deprecation at import
    warnings.simplefilter("ignore", DeprecationWarning)
    import libp2p  # noqa: F401

    # it takes its logger out of the process's at import, and then its errors are printed as they are
    logging.getLogger("libp2p").propagate = True

from node.network.errors import (
    BadAddress,
    BadNetworkKey,
    DeadlineExceeded,
    Foreigner,
    ListenFailed,
    MessageTooLarge,
    NetworkError,
    OtherNetworkKey,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    PeerVanished,
    Refuse,
    ReplyTooLarge,
    RequestTooLarge,
)
from node.network.gossip.gossip import Check, Message
from node.network.network import Network, open_network
from node.network.options import NetworkOptions
from node.network.peers import Peer, PeerMemory
from node.network.streams import Dialogue

__all__ = [
    "BadAddress",
    "BadNetworkKey",
    "Check",
    "DeadlineExceeded",
    "Dialogue",
    "Foreigner",
    "ListenFailed",
    "Message",
    "MessageTooLarge",
    "Network",
    "NetworkError",
    "NetworkOptions",
    "OtherNetworkKey",
    "Peer",
    "PeerBusy",
    "PeerMemory",
    "PeerRefused",
    "PeerUnreachable",
    "PeerVanished",
    "Refuse",
    "ReplyTooLarge",
    "RequestTooLarge",
    "open_network",
]

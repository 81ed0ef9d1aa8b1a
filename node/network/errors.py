"""The exception tree of the network.

    NetworkError
    ├── ListenFailed        an address we cannot listen on
    ├── BadAddress          a multiaddress that cannot be dialled
    ├── BadNetworkKey       a private network key that cannot be used
    ├── DeadlineExceeded    the peer did not answer in time
    ├── PeerUnreachable     no connection, so the request was not processed
    │   ├── PeerBanned      we keep away from it: it wasted our time
    │   ├── OtherNetworkKey the peer has another private network key, or none
    │   └── PeerVanished    the connection broke after the request was sent: it may have been processed
    ├── PeerRefused         the peer answered no; `reason` is its own kind of error
    │   ├── PeerBusy        … because it serves others; later may work
    │   └── Foreigner       … because it belongs to another network or chain
    ├── RequestTooLarge     our own request is over a bound
    ├── ReplyTooLarge       the peer announced more than we are willing to read
    └── MessageTooLarge     a gossip message over the cap

A handler raises `Refuse` (or any `protocols.errors.ProtocolError`) to answer no with a reason that the peer may read.
"""

from __future__ import annotations


class NetworkError(Exception):
    """Anything the network could not do."""

    kind = "network_error"
    hint = "see `schwung peers list` and the log"


class ListenFailed(NetworkError):
    kind = "listen_failed"
    hint = "end the other program or set network.listen to another port"


class BadAddress(NetworkError):
    kind = "bad_address"
    hint = "an address looks like /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…"


class BadNetworkKey(NetworkError):
    kind = "bad_network_key"
    hint = (
        r"make one: (printf '/key/swarm/psk/1.0.0/\n/base16/\n'; openssl rand -hex 32) > swarm.key; chmod 600 swarm.key"
    )


class DeadlineExceeded(NetworkError):
    kind = "timeout"
    hint = "the peer is slow or frozen; try again or ask another"


class PeerUnreachable(NetworkError):
    kind = "peer_unreachable"
    hint = "check that the peer runs and that its address is right"


class OtherNetworkKey(PeerUnreachable):
    kind = "other_network_key"
    hint = "network.private_key must name the same key on both sides"


class PeerBanned(PeerUnreachable):
    kind = "peer_banned"
    hint = "wait until then, or lift it: `schwung peers pardon PEER` or `schwung peers add ADDRESS`"


class PeerVanished(PeerUnreachable):
    kind = "peer_vanished"
    hint = "the request may have been processed; repeat it only if it is idempotent"


class PeerRefused(NetworkError):
    kind = "peer_refused"
    hint = "the peer's reason is in the message"

    def __init__(self, message: str, reason: str = "refused") -> None:
        super().__init__(message)
        self.reason = reason


class PeerBusy(PeerRefused):
    kind = "peer_busy"
    hint = "try again in a moment"


class Foreigner(PeerRefused):
    kind = "foreign_network"
    hint = "join the same network file on both sides"


class RequestTooLarge(NetworkError):
    kind = "request_too_large"
    hint = "send less at once"


class ReplyTooLarge(NetworkError):
    kind = "reply_too_large"
    hint = "the peer is faulty or hostile"


class MessageTooLarge(NetworkError):
    kind = "message_too_large"
    hint = "gossip carries references; send the content by stream"


class Refuse(Exception):
    """Raised by a handler: answer the peer with this reason and kind."""

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind

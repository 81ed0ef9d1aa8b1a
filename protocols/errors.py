"""The exception tree of the wire.

    ProtocolError
    ├── Malformed        bytes that do not decode to the type, or are over a bound
    ├── BadSignature     a signature that is not the named signer's
    ├── WrongPeer        an item that names another peer than the one who sent it
    ├── BadIdentifier    an address, peer id, CID or hash that is not written as one
    └── RuleBroken       a well-formed item that breaks a rule of its kind

`kind` is for programs and becomes `error.data.kind` at the JSON-RPC border; the message is for people.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Anything a peer sent that we refuse."""

    kind = "protocol_error"
    hint = "the sender is faulty or hostile; nothing was stored"


class Malformed(ProtocolError):
    kind = "malformed"


class BadSignature(ProtocolError):
    kind = "bad_signature"


class WrongPeer(ProtocolError):
    kind = "wrong_peer"


class BadIdentifier(ProtocolError):
    kind = "bad_identifier"
    hint = "copy the whole identifier; listings print it in full"


class RuleBroken(ProtocolError):
    kind = "rule_broken"

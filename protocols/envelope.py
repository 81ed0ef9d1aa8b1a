"""The signed envelope in which every offer, demand, model card, rating and withdrawal travels.

The wallet signs EIP-712 over (kind, sha256(body), peer id); the transport proves the peer id. An item whose envelope
names another peer than its author is refused, so nobody can republish a stranger's item as his own. A relay (catalog
synchronisation) hands on somebody else's envelope: then the author is not the sender and only the signature counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from protocols import eip712
from protocols.codec import Message, decode, encode
from protocols.errors import BadSignature, RuleBroken, WrongPeer
from protocols.ids import Address, ItemId, PeerId, item_id, parse_address, parse_peer_id

MAX_BODY_BYTES = 48 * 1024
MAX_ENVELOPE_BYTES = MAX_BODY_BYTES + 1_024  # below the 64 KiB that gossip carries well

Sign = Callable[[bytes], bytes]  # EIP-712 digest (32 bytes) -> EIP-2098 signature (64 bytes)


class Envelope(Message, frozen=True, kw_only=True):
    """A body and who vouches for it."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    kind: Annotated[str, Meta(max_length=16)]
    body: Annotated[bytes, Meta(max_length=MAX_BODY_BYTES)]
    peer: Annotated[str, Meta(max_length=64)]
    signer: Annotated[str, Meta(max_length=42)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope that passed its checks: what the rest of the node works with. `raw` is the envelope's bytes."""

    id: ItemId
    kind: str
    body: bytes
    peer: PeerId
    signer: Address
    raw: bytes


def sign_item(kind: str, body: bytes, *, peer: PeerId, signer: Address, chain_id: int, sign: Sign) -> Item:
    """Wrap `body` in an envelope signed by the wallet `signer`."""
    if len(body) > MAX_BODY_BYTES:
        raise RuleBroken(f"a body of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}")
    signature = sign(_digest(kind, body, peer, chain_id))
    raw = encode(Envelope(kind=kind, body=body, peer=peer, signer=signer, signature=signature))
    return Item(id=item_id(kind, peer, signer, body), kind=kind, body=body, peer=peer, signer=signer, raw=raw)


def open_item(raw: bytes, *, chain_id: int, author: PeerId | None) -> Item:
    """Check an envelope; cheap checks first, the signature last (about 70 µs).

    `author` is the peer the transport proved to have written it, None when a relay handed it on.
    Raises Malformed, BadIdentifier, WrongPeer, BadSignature.
    """
    envelope = decode(raw, Envelope, max_bytes=MAX_ENVELOPE_BYTES)
    peer, signer = parse_peer_id(envelope.peer), parse_address(envelope.signer)
    if author is not None and author != peer:
        raise WrongPeer(f"the envelope names {peer}, but {author} wrote it")
    digest = _digest(envelope.kind, envelope.body, peer, chain_id)
    if eip712.recover(digest, envelope.signature) != signer:
        raise BadSignature(f"the signature of this {envelope.kind} is not {signer}'s")
    return Item(
        id=item_id(envelope.kind, peer, signer, envelope.body),
        kind=envelope.kind,
        body=envelope.body,
        peer=peer,
        signer=signer,
        raw=raw,
    )


def _digest(kind: str, body: bytes, peer: PeerId, chain_id: int) -> bytes:
    return eip712.item_digest(chain_id, kind, hashlib.sha256(body).digest(), peer)

"""An item as the market sees it, and the little that memory keeps of it."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

from node.market.kinds import KINDS, Body, Facts
from protocols.codec import encode
from protocols.envelope import Envelope, Item
from protocols.ids import Address, ItemId, PeerId
from protocols.offers.offer import KIND as OFFER
from protocols.offers.offer import Centroid, Offer

B = TypeVar("B")

_decoders = {kind: msgspec.msgpack.Decoder(how.type) for kind, how in KINDS.items()}
_facts = msgspec.msgpack.Decoder(Facts)
_envelopes = msgspec.msgpack.Decoder(Envelope)
NOWHERE = -1


class _Sketched(msgspec.Struct):
    sketch: list[Centroid]  # the rest of an offer is passed over


_sketches = msgspec.msgpack.Decoder(_Sketched)


class Listed(msgspec.Struct, Generic[B], frozen=True):
    """A valid item and its typed body."""

    item: Item
    body: B


class Held(msgspec.Struct, gc=False):
    """What memory keeps of an item: an offer without its sketch and its envelope, anything else as it came.

    `kept` is the encoded body of the one, the envelope of the other; `row` an offer's place in the atlas, `size_bytes`
    the length of the envelope. An offer takes about 1 kB so.
    """

    kind: str
    domain: str
    signer: Address
    peer: PeerId
    expires_at: int
    made_at: int
    size_bytes: int
    kept: bytes
    row: int = NOWHERE

    def intern(self) -> None:
        """Share the strings that many items have in common."""
        self.kind, self.domain = sys.intern(self.kind), sys.intern(self.domain)
        self.signer, self.peer = Address(sys.intern(self.signer)), PeerId(sys.intern(self.peer))

    def body(self) -> Body:
        """The typed body; an offer's has no sketch. About 4 µs."""
        if self.kind == OFFER:
            return _facts.decode(self.kept)
        body: Body = _decoders[self.kind].decode(_envelopes.decode(self.kept).body)
        return body

    def listed(self, id: ItemId) -> Listed[Body]:
        """As it is handed out."""
        raw = b"" if self.kind == OFFER else self.kept
        item = Item(id=id, kind=self.kind, body=b"", peer=self.peer, signer=self.signer, raw=raw)
        return Listed(item=item, body=self.body())


def hold(listed: Listed[Body]) -> Held:
    """What to keep of an item."""
    item, body, how = listed.item, listed.body, KINDS[listed.item.kind]
    is_offer = isinstance(body, Offer)
    held = Held(
        kind=item.kind,
        domain=body.domain,
        signer=item.signer,
        peer=item.peer,
        expires_at=how.expires_at(body),
        made_at=how.made_at(body),
        size_bytes=len(item.raw),
        kept=encode(msgspec.structs.replace(body, sketch=[])) if is_offer else item.raw,
    )
    held.intern()
    return held


def trusted(id: ItemId, raw: bytes) -> Listed[Body]:
    """An item from the own journal, complete; it was checked when it came, so only its shape is looked at."""
    envelope = _envelopes.decode(raw)
    item = Item(
        id=id,
        kind=envelope.kind,
        body=envelope.body,
        peer=PeerId(envelope.peer),
        signer=Address(envelope.signer),
        raw=raw,
    )
    return Listed(item=item, body=_decoders[envelope.kind].decode(envelope.body))


def sketch_of(raw: bytes) -> bytes:
    """The joined vectors of an offer's sketch, in its envelope from the own journal; b"" when they differ in length."""
    vectors = [centroid.vector for centroid in _sketches.decode(_envelopes.decode(raw).body).sketch]
    return b"".join(vectors) if len({len(vector) for vector in vectors}) == 1 else b""


def subject_of(signer: str, kind: str, body: Body) -> Hashable | None:
    """What only the newest item of a signer counts for; None when all count."""
    subject = KINDS[kind].subject
    return None if subject is None else (kind, signer, subject(body))

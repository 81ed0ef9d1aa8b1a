"""The account of an erasure: what was destroyed, what was withdrawn, and what nobody can undo. Holds no text.

A person checks it from outside: the transactions on chain (`DataRegistry.isActive` is false, the `KeySale` offer is
closed), the withdrawals in anybody's catalogue, the folder of this node with `grep`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node.journal.deals import Deal
from node.journal.publications import Publication
from node.market.draft import Draft
from protocols.exchange import machine
from protocols.exchange.selling import SELLER_ENDS, Seller, SellerState


class RevokedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An own publication that held a forgotten record. Its content key went with the journal line that names it here.

    `dataset` and `offer_no` are 0 while nothing of it stands on chain. A transaction is '' until it is final, or when
    none was needed. `sales` buyers have, or had, the key; `locked` ones had paid for it and did not get it.
    """

    publication: str
    offer: str
    title: str
    domain: str
    licence: str
    cid: str
    dataset: int
    offer_no: int
    sales: int
    locked: int
    posted: int
    key_destroyed: bool = True
    ciphertext_removed: bool = False  # False: an external IPFS daemon collects it when it likes
    withdrawn: bool = False
    revoke_tx: str = ""
    close_tx: str = ""
    settled: bool = False


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure. `state`: begun, here (nothing is left on this machine, the chain has still to hear of it), done.

    `records` are the ids that were asked for, `forgotten` how many of them were in the shard, `purchases` the deals
    whose keys were destroyed because a forgotten record came by them.
    """

    erasure: str
    state: str = "begun"
    records: list[str] = []
    forgotten: int = 0
    domains: list[str] = []
    offers: list[RevokedOffer] = []
    purchases: list[str] = []
    remains: list[str] = []
    waiting: str = ""
    begun_at: int = 0
    done_at: int = 0


class Gone(msgspec.Struct, frozen=True):
    """What others who hold something derived have to drop."""

    records: list[str]
    domains: list[str]
    purchases: list[str]


def revoked(row: Publication, sales: Sequence[Deal]) -> RevokedOffer:
    """What has to be done about a publication, and how far its sales had come."""
    draft = msgspec.json.decode(row.draft, type=Draft)
    states = [machine.restore(sale.machine, SellerState) for sale in sales]
    handed = [state for state in states if _has_key(state)]
    return RevokedOffer(
        publication=row.publication,
        offer=row.offer,
        title=draft.title,
        domain=draft.domain,
        licence=draft.licence,
        cid=draft.cid,
        dataset=row.dataset,
        offer_no=row.offer_no,
        sales=len(handed),
        locked=sum(not _has_key(state) and state.phase not in SELLER_ENDS for state in states),
        posted=sum(bool(state.dispute_by) for state in states),
    )


def without_sketch(row: Publication) -> bytes:
    """The draft without what was derived from the texts' embeddings."""
    draft = msgspec.json.decode(row.draft, type=Draft)
    return msgspec.json.encode(msgspec.structs.replace(draft, sketch=[]))


def remains_of(offer: RevokedOffer) -> list[str]:
    """What of a publication cannot be undone, and why."""
    name = f"offer {offer.offer or offer.publication}"
    said = []
    if offer.sales:
        said.append(
            f"{name}: {offer.sales} sold; their buyers hold the records under {offer.licence}, on machines of their own"
        )
    if offer.posted:
        said.append(
            f"{name}: {offer.posted} of its keys stand on chain, masked; with the one-time key of its buyer, or the "
            "network key of this node, the pinned ciphertext can be opened where it is still kept"
        )
    if offer.locked:
        said.append(
            f"{name}: {offer.locked} sales were locked without a key; the price goes back after the delivery deadline"
        )
    if offer.offer:
        said.append(
            f"{name}: its sketch (a few coarse centroids of the embeddings) was told; peers drop it when they hear the "
            "withdrawal, nobody can make them"
        )
    if offer.dataset:
        said.append(
            f"{name}: the commitment to dataset {offer.dataset} stays on chain; it is a hash and marked revoked"
        )
    return said


def _has_key(state: SellerState) -> bool:
    return state.handed_over or state.phase is Seller.PAID or bool(state.dispute_by)

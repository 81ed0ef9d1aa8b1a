"""What the machines are told (events) and what they ask for (actions). Frozen values; all serialise with `codec`.

Events about the chain are reported when they are deep enough to count (`Undone` takes one back that a reorganisation
removed all the same), in the order of the chain, and may be repeated: a machine ignores what it knows already. Times
are chain time, UTC seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from protocols.exchange.handover import CellEvidence, KeyEvidence, MaskedKey
from protocols.wei import Wei


class Clock(msgspec.Struct, frozen=True):
    """The newest block: its timestamp (UTC seconds) and number. Deadlines are the contract's, so its clock rules."""

    time: int
    block: int


class Call(StrEnum):
    """The contract calls that a machine asks for."""

    LOCK = "lock"
    CONFIRM = "confirm"
    REFUND = "refund"
    DISPUTE = "dispute"
    WITHDRAW = "withdraw"
    DELIVER = "deliver"
    CLAIM = "claim"
    RECLAIM = "reclaim"


# --- events, both sides ---


class Tick(msgspec.Struct, frozen=True, tag=True):
    """Time passed. At every new block, and once right after a restart."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The contract closed the sale: the price went to the seller, or back to the buyer."""

    outcome: Literal["paid", "refunded"]


class Proven(msgspec.Struct, frozen=True, tag=True):
    """The contract found the offer's seller at fault; every open sale of the offer can be refunded at once.

    `own`: on evidence of this buyer, to whom half the bond is credited.
    """

    own: bool = False


class Reclaimed(msgspec.Struct, frozen=True, tag=True):
    """The contract gave the buyer the held share of a paid price back: the offer's seller was found at fault."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A call was not carried out. `certain`: it reverted or was never signed, so it cannot be mined any more.

    Where a transaction may still be under way (no connection, no receipt in time) `certain` must be false.
    """

    call: Call
    reason: str
    certain: bool


# --- events, buyer ---


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """The payload lies in the block store and parses; root and width are computed from its bytes."""

    root: bytes
    cells: int


class FetchFailed(msgspec.Struct, frozen=True, tag=True):
    reason: str


class Judged(msgspec.Struct, frozen=True, tag=True):
    """The verdict on the sample; also when the seller did not open what he had to."""

    ok: bool
    reasons: tuple[str, ...] = ()


class OfferRead(msgspec.Struct, frozen=True, tag=True):
    """The offer as it stands on chain. `live`: neither closed, nor proven bad, nor revoked in the registry.

    `covered`: the bond covers one more sale. `disputes_lost`: offers of its seller that were proved bad, ever.
    """

    root: bytes
    cells: int
    price_wei: Wei
    live: bool
    covered: bool
    disputes_lost: int = 0


class Hindered(msgspec.Struct, frozen=True, tag=True):
    """AskSample, ReadOffer, Verify or Import could not be carried out now: no endpoint, no block store. It rests."""

    reason: str


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The user changed his mind; counts only before the lock."""

    reason: str = "cancelled by the user"


class Locked(msgspec.Struct, frozen=True, tag=True):
    """My lock is mined. After `deliver_by` without delivery the price can be taken back."""

    sale: str
    deliver_by: int


class KeyGiven(msgspec.Struct, frozen=True, tag=True):
    """The seller answered in private."""

    key: MaskedKey


class KeyDenied(msgspec.Struct, frozen=True, tag=True):
    """The seller did not answer, or with a refusal."""

    reason: str


class Posted(msgspec.Struct, frozen=True, tag=True):
    """A key stands on chain for this sale; after `dispute_by` the seller can claim."""

    key: MaskedKey
    dispute_by: int


class Checked(msgspec.Struct, frozen=True, tag=True):
    """The key opens every cell as committed."""

    key: MaskedKey
    content_key: bytes


class Faulted(msgspec.Struct, frozen=True, tag=True):
    """The key does not open a cell, and this is the evidence."""

    key: MaskedKey
    evidence: KeyEvidence | CellEvidence


class Imported(msgspec.Struct, frozen=True, tag=True):
    """The records are in the shard. `unreadable`: cells that hold none though their seller committed to them."""

    records: int
    unreadable: int = 0


class Withdrawn(msgspec.Struct, frozen=True, tag=True):
    """The contract owes this account nothing any more, whoever's call brought the money home."""


class Consented(msgspec.Struct, frozen=True, tag=True):
    """The seller's answer to my signed confirmation: `taken`, he has journalled it; else `reason` says why not."""

    taken: bool
    reason: str = ""


class NothingHeld(msgspec.Struct, frozen=True, tag=True):
    """The contract holds nothing of this price for me: it was the seller's already when the fault was proved."""

    reason: str


BuyerNews = Posted | Finished | Proven | Reclaimed

# --- events, seller ---


class LockSeen(msgspec.Struct, frozen=True, tag=True):
    """The lock stands (again) in `block`; repeated when a reorganisation moved it, and its deadline with it."""

    block: int
    deliver_by: int


class KeyAsked(msgspec.Struct, frozen=True, tag=True):
    """A peer asked for the key of this sale. Nothing proves that he is the buyer, and nothing needs to."""


class Delivered(msgspec.Struct, frozen=True, tag=True):
    """My key stands on chain; unless it is disputed, I can claim after `dispute_by`."""

    dispute_by: int


class KeyLost(msgspec.Struct, frozen=True, tag=True):
    """The content key is gone (erased on request): this sale cannot be delivered any more."""


class Signed(msgspec.Struct, frozen=True, tag=True):
    """The buyer's confirmation came, and its signature is his."""

    signature: bytes


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """The contract passed over the signed confirmation of a sale that is still open."""


SellerNews = Delivered | Finished | Proven | Reclaimed


# --- taken back, both sides ---


class Undone(msgspec.Struct, frozen=True, tag=True):
    """A reorganisation removed `what` from the log; nothing named, the lock itself."""

    what: BuyerNews | SellerNews | Withdrawn | None = None


# --- actions, buyer ---


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Fetch the payload by its CID, parse it, compute its root."""

    cid: str
    max_bytes: int


class AskSample(msgspec.Struct, frozen=True, tag=True):
    """Once `block` is deep enough, let the seller open `count` cells that its hash chooses, and judge them."""

    block: int
    count: int


class ReadOffer(msgspec.Struct, frozen=True, tag=True):
    """Read the on-chain offer and its dataset."""

    offer_no: int


class Lock(msgspec.Struct, frozen=True, tag=True):
    offer_no: int
    max_price_wei: Wei
    bx: bytes
    by: bytes
    key: str


class AskKey(msgspec.Struct, frozen=True, tag=True):
    """After `after_s` seconds of wall clock, ask the seller for the key. `attempt` only tells requests apart."""

    sale: str
    attempt: int
    after_s: int


class Verify(msgspec.Struct, frozen=True, tag=True):
    """Run `machine.examine` on the payload, in a worker thread. The key is masked for one sale, which a reorganisation
    may have taken out of the state by the time this is carried out.
    """

    key: MaskedKey
    sale: str


class Import(msgspec.Struct, frozen=True, tag=True):
    """Open the payload and put its records into the shard."""

    content_key: bytes


class Consent(msgspec.Struct, frozen=True, tag=True):
    """After `after_s` seconds of wall clock, send the seller a signed confirmation. `attempt` tells requests apart."""

    sale: str
    attempt: int
    after_s: int


class Confirm(msgspec.Struct, frozen=True, tag=True):
    """Pay by an own transaction."""

    sale: str
    key: str


class Dispute(msgspec.Struct, frozen=True, tag=True):
    """Call disputeKey or disputeCell with `evidence.arguments()`."""

    evidence: KeyEvidence | CellEvidence
    key: str

    @property
    def kind(self) -> Literal["key", "cell"]:
        return "key" if isinstance(self.evidence, KeyEvidence) else "cell"


class Reclaim(msgspec.Struct, frozen=True, tag=True):
    """Take the held share of a paid price back."""

    sale: str
    key: str


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    key: str


# --- actions, both ---


class Refund(msgspec.Struct, frozen=True, tag=True):
    sale: str
    key: str


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Nothing to do before chain time `until`; a Tick after it moves the deal on."""

    until: int


# --- actions, seller ---


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """Answer the peer who asked with `mask_key` for the buyer's point."""

    sale: str
    buyer_public: tuple[bytes, bytes]


class Deny(msgspec.Struct, frozen=True, tag=True):
    """Answer the peer who asked with a refusal."""

    kind: str
    reason: str


class Deliver(msgspec.Struct, frozen=True, tag=True):
    """Post the same key on chain that HandOver answers with."""

    sale: str
    buyer_public: tuple[bytes, bytes]
    key: str


class Bring(msgspec.Struct, frozen=True, tag=True):
    """Have the buyer's signed confirmation brought to the contract with others, at chain time `by` at the latest."""

    sale: str
    signature: bytes
    by: int


class Claim(msgspec.Struct, frozen=True, tag=True):
    sale: str
    key: str


BuyerEvent = (
    Tick | Fetched | FetchFailed | Judged | OfferRead | Hindered | Cancelled | Locked | KeyGiven | KeyDenied | Posted
    | Checked | Faulted | Imported | Consented | Finished | Proven | Reclaimed | NothingHeld | Withdrawn | Undone
    | Failed
)  # fmt: skip
SellerEvent = (
    Tick | LockSeen | KeyAsked | Delivered | KeyLost | Signed | Skipped | Finished | Proven | Reclaimed | Undone
    | Failed
)  # fmt: skip
BuyerAction = (
    Fetch | AskSample | ReadOffer | Lock | AskKey | Verify | Import | Consent | Confirm | Dispute | Refund | Reclaim
    | Withdraw | Wait
)  # fmt: skip
SellerAction = HandOver | Deny | Bring | Deliver | Claim | Refund | Wait

"""The state of a purchase, and what it makes a node do; `buying` has the transitions.

The plan follows from the state alone, so a node which restarts knows what to do without remembering what it began.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from protocols.exchange import events as ev
from protocols.exchange.handover import CellEvidence, KeyEvidence, MaskedKey, public_point
from protocols.exchange.sampling import sample_block, sample_count
from protocols.wei import Wei

ASK_LIMIT_S = 60  # a seller who was away is asked again at most a minute after he is back


class Buyer(StrEnum):
    """Where a purchase stands."""

    CHOSEN = "chosen"
    FETCHED = "fetched"
    SAMPLED = "sampled"
    LOCKING = "locking"
    LOCKED = "locked"
    KEYED = "keyed"
    VERIFIED = "verified"
    CONFIRMING = "confirming"
    PAYING = "paying"
    SETTLED = "settled"
    REFUSED = "refused"
    AWAITING_REFUND = "awaiting_refund"
    REFUNDING = "refunding"
    WITHDRAWING = "withdrawing"
    REFUNDED = "refunded"
    DISPUTING = "disputing"
    DISPUTED = "disputed"
    RECLAIMING = "reclaiming"
    RECLAIMED = "reclaimed"
    LOST = "lost"


B = Buyer
BUYER_ENDS = frozenset({B.SETTLED, B.REFUSED, B.REFUNDED, B.DISPUTED, B.RECLAIMED, B.LOST})


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is bought and at what limits, fixed when the deal is chosen."""

    deal: str
    offer: str
    seller: str
    cid: str
    root: bytes
    cells: int
    size_bytes: int
    offer_no: int
    offer_block: int
    price_wei: Wei
    max_price_wei: Wei
    sample_cap: int
    confirm_margin_s: int = (
        900  # before the delivery deadline: a confirmation the seller has not brought by then is sent
    )
    max_disputes_lost: int = 1  # more than these, and nothing is bought of this seller


class BuyerState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a purchase that must survive a crash. `secret` (b) and `content_key` must not be logged."""

    terms: Terms
    secret: bytes
    phase: Buyer = B.CHOSEN
    reason: str = ""
    sale: str = ""
    deliver_by: int = 0
    dispute_by: int = 0
    key: MaskedKey | None = None  # under examination, or found good
    posted: MaskedKey | None = None  # stands on chain: only such a key can be disputed
    denied: int = 0
    content_key: bytes = b""
    evidence: KeyEvidence | CellEvidence | None = None
    records: int = 0
    unreadable: int = 0
    imported: bool = False
    paid: bool = False
    bad: bool = False  # the contract found the offer's seller at fault, here or in another sale
    disputed: bool = False  # ... on evidence that this deal has too
    consents: int = 0  # how often the signed confirmation was sent
    taken: bool = False  # the seller says that he has it
    attempt: int = 0  # tells the transactions of one call apart: a reverted one is not sent again
    locks: int = 0  # the same for the lock, which no reorganisation makes a second one of
    rewinds: int = 0  # how often a reorganisation took something back: what it undid is done by new transactions
    retry_at: int = 0  # chain time before which a failed call rests
    heard: tuple[ev.BuyerNews, ...] = ()  # what the log says of the sale, in its order

    def __repr__(self) -> str:
        """Without the secrets, so that no log or traceback shows them."""
        return f"BuyerState({self.terms.deal}, {self.phase}, sale={self.sale!r}, reason={self.reason!r})"


def plan_buyer(state: BuyerState) -> list[ev.BuyerAction]:
    """What a purchase in this state waits for or has to do. A failed call rests until a Tick finds its time come."""
    if state.retry_at:
        return [ev.Wait(state.retry_at)]
    return _PLANS[state.phase](state) if state.phase in _PLANS else []


def resume_buyer(state: BuyerState) -> list[ev.BuyerAction]:
    """What to do after a restart, or once the wallet is unlocked: the whole plan, resting calls included."""
    return _PLANS[state.phase](state) if state.phase in _PLANS else []


def _key(state: BuyerState, call: ev.Call) -> str:
    """The name under which a transaction is sent once. With the sale: after a reorganisation it can be another one."""
    return f"{state.terms.deal}:{call}:{state.sale}:{state.rewinds}.{state.attempt}"


def _plan_chosen(state: BuyerState) -> list[ev.BuyerAction]:
    return [ev.Fetch(state.terms.cid, state.terms.size_bytes)]


def _plan_fetched(state: BuyerState) -> list[ev.BuyerAction]:
    count = sample_count(state.terms.cells, state.terms.sample_cap)
    return [ev.AskSample(sample_block(state.terms.offer_block), count)]


def _plan_sampled(state: BuyerState) -> list[ev.BuyerAction]:
    return [ev.ReadOffer(state.terms.offer_no)]


def _plan_locking(state: BuyerState) -> list[ev.BuyerAction]:
    """The key does not change with a reorganisation: a second lock could be mined beside the first."""
    bx, by = public_point(state.secret)
    key = f"{state.terms.deal}:{ev.Call.LOCK}::{state.locks}"
    return [ev.Lock(state.terms.offer_no, state.terms.max_price_wei, bx, by, key)]


def _plan_locked(state: BuyerState) -> list[ev.BuyerAction]:
    return [ev.AskKey(state.sale, state.denied, _patience(state.denied)), ev.Wait(state.deliver_by)]


def _plan_confirming(state: BuyerState) -> list[ev.BuyerAction]:
    after_s = ASK_LIMIT_S if state.taken else _patience(state.consents)
    return [ev.Consent(state.sale, state.consents, after_s), ev.Wait(pay_at(state))]


def pay_at(state: BuyerState) -> int:
    """The chain time from which an own transaction confirms, because the seller has not brought the signed one."""
    return state.deliver_by - state.terms.confirm_margin_s


def _patience(asked: int) -> int:
    """Seconds before the next question to a seller who was asked `asked` times: 0, 1, 3, 7 … 60."""
    return min(ASK_LIMIT_S, (1 << min(asked, 6)) - 1)


def _plan_keyed(state: BuyerState) -> list[ev.BuyerAction]:
    return [ev.Verify(state.key, state.sale)] if state.key else []


def _plan_disputing(state: BuyerState) -> list[ev.BuyerAction]:
    return [ev.Dispute(state.evidence, _key(state, ev.Call.DISPUTE))] if state.evidence else []


_PLANS: dict[Buyer, Callable[[BuyerState], list[ev.BuyerAction]]] = {
    B.CHOSEN: _plan_chosen,
    B.FETCHED: _plan_fetched,
    B.SAMPLED: _plan_sampled,
    B.LOCKING: _plan_locking,
    B.LOCKED: _plan_locked,
    B.KEYED: _plan_keyed,
    B.VERIFIED: lambda state: [ev.Import(state.content_key)],
    B.CONFIRMING: _plan_confirming,
    B.PAYING: lambda state: [ev.Confirm(state.sale, _key(state, ev.Call.CONFIRM))],
    B.AWAITING_REFUND: lambda state: [ev.Wait(state.deliver_by)],
    B.REFUNDING: lambda state: [ev.Refund(state.sale, _key(state, ev.Call.REFUND))],
    B.WITHDRAWING: lambda state: [ev.Withdraw(_key(state, ev.Call.WITHDRAW))],
    B.DISPUTING: _plan_disputing,
    B.RECLAIMING: lambda state: [ev.Reclaim(state.sale, _key(state, ev.Call.RECLAIM))],
}

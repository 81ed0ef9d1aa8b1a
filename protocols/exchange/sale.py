"""The state of one sale, and what it makes a seller's node do; `selling` has the transitions.

The state holds no key: what HandOver and Deliver send is computed from the content key, the seller's secret and the
buyer's point, and is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from protocols.exchange import events as ev


class Seller(StrEnum):
    """Where a sale stands."""

    SEEN = "seen"
    LOCKED = "locked"
    HANDED_OVER = "handed_over"
    CONFIRMED = "confirmed"
    POSTING = "posting"
    DELIVERED = "delivered"
    CLAIMING = "claiming"
    EXPIRED = "expired"
    RELEASING = "releasing"
    GONE = "gone"
    PAID = "paid"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    VOID = "void"


S = Seller
SELLER_ENDS = frozenset({S.PAID, S.REFUNDED, S.DISPUTED, S.VOID})


class Caution(msgspec.Struct, frozen=True):
    """How careful a seller is."""

    confirmations: int = 2  # blocks on top of the lock before a key leaves: one that is reorganised away pays nothing
    margin_s: int = 600  # chain time before the delivery deadline at which the key is posted: room for several blocks
    release_s: int = 3_600  # after the deadline, how long a late confirmation may come before the price is given back


class SellerState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one sale that must survive a crash. No secret is in it."""

    sale: str
    offer: str
    buyer_public: tuple[bytes, bytes]
    block: int
    deliver_by: int
    caution: Caution
    buyer: str = ""  # whose wallet locked the price: only its signature confirms
    phase: Seller = S.SEEN
    reason: str = ""
    handed_over: bool = False
    consent: bytes = b""  # the buyer's signed confirmation
    erased: bool = False  # the content key is gone: nothing can be posted
    dispute_by: int = 0
    release_at: int = 0  # chain time at which an expired sale's price is given back
    proven: bool = False
    attempt: int = 0
    rewinds: int = 0  # how often a reorganisation took something back: what it undid is done by new transactions
    retry_at: int = 0  # chain time before which a failed call rests
    heard: tuple[ev.SellerNews, ...] = ()  # what the log says of the sale, in its order


def plan_seller(state: SellerState) -> list[ev.SellerAction]:
    """What a sale in this state waits for or has to do. A call that failed rests until a Tick finds its time come."""
    if state.retry_at:
        return [ev.Wait(state.retry_at)]
    return resume_seller(state)


def resume_seller(state: SellerState) -> list[ev.SellerAction]:
    """What to do after a restart, or once the wallet is unlocked: the whole plan, resting calls included."""
    return _PLANS[state.phase](state) if state.phase in _PLANS else []


def _key(state: SellerState, call: ev.Call) -> str:
    """The name under which a transaction is sent once. With B: a reorganisation can give the sale another buyer."""
    return f"{state.sale}:{state.buyer_public[0].hex()[:16]}:{call}:{state.rewinds}.{state.attempt}"


_PLANS: dict[Seller, Callable[[SellerState], list[ev.SellerAction]]] = {
    S.LOCKED: lambda state: [ev.Wait(post_at(state))],
    S.HANDED_OVER: lambda state: [ev.Wait(post_at(state))],
    S.CONFIRMED: lambda state: [ev.Bring(state.sale, state.consent, _bring_by(state)), ev.Wait(_next_way(state))],
    S.POSTING: lambda state: [ev.Deliver(state.sale, state.buyer_public, _key(state, ev.Call.DELIVER))],
    S.DELIVERED: lambda state: [ev.Wait(state.dispute_by)],
    S.CLAIMING: lambda state: [ev.Claim(state.sale, _key(state, ev.Call.CLAIM))],
    S.EXPIRED: lambda state: [ev.Wait(state.release_at)],
    S.RELEASING: lambda state: [ev.Refund(state.sale, _key(state, ev.Call.REFUND))],
    S.GONE: lambda state: [ev.Wait(state.deliver_by)],
}


def post_at(state: SellerState) -> int:
    """The chain time from which the key is posted, because the buyer has not confirmed."""
    return state.deliver_by - state.caution.margin_s


def _bring_by(state: SellerState) -> int:
    """A margin earlier than the key would be posted: a confirmation that is mined by then spares that."""
    return state.deliver_by - 2 * state.caution.margin_s


def _next_way(state: SellerState) -> int:
    """When a confirmation that is still not mined is not relied on any longer."""
    return state.dispute_by or post_at(state)

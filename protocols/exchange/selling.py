"""The seller's transitions as a table (see `machine` for the picture and the driver's duties).

What the log says of a sale is kept as it was heard; when a reorganisation takes a part of it back, the sale begins
again at its lock and hears again what still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from protocols.exchange import events as ev
from protocols.exchange.events import Clock
from protocols.exchange.sale import SELLER_ENDS, Caution, Seller, SellerState, plan_seller, post_at, resume_seller

__all__ = ["SELLER_ENDS", "Caution", "Seller", "SellerState", "plan_seller", "resume_seller", "step_seller"]

RETRY_S = 15  # of chain time; about one block of a slow chain
RETRY_LIMIT_S = 300  # shorter than any margin before the delivery deadline should be

S = Seller
_OPEN = tuple(phase for phase in S if phase not in SELLER_ENDS)
_UNSENT = frozenset({S.SEEN, S.LOCKED})  # LOCKED too: a reorganisation may have taken blocks off the lock since
_MAY_HAVE_KEY = frozenset({S.LOCKED, S.HANDED_OVER, S.CONFIRMED, S.POSTING, S.DELIVERED, S.CLAIMING, S.PAID})
_MAY_BE_SIGNED = (S.LOCKED, S.HANDED_OVER, S.POSTING, S.DELIVERED, S.CLAIMING, S.EXPIRED, S.RELEASING)


def step_seller(state: SellerState, event: ev.SellerEvent, now: Clock) -> tuple[SellerState, list[ev.SellerAction]]:
    """The next state, what has newly to be done, and first the answer when somebody asked for the key.

    Journal the state before doing it: the journal then knows of every key that left.
    """
    before = plan_seller(state)
    after = _advance(state, event, now)
    answer = [_answer(after, now)] if isinstance(event, ev.KeyAsked) else []
    if isinstance(event, ev.KeyAsked) and isinstance(answer[0], ev.HandOver):
        phase = S.HANDED_OVER if after.phase is S.LOCKED else after.phase
        after = msgspec.structs.replace(after, phase=phase, handed_over=True)
    return after, [*answer, *(action for action in plan_seller(after) if action not in before)]


def _advance(state: SellerState, event: ev.SellerEvent, now: Clock) -> SellerState:
    """The table's transition, and before it whatever the clock has made due: a late Tick must not open a gap."""
    if isinstance(event, ev.Undone):
        return _undone(state, event, now)
    if isinstance(event, ev.SellerNews):
        return _hear(state, event, now)
    due = SELLER_TABLE.get((state.phase, ev.Tick))
    if due and isinstance(event, ev.Tick | ev.KeyAsked):
        state = due(state, ev.Tick(), now)
    handler = None if isinstance(event, ev.Tick) else SELLER_TABLE.get((state.phase, type(event)))
    return handler(state, event, now) if handler else state


def _hear(state: SellerState, news: ev.SellerNews, now: Clock) -> SellerState:
    if news in state.heard:
        return state
    handler = SELLER_TABLE.get((state.phase, type(news)))
    after = handler(state, news, now) if handler else state
    return msgspec.structs.replace(after, heard=(*state.heard, news))


def _undone(state: SellerState, event: ev.Undone, now: Clock) -> SellerState:
    """Nothing named: the lock is gone. Otherwise the sale begins at its lock again, and hears what is left."""
    if state.phase in (S.GONE, S.VOID) or (event.what is not None and event.what not in state.heard):
        return state
    bare = _bare(state)
    if event.what is None:
        return _go(bare, S.GONE, consent=b"", reason="a reorganisation removed the lock")
    again = _go(bare, S.CONFIRMED if state.consent else S.HANDED_OVER if state.handed_over else S.SEEN)
    for news in state.heard:
        if news != event.what:
            again = _hear(again, news, now)
    return again


def _bare(state: SellerState) -> SellerState:
    """What is known of the sale besides the log."""
    return SellerState(
        sale=state.sale,
        offer=state.offer,
        buyer_public=state.buyer_public,
        block=state.block,
        deliver_by=state.deliver_by,
        caution=state.caution,
        buyer=state.buyer,
        handed_over=state.handed_over,
        consent=state.consent,
        erased=state.erased,
        rewinds=state.rewinds + 1,
        reason="a reorganisation took a part of the sale back",
    )


def _go(state: SellerState, phase: Seller, **changes: Any) -> SellerState:
    return msgspec.structs.replace(state, **{"phase": phase, "retry_at": 0, **changes})


def _answer(state: SellerState, now: Clock) -> ev.HandOver | ev.Deny:
    deep = now.block - state.block
    if state.phase in _UNSENT and not state.handed_over and deep < state.caution.confirmations:
        need = state.caution.confirmations
        return ev.Deny("not_final", f"the lock is {max(0, deep)} blocks deep, {need} are needed")
    if state.phase in _MAY_HAVE_KEY or (state.handed_over and state.phase in (S.EXPIRED, S.RELEASING)):
        return ev.HandOver(state.sale, state.buyer_public)
    return ev.Deny("no_sale", f"this sale is {state.phase}")


# --- transitions ---


def _deep_enough(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    if now.block - state.block < state.caution.confirmations:
        return state
    return _post_in_time(_go(state, S.LOCKED), event, now)


def _moved(state: SellerState, event: ev.LockSeen, now: Clock) -> SellerState:
    phase = S.RELEASING if state.proven else S.SEEN
    return _go(state, phase, block=event.block, deliver_by=event.deliver_by)


def _post_in_time(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    """The buyer has not confirmed, or not even asked: on chain the key earns its price."""
    if now.time < post_at(state):
        return state
    return _expire_in_time(_go(state, S.POSTING), event, now)


def _signed(state: SellerState, event: ev.Signed, now: Clock) -> SellerState:
    if state.proven:  # the price goes back
        return state
    return _go(state, S.CONFIRMED, consent=event.signature, reason="")


def _bring_in_time(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    """A confirmation is good as long as the sale is open; what it does not bring in time is earned the other way."""
    if state.dispute_by and now.time > state.dispute_by:
        return _go(state, S.CLAIMING)
    if not state.dispute_by and not state.erased and post_at(state) <= now.time <= state.deliver_by:
        return _go(state, S.POSTING)
    return _rested(state, event, now)


def _skipped(state: SellerState, event: ev.Skipped, now: Clock) -> SellerState:
    """The contract knows another buyer: the signature is worth nothing, and the sale goes on as if it never came."""
    reason = "the contract did not take the buyer's confirmation"
    phase = S.DELIVERED if state.dispute_by else S.HANDED_OVER if state.handed_over else S.LOCKED
    return _go(state, phase, consent=b"", reason=reason)


def _expire_in_time(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    if now.time > state.deliver_by:
        return _expire(state, "the key could not be posted before the deadline", now)
    return _rested(state, event, now)


def _expire(state: SellerState, reason: str, now: Clock) -> SellerState:
    """Too late to earn, but by a confirmation: one at hand is brought, one that may come has its time."""
    if state.consent:
        return _go(state, S.CONFIRMED, reason=reason)
    return _go(state, S.EXPIRED, reason=reason, release_at=max(now.time, state.deliver_by) + state.caution.release_s)


def _release_in_time(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    """Nobody confirmed: the price is given back, which frees the bond."""
    return _go(state, S.RELEASING) if now.time >= state.release_at else state


def _key_lost(state: SellerState, event: ev.KeyLost, now: Clock) -> SellerState:
    return _expire(msgspec.structs.replace(state, erased=True), "the content key was erased", now)


def _delivered(state: SellerState, event: ev.Delivered, now: Clock) -> SellerState:
    if state.proven:  # nothing can be claimed: the price goes back all the same
        return msgspec.structs.replace(state, dispute_by=event.dispute_by)
    phase = S.CONFIRMED if state.consent else S.DELIVERED
    return _go(state, phase, dispute_by=event.dispute_by, attempt=0)


def _claim_in_time(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    return _go(state, S.CLAIMING) if now.time > state.dispute_by else state


def _finished(state: SellerState, event: ev.Finished, now: Clock) -> SellerState:
    """Before the deadline, and after a delivery, only a proven fault gives the price back."""
    if event.outcome == "paid":
        return _go(state, S.PAID, reason="")
    if state.proven or state.dispute_by or now.time <= state.deliver_by:
        return _go(state, S.DISPUTED, reason=state.reason or "a buyer proved a fault")
    return _go(state, S.REFUNDED)


def _proven(state: SellerState, event: ev.Proven, now: Clock) -> SellerState:
    """The bond is gone and no sale of the offer can be claimed: give the price back at once."""
    return _go(state, S.RELEASING, proven=True, reason="the contract found this offer at fault")


def _proven_after(state: SellerState, event: ev.Proven, now: Clock) -> SellerState:
    """A dispute first refunds the sale and then names its reason; this one came after the deadline."""
    return _go(state, S.DISPUTED, proven=True, reason="the contract found this offer at fault")


def _proven_gone(state: SellerState, event: ev.Proven, now: Clock) -> SellerState:
    return msgspec.structs.replace(state, proven=True)


def _reclaimed(state: SellerState, event: ev.Reclaimed, now: Clock) -> SellerState:
    return _go(state, S.DISPUTED, reason="the offer was at fault: the buyer took the held share back")


def _void_in_time(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    return _go(state, S.VOID) if now.time > state.deliver_by else state


def _call_failed(state: SellerState, event: ev.Failed, now: Clock) -> SellerState:
    if event.call is not _CALLS[state.phase]:
        return state
    rest_s = min(RETRY_LIMIT_S, RETRY_S << min(state.attempt, 8))
    attempt = state.attempt + 1 if event.certain else state.attempt
    return msgspec.structs.replace(state, attempt=attempt, retry_at=now.time + rest_s, reason=event.reason)


def _rested(state: SellerState, event: ev.Tick, now: Clock) -> SellerState:
    if 0 < state.retry_at <= now.time:
        return msgspec.structs.replace(state, retry_at=0)
    return state


_CALLS = {
    S.CONFIRMED: ev.Call.CONFIRM,
    S.POSTING: ev.Call.DELIVER,
    S.CLAIMING: ev.Call.CLAIM,
    S.RELEASING: ev.Call.REFUND,
}

Handler = Callable[[SellerState, Any, Clock], SellerState]

SELLER_TABLE: dict[tuple[Seller, type], Handler] = {
    (S.SEEN, ev.LockSeen): _moved,
    (S.GONE, ev.LockSeen): _moved,
    (S.VOID, ev.LockSeen): _moved,
    (S.SEEN, ev.Tick): _deep_enough,
    (S.LOCKED, ev.Tick): _post_in_time,
    (S.HANDED_OVER, ev.Tick): _post_in_time,
    (S.CONFIRMED, ev.Tick): _bring_in_time,
    (S.POSTING, ev.Tick): _expire_in_time,
    (S.DELIVERED, ev.Tick): _claim_in_time,
    (S.CLAIMING, ev.Tick): _rested,
    (S.EXPIRED, ev.Tick): _release_in_time,
    (S.RELEASING, ev.Tick): _rested,
    (S.GONE, ev.Tick): _void_in_time,
    **{(phase, ev.Failed): _call_failed for phase in _CALLS},
    **{(phase, ev.KeyLost): _key_lost for phase in (S.SEEN, S.LOCKED, S.HANDED_OVER, S.POSTING)},
    **{(phase, ev.Signed): _signed for phase in _MAY_BE_SIGNED},
    (S.CONFIRMED, ev.Skipped): _skipped,
    **{(phase, ev.Delivered): _delivered for phase in _OPEN if phase not in (S.DELIVERED, S.CLAIMING, S.GONE)},
    **{(phase, ev.Finished): _finished for phase in _OPEN},
    **{(phase, ev.Proven): _proven for phase in _OPEN},
    (S.GONE, ev.Proven): _proven_gone,
    (S.REFUNDED, ev.Proven): _proven_after,
    (S.PAID, ev.Reclaimed): _reclaimed,
}

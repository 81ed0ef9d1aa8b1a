"""The buyer's transitions as a table (see `machine` for the picture and the driver's duties).

A handler takes a state and an event to the next state. A pair that is not in the table changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from protocols.exchange import events as ev
from protocols.exchange.events import Clock
from protocols.exchange.handover import CellEvidence, KeyEvidence
from protocols.exchange.purchase import Buyer, BuyerState, Terms, plan_buyer
from protocols.wei import parse_wei

RETRY_S = 15  # of chain time; about one block of a slow chain
RETRY_LIMIT_S = 3_600

B = Buyer
_AFTER_LOCK = (B.LOCKED, B.KEYED, B.VERIFIED, B.CONFIRMING, B.AWAITING_REFUND, B.REFUNDING, B.DISPUTING)

_HINDERED = (B.FETCHED, B.SAMPLED, B.KEYED, B.VERIFIED)  # their actions need an endpoint or the block store


def begin(terms: Terms, secret: bytes) -> BuyerState:
    """A purchase, not yet journalled. `secret` comes from `handover.one_time_key`."""
    state = BuyerState(terms=terms, secret=secret)
    if parse_wei(terms.price_wei) > parse_wei(terms.max_price_wei):
        return _refuse(state, f"the price is {terms.price_wei} base units, the limit was {terms.max_price_wei}")
    return state


def step_buyer(state: BuyerState, event: ev.BuyerEvent, now: Clock) -> tuple[BuyerState, list[ev.BuyerAction]]:
    """The next state, and what has newly to be done; journal the state before doing it."""
    handler = BUYER_TABLE.get((state.phase, type(event)))
    after = handler(state, event, now) if handler else state
    if after == state:
        return state, []
    before = plan_buyer(state)
    return after, [action for action in plan_buyer(after) if action not in before]


def _go(state: BuyerState, phase: Buyer, **changes: Any) -> BuyerState:
    return msgspec.structs.replace(state, phase=phase, retry_at=0, **changes)


def _refuse(state: BuyerState, reason: str) -> BuyerState:
    return _go(state, B.REFUSED, reason=reason)


# --- before the lock: everything can be refused, nothing is lost ---


def _fetched(state: BuyerState, event: ev.Fetched, now: Clock) -> BuyerState:
    if event.root != state.terms.root or event.cells != state.terms.cells:
        return _refuse(state, "the payload does not have the root that the offer names")
    return _go(state, B.FETCHED)


def _fetch_failed(state: BuyerState, event: ev.FetchFailed, now: Clock) -> BuyerState:
    return _refuse(state, event.reason)


def _judged(state: BuyerState, event: ev.Judged, now: Clock) -> BuyerState:
    if not event.ok:
        return _refuse(state, "; ".join(event.reasons) or "the sample was refused without a reason")
    return _go(state, B.SAMPLED)


def _offer_read(state: BuyerState, event: ev.OfferRead, now: Clock) -> BuyerState:
    if event.root != state.terms.root or event.cells != state.terms.cells:
        return _refuse(state, "the offer on chain commits to another payload")
    if parse_wei(event.price_wei) > parse_wei(state.terms.max_price_wei):
        return _refuse(state, f"the price on chain is {event.price_wei}, the limit was {state.terms.max_price_wei}")
    if not event.live:
        return _refuse(state, "the offer is closed, its seller was at fault, or its dataset was revoked")
    if not event.covered:
        return _refuse(state, "the seller's bond does not cover another sale")
    return _go(state, B.LOCKING)


def _cancelled(state: BuyerState, event: ev.Cancelled, now: Clock) -> BuyerState:
    return _refuse(state, event.reason)


def _locked(state: BuyerState, event: ev.Locked, now: Clock) -> BuyerState:
    """A lock that was mined a second time, after a reorganisation, finds the records here: then they are to be paid."""
    phase = B.CONFIRMING if state.imported else B.VERIFIED if state.content_key else B.LOCKED
    return _go(state, phase, sale=event.sale, deliver_by=event.deliver_by)


def _lock_failed(state: BuyerState, event: ev.Failed, now: Clock) -> BuyerState:
    if event.call is not ev.Call.LOCK:
        return state
    if event.certain and not state.content_key:
        return _refuse(state, event.reason)
    return _rest(state, event, now)


# --- locked: waiting for the key ---


def _key_given(state: BuyerState, event: ev.KeyGiven, now: Clock) -> BuyerState:
    return _go(state, B.KEYED, key=event.key)


def _key_denied(state: BuyerState, event: ev.KeyDenied, now: Clock) -> BuyerState:
    return msgspec.structs.replace(state, denied=state.denied + 1, reason=event.reason)


def _posted(state: BuyerState, event: ev.Posted, now: Clock) -> BuyerState:
    if state.bad:  # the money is coming back already
        return _posted_later(state, event, now)
    return _go(state, B.KEYED, key=event.key, posted=event.key, dispute_by=event.dispute_by)


def _posted_later(state: BuyerState, event: ev.Posted, now: Clock) -> BuyerState:
    """Noted only: the key at hand is examined or found good already."""
    return msgspec.structs.replace(state, posted=event.key, dispute_by=event.dispute_by)


def _posted_again(state: BuyerState, event: ev.Posted, now: Clock) -> BuyerState:
    """A reorganisation moved the delivery, or changed it: then the new key has to be examined first."""
    if isinstance(state.evidence, KeyEvidence) and event.key != state.posted:
        return _go(state, B.KEYED, key=event.key, posted=event.key, dispute_by=event.dispute_by, evidence=None)
    return _posted_later(state, event, now)


def _overdue(state: BuyerState, event: ev.Tick, now: Clock) -> BuyerState:
    if now.time <= max(state.deliver_by, state.retry_at):
        return state
    return _go(state, B.REFUNDING, reason=state.reason or "the seller did not deliver in time")


# --- keyed: examined, then paid or disputed ---


def _checked(state: BuyerState, event: ev.Checked, now: Clock) -> BuyerState:
    if event.key != state.key:
        return state
    return _go(state, B.VERIFIED, content_key=event.content_key, reason="")


def _faulted(state: BuyerState, event: ev.Faulted, now: Clock) -> BuyerState:
    if event.key != state.key:
        return state
    if isinstance(event.evidence, CellEvidence):
        return _go(state, B.DISPUTING, evidence=event.evidence, reason="a cell does not hold what was committed")
    if state.posted not in (None, event.key):  # another key was posted meanwhile: that one counts
        return _go(state, B.KEYED, key=state.posted)
    if state.paid:
        return _go(state, B.LOST, reason="the posted key is wrong, and the time to dispute it has passed")
    if state.posted is None:  # said in private, so nobody can be shown; the seller may still post the right one
        return _go(state, B.AWAITING_REFUND, key=None, reason="the key sent in private opens nothing")
    return _go(state, B.DISPUTING, evidence=event.evidence, reason="the posted key opens nothing")


def _imported(state: BuyerState, event: ev.Imported, now: Clock) -> BuyerState:
    phase = B.SETTLED if state.paid else B.CONFIRMING
    return _go(state, phase, imported=True, records=event.records, unreadable=event.unreadable)


# --- how the contract ends it ---


def _finished_open(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    """While no good key is at hand: a payment can only follow a posted key whose time to dispute has passed."""
    if event.outcome == "refunded":
        return _refunded(state)
    if state.key is None and state.posted is None:
        return _go(state, B.LOST, reason="the sale was paid out without a key for it")
    return _go(state, B.KEYED, key=state.key or state.posted, paid=True)


def _finished_known(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    if event.outcome == "refunded":
        return _refunded(state)
    return msgspec.structs.replace(state, paid=True)


def _finished_confirming(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    return _refunded(state) if event.outcome == "refunded" else _go(state, B.SETTLED, paid=True)


def _finished_disputing(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    if event.outcome == "refunded":
        return _refunded(msgspec.structs.replace(state, disputed=True))
    if isinstance(state.evidence, CellEvidence):  # a false cell can be shown after the payment too
        return msgspec.structs.replace(state, paid=True)
    return _go(state, B.LOST, paid=True, reason="the posted key is wrong, and the dispute came too late")


def _refunded(state: BuyerState) -> BuyerState:
    return _go(state, B.WITHDRAWING, attempt=0)


def _proven_open(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    return _go(state, B.REFUNDING, bad=True, reason=state.reason or "the seller was found at fault in another sale")


def _proven_disputing(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    """My evidence, or somebody's who was quicker. A sale already paid out gives half the bond and no refund."""
    return _go(state, B.WITHDRAWING if state.paid else B.REFUNDING, bad=True, disputed=True, attempt=0)


def _withdrawn(state: BuyerState, event: ev.Withdrawn, now: Clock) -> BuyerState:
    return _go(state, B.DISPUTED if state.disputed else B.REFUNDED)


# --- troubles ---


def _undone(state: BuyerState, event: ev.Undone, now: Clock) -> BuyerState:
    """Back to the same lock transaction: it may be mined again by itself, and then under another sale id."""
    forgotten = BuyerState(terms=state.terms, secret=state.secret, reason="a reorganisation removed the lock")
    return msgspec.structs.replace(
        forgotten,
        phase=B.LOCKING,
        content_key=state.content_key,
        imported=state.imported,
        records=state.records,
        unreadable=state.unreadable,
    )


_CALLS = {
    B.CONFIRMING: ev.Call.CONFIRM,
    B.REFUNDING: ev.Call.REFUND,
    B.WITHDRAWING: ev.Call.WITHDRAW,
    B.DISPUTING: ev.Call.DISPUTE,
}


def _call_failed(state: BuyerState, event: ev.Failed, now: Clock) -> BuyerState:
    if event.call is not _CALLS[state.phase]:
        return state
    late = event.certain and now.time > state.dispute_by
    if late and isinstance(state.evidence, KeyEvidence) and state.phase is B.DISPUTING:
        return _go(state, B.LOST, reason=f"the posted key is wrong, and the dispute came too late: {event.reason}")
    return _rest(state, event, now)


def _rest(state: BuyerState, event: ev.Failed, now: Clock) -> BuyerState:
    rest_s = min(RETRY_LIMIT_S, RETRY_S << min(state.attempt, 8))
    attempt = state.attempt + 1 if event.certain else state.attempt
    return msgspec.structs.replace(state, attempt=attempt, retry_at=now.time + rest_s, reason=event.reason)


def _hindered(state: BuyerState, event: ev.Hindered, now: Clock) -> BuyerState:
    return msgspec.structs.replace(state, retry_at=now.time + RETRY_S, reason=event.reason)


def _rested(state: BuyerState, event: ev.Tick, now: Clock) -> BuyerState:
    if 0 < state.retry_at <= now.time:
        return msgspec.structs.replace(state, retry_at=0)
    return state


Handler = Callable[[BuyerState, Any, Clock], BuyerState]

BUYER_TABLE: dict[tuple[Buyer, type], Handler] = {
    (B.CHOSEN, ev.Fetched): _fetched,
    (B.CHOSEN, ev.FetchFailed): _fetch_failed,
    (B.CHOSEN, ev.Cancelled): _cancelled,
    (B.FETCHED, ev.Judged): _judged,
    (B.FETCHED, ev.Cancelled): _cancelled,
    (B.SAMPLED, ev.OfferRead): _offer_read,
    (B.SAMPLED, ev.Cancelled): _cancelled,
    (B.LOCKING, ev.Locked): _locked,
    (B.LOCKING, ev.Failed): _lock_failed,
    (B.LOCKING, ev.Tick): _rested,
    (B.LOCKED, ev.KeyGiven): _key_given,
    (B.LOCKED, ev.KeyDenied): _key_denied,
    (B.LOCKED, ev.Posted): _posted,
    (B.LOCKED, ev.Tick): _overdue,
    (B.LOCKED, ev.Finished): _finished_open,
    (B.LOCKED, ev.Proven): _proven_open,
    (B.KEYED, ev.Checked): _checked,
    (B.KEYED, ev.Faulted): _faulted,
    (B.KEYED, ev.Posted): _posted_later,
    (B.KEYED, ev.Finished): _finished_open,
    (B.KEYED, ev.Proven): _proven_open,
    (B.VERIFIED, ev.Imported): _imported,
    (B.VERIFIED, ev.Posted): _posted_later,
    (B.VERIFIED, ev.Finished): _finished_known,
    (B.CONFIRMING, ev.Finished): _finished_confirming,
    (B.CONFIRMING, ev.Posted): _posted_later,
    (B.CONFIRMING, ev.Failed): _call_failed,
    (B.CONFIRMING, ev.Tick): _rested,
    (B.AWAITING_REFUND, ev.Posted): _posted,
    (B.AWAITING_REFUND, ev.Tick): _overdue,
    (B.AWAITING_REFUND, ev.Finished): _finished_open,
    (B.AWAITING_REFUND, ev.Proven): _proven_open,
    (B.REFUNDING, ev.Posted): _posted,
    (B.REFUNDING, ev.Finished): _finished_open,
    (B.REFUNDING, ev.Failed): _call_failed,
    (B.REFUNDING, ev.Tick): _rested,
    (B.WITHDRAWING, ev.Withdrawn): _withdrawn,
    (B.WITHDRAWING, ev.Failed): _call_failed,
    (B.WITHDRAWING, ev.Tick): _rested,
    (B.DISPUTING, ev.Posted): _posted_again,
    (B.DISPUTING, ev.Finished): _finished_disputing,
    (B.DISPUTING, ev.Proven): _proven_disputing,
    (B.DISPUTING, ev.Failed): _call_failed,
    (B.DISPUTING, ev.Tick): _rested,
    **{(phase, ev.Undone): _undone for phase in _AFTER_LOCK},
    **{(phase, ev.Hindered): _hindered for phase in _HINDERED},
    **{(phase, ev.Tick): _rested for phase in _HINDERED},
}

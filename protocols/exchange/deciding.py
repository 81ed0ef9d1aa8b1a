"""How a purchase goes on from each state at each event; `buying` has the table that says which handler is whose."""

from __future__ import annotations

from typing import Any

import msgspec

from protocols.exchange import events as ev
from protocols.exchange.events import Clock
from protocols.exchange.handover import CellEvidence, KeyEvidence, MaskedKey
from protocols.exchange.purchase import Buyer, BuyerState, pay_at
from protocols.wei import parse_wei

RETRY_S = 15  # of chain time; about one block of a slow chain
RETRY_LIMIT_S = 3_600
LOCK_TRIES = 8  # of a lock that a reorganisation undid when the data were at home: about an hour

B = Buyer


def go(state: BuyerState, phase: Buyer, **changes: Any) -> BuyerState:
    """The same purchase in another phase, where nothing rests yet."""
    return msgspec.structs.replace(state, phase=phase, retry_at=0, **changes)


def refuse(state: BuyerState, reason: str) -> BuyerState:
    """End it before a coin moved."""
    return go(state, B.REFUSED, reason=reason)


# --- before the lock: everything can be refused, nothing is lost ---


def fetched(state: BuyerState, event: ev.Fetched, now: Clock) -> BuyerState:
    if event.root != state.terms.root or event.cells != state.terms.cells:
        return refuse(state, "the payload does not have the root that the offer names")
    return go(state, B.FETCHED)


def fetch_failed(state: BuyerState, event: ev.FetchFailed, now: Clock) -> BuyerState:
    return refuse(state, event.reason)


def judged(state: BuyerState, event: ev.Judged, now: Clock) -> BuyerState:
    if not event.ok:
        return refuse(state, "; ".join(event.reasons) or "the sample was refused without a reason")
    return go(state, B.SAMPLED)


def offer_read(state: BuyerState, event: ev.OfferRead, now: Clock) -> BuyerState:
    if event.root != state.terms.root or event.cells != state.terms.cells:
        return refuse(state, "the offer on chain commits to another payload")
    if parse_wei(event.price_wei) > parse_wei(state.terms.max_price_wei):
        return refuse(state, f"the price on chain is {event.price_wei}, the limit was {state.terms.max_price_wei}")
    if not event.live:
        return refuse(state, "the offer is closed, its seller was at fault, or its dataset was revoked")
    if not event.covered:
        return refuse(state, "the seller's bond does not cover another sale")
    if event.disputes_lost > state.terms.max_disputes_lost:
        lost, limit = event.disputes_lost, state.terms.max_disputes_lost
        return refuse(state, f"the seller lost {lost} disputes, the limit is {limit} (exchange.max_disputes_lost)")
    return go(state, B.LOCKING)


def cancelled(state: BuyerState, event: ev.Cancelled, now: Clock) -> BuyerState:
    return refuse(state, event.reason)


def locked(state: BuyerState, event: ev.Locked, now: Clock) -> BuyerState:
    """A lock that was mined a second time, after a reorganisation, finds the records here: then they are to be paid."""
    return go(state, after_lock(state), sale=event.sale, deliver_by=event.deliver_by)


def after_lock(state: BuyerState) -> Buyer:
    """Where a purchase stands whose lock is mined, by what it knows already."""
    return B.CONFIRMING if state.imported else B.VERIFIED if state.content_key else B.LOCKED


def lock_failed(state: BuyerState, event: ev.Failed, now: Clock) -> BuyerState:
    if event.call is not ev.Call.LOCK:
        return state
    if event.certain and (not state.content_key or state.locks >= LOCK_TRIES):
        return refuse(state, event.reason)
    return msgspec.structs.replace(rest(state, event, now), locks=state.locks + event.certain)


# --- locked: waiting for the key ---


def key_given(state: BuyerState, event: ev.KeyGiven, now: Clock) -> BuyerState:
    return go(state, B.KEYED, key=event.key)


def key_denied(state: BuyerState, event: ev.KeyDenied, now: Clock) -> BuyerState:
    return msgspec.structs.replace(state, denied=state.denied + 1, reason=event.reason)


def posted(state: BuyerState, event: ev.Posted, now: Clock) -> BuyerState:
    if state.bad:  # the money is coming back already
        return posted_later(state, event, now)
    known = _is_about(state.evidence, event.key)  # after a reorganisation: examined before, and found wrong
    evidence = state.evidence if known else None
    phase = B.DISPUTING if known else B.KEYED
    return go(state, phase, key=event.key, posted=event.key, dispute_by=event.dispute_by, evidence=evidence)


def _is_about(evidence: KeyEvidence | CellEvidence | None, key: MaskedKey) -> bool:
    return isinstance(evidence, KeyEvidence) and MaskedKey(evidence.ex, evidence.parity, evidence.masked) == key


def posted_later(state: BuyerState, event: ev.Posted, now: Clock) -> BuyerState:
    """Noted only: the key at hand is examined or found good already."""
    return msgspec.structs.replace(state, posted=event.key, dispute_by=event.dispute_by)


def posted_again(state: BuyerState, event: ev.Posted, now: Clock) -> BuyerState:
    """A reorganisation moved the delivery, or changed it: then the new key has to be examined first."""
    if isinstance(state.evidence, KeyEvidence) and event.key != state.posted:
        return go(state, B.KEYED, key=event.key, posted=event.key, dispute_by=event.dispute_by, evidence=None)
    return posted_later(state, event, now)


def overdue(state: BuyerState, event: ev.Tick, now: Clock) -> BuyerState:
    if now.time <= max(state.deliver_by, state.retry_at):
        return state
    return go(state, B.REFUNDING, reason=state.reason or "the seller did not deliver in time")


# --- keyed: examined, then paid or disputed ---


def checked(state: BuyerState, event: ev.Checked, now: Clock) -> BuyerState:
    if event.key != state.key:
        return state
    return go(state, B.VERIFIED, content_key=event.content_key, reason="")


def faulted(state: BuyerState, event: ev.Faulted, now: Clock) -> BuyerState:
    if event.key != state.key:
        return state
    if state.bad:  # and paid, or it would be refunding: the fault is proved already
        return go(state, B.RECLAIMING, evidence=event.evidence)
    if isinstance(event.evidence, CellEvidence):
        return go(state, B.DISPUTING, evidence=event.evidence, reason="a cell does not hold what was committed")
    if state.posted not in (None, event.key):  # another key was posted meanwhile: that one counts
        return go(state, B.KEYED, key=state.posted)
    if state.paid:
        return go(state, B.LOST, reason="the posted key is wrong, and the time to dispute it has passed")
    if state.posted is None:  # said in private, so nobody can be shown; the seller may still post the right one
        return go(state, B.AWAITING_REFUND, key=None, reason="the key sent in private opens nothing")
    return go(state, B.DISPUTING, evidence=event.evidence, reason="the posted key opens nothing")


def imported(state: BuyerState, event: ev.Imported, now: Clock) -> BuyerState:
    known = msgspec.structs.replace(state, imported=True, records=event.records, unreadable=event.unreadable)
    return settled(known) if state.paid else go(known, B.CONFIRMING)


# --- confirming: the seller brings what is signed, or the buyer pays the gas himself ---


def consented(state: BuyerState, event: ev.Consented, now: Clock) -> BuyerState:
    return msgspec.structs.replace(state, consents=state.consents + 1, taken=event.taken, reason=event.reason)


def pay_in_time(state: BuyerState, event: ev.Tick, now: Clock) -> BuyerState:
    return go(state, B.PAYING) if now.time >= pay_at(state) else state


# --- how the contract ends it ---


def finished_open(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    """While no good key is at hand: a payment can only follow a posted key whose time to dispute has passed."""
    if event.outcome == "refunded":
        return refunded(state)
    if state.bad:
        return go(state, B.RECLAIMING, paid=True)
    if state.key is None and state.posted is None:
        return go(state, B.LOST, paid=True, reason="the sale was paid out without a key for it")
    return go(state, B.KEYED, key=state.key or state.posted, paid=True)


def finished_known(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    if event.outcome == "refunded":
        return refunded(state)
    return msgspec.structs.replace(state, paid=True)


def finished_confirming(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    return refunded(state) if event.outcome == "refunded" else settled(state)


def settled(state: BuyerState) -> BuyerState:
    """Paid, with the records at home; when the seller was at fault elsewhere, the held share can be had back."""
    return go(state, B.RECLAIMING if state.bad else B.SETTLED, paid=True)


def finished_lost(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    """The dispute came too late, or so it seemed."""
    return refunded(state) if event.outcome == "refunded" else msgspec.structs.replace(state, paid=True)


def finished_disputing(state: BuyerState, event: ev.Finished, now: Clock) -> BuyerState:
    if event.outcome == "refunded":
        return refunded(msgspec.structs.replace(state, disputed=True))
    if isinstance(state.evidence, CellEvidence):  # a false cell can be shown after the payment too
        return msgspec.structs.replace(state, paid=True)
    return go(state, B.LOST, paid=True, reason="the posted key is wrong, and the dispute came too late")


def refunded(state: BuyerState) -> BuyerState:
    return go(state, B.WITHDRAWING, attempt=0)


def proven_open(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    if state.paid:  # the key is being examined still: a good one brings the data too
        return proven_known(state, event, now)
    reason = state.reason or "the seller was found at fault in another sale"
    return go(state, B.REFUNDING, bad=True, disputed=event.own, reason=reason)


def proven_known(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    """Noted only: the data are good, and whoever ends the sale decides whether it is refunded or reclaimed."""
    return msgspec.structs.replace(state, bad=True)


def proven_paid(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    """What the contract still holds of the price is not the seller's any more."""
    phase = B.RECLAIMING if state.paid else B.REFUNDING
    return go(state, phase, bad=True, reason="the seller was found at fault in this offer", attempt=0)


def proven_disputing(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    """My evidence, or somebody's who was quicker. A sale already paid gives half the bond and the held share."""
    return go(state, B.RECLAIMING if state.paid else B.REFUNDING, bad=True, disputed=True, attempt=0)


def proven_refunded(state: BuyerState, event: ev.Proven, now: Clock) -> BuyerState:
    """After a reorganisation, a dispute that was sent before may be mined before it is needed again."""
    return go(state, B.WITHDRAWING, bad=True, disputed=True, attempt=state.attempt + 1) if event.own else state


def faulted_paid(state: BuyerState, event: ev.Faulted, now: Clock) -> BuyerState:
    """Examined again on request, after the payment: a false cell can still be shown."""
    if not isinstance(event.evidence, CellEvidence):
        return state
    return go(state, B.DISPUTING, evidence=event.evidence, reason="a cell does not hold what was committed", attempt=0)


def reclaimed(state: BuyerState, event: ev.Reclaimed, now: Clock) -> BuyerState:
    return go(state, B.WITHDRAWING, attempt=0)


def nothing_held(state: BuyerState, event: ev.NothingHeld, now: Clock) -> BuyerState:
    """Too late for the held share; a dispute of one's own left a part of the bond all the same."""
    if state.disputed:
        return go(state, B.WITHDRAWING, attempt=0, reason=event.reason)
    return go(state, B.SETTLED if state.imported else B.LOST, reason=event.reason)


def withdrawn(state: BuyerState, event: ev.Withdrawn, now: Clock) -> BuyerState:
    return go(state, B.DISPUTED if state.disputed else B.RECLAIMED if state.paid else B.REFUNDED)


# --- troubles ---


_CALLS = {
    B.PAYING: ev.Call.CONFIRM,
    B.REFUNDING: ev.Call.REFUND,
    B.WITHDRAWING: ev.Call.WITHDRAW,
    B.DISPUTING: ev.Call.DISPUTE,
    B.RECLAIMING: ev.Call.RECLAIM,
}


def call_failed(state: BuyerState, event: ev.Failed, now: Clock) -> BuyerState:
    if event.call is not _CALLS[state.phase]:
        return state
    late = event.certain and now.time > state.dispute_by
    if late and isinstance(state.evidence, KeyEvidence) and state.phase is B.DISPUTING:
        return go(state, B.LOST, reason=f"the posted key is wrong, and the dispute came too late: {event.reason}")
    return rest(state, event, now)


def rest(state: BuyerState, event: ev.Failed, now: Clock) -> BuyerState:
    rest_s = min(RETRY_LIMIT_S, RETRY_S << min(state.attempt, 8))
    attempt = state.attempt + 1 if event.certain else state.attempt
    # what the money is fetched for outlives what delays it: after a restart every wallet is locked for a moment
    reason = event.reason if event.certain or state.phase is B.LOCKING else state.reason or event.reason
    return msgspec.structs.replace(state, attempt=attempt, retry_at=now.time + rest_s, reason=reason)


def hindered(state: BuyerState, event: ev.Hindered, now: Clock) -> BuyerState:
    return msgspec.structs.replace(state, retry_at=now.time + RETRY_S, reason=event.reason)


def rested(state: BuyerState, event: ev.Tick, now: Clock) -> BuyerState:
    if 0 < state.retry_at <= now.time:
        return msgspec.structs.replace(state, retry_at=0)
    return state

"""The buyer's transitions as a table (see `machine` for the picture and the driver's duties).

A handler (`deciding`) takes a state and an event to the next state. A pair that is not in the table changes nothing.

What the log says of a sale is kept in the state as it was heard. When a reorganisation takes a part of it back, the
purchase begins again at its lock with all that was learnt off the chain, and hears again what still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from protocols.exchange import deciding as on
from protocols.exchange import events as ev
from protocols.exchange.events import Clock
from protocols.exchange.handover import CellEvidence
from protocols.exchange.purchase import Buyer, BuyerState, Terms, plan_buyer
from protocols.wei import parse_wei

B = Buyer
_BEFORE_LOCK = frozenset({B.CHOSEN, B.FETCHED, B.SAMPLED, B.LOCKING, B.REFUSED})
_WITHDRAWN = frozenset({B.REFUNDED, B.RECLAIMED, B.DISPUTED})
_HINDERED = (B.FETCHED, B.SAMPLED, B.KEYED, B.VERIFIED)  # their actions need an endpoint or the block store


def begin(terms: Terms, secret: bytes) -> BuyerState:
    """A purchase, not yet journalled. `secret` comes from `handover.one_time_key`."""
    state = BuyerState(terms=terms, secret=secret)
    if parse_wei(terms.price_wei) > parse_wei(terms.max_price_wei):
        return on.refuse(state, f"the price is {terms.price_wei} base units, the limit was {terms.max_price_wei}")
    return state


def step_buyer(state: BuyerState, event: ev.BuyerEvent, now: Clock) -> tuple[BuyerState, list[ev.BuyerAction]]:
    """The next state, and what has newly to be done; journal the state before doing it."""
    after = _advance(state, event, now)
    if after == state:
        return state, []
    before = plan_buyer(state)
    return after, [action for action in plan_buyer(after) if action not in before]


def _advance(state: BuyerState, event: ev.BuyerEvent, now: Clock) -> BuyerState:
    if isinstance(event, ev.Undone):
        return _undone(state, event, now)
    if isinstance(event, ev.BuyerNews):
        return _hear(state, event, now)
    handler = BUYER_TABLE.get((state.phase, type(event)))
    return handler(state, event, now) if handler else state


def _hear(state: BuyerState, news: ev.BuyerNews, now: Clock) -> BuyerState:
    if news in state.heard or state.phase in _BEFORE_LOCK:
        return state
    handler = BUYER_TABLE.get((state.phase, type(news)))
    after = handler(state, news, now) if handler else state
    return msgspec.structs.replace(after, heard=(*state.heard, news))


def _undone(state: BuyerState, event: ev.Undone, now: Clock) -> BuyerState:
    if state.phase in _BEFORE_LOCK or not state.secret:  # forgotten: what is over stays over
        return state
    if event.what is None:
        return _unlocked(state)
    if event.what not in state.heard and not (isinstance(event.what, ev.Withdrawn) and state.phase in _WITHDRAWN):
        return state
    again = _relocked(state)
    for news in state.heard:
        if news != event.what:
            again = _hear(again, news, now)
    return again


def _unlocked(state: BuyerState) -> BuyerState:
    """Back to the same lock transaction: it may be mined again by itself, and then under another sale id."""
    return BuyerState(
        terms=state.terms,
        secret=state.secret,
        phase=B.LOCKING,
        reason="a reorganisation removed the lock",
        content_key=state.content_key,
        imported=state.imported,
        records=state.records,
        unreadable=state.unreadable,
        locks=state.locks,
        rewinds=state.rewinds + 1,
    )


def _relocked(state: BuyerState) -> BuyerState:
    """Right after the lock, with what was learnt off the chain since."""
    is_cell = isinstance(state.evidence, CellEvidence)
    bare = msgspec.structs.replace(
        _unlocked(state),
        sale=state.sale,
        deliver_by=state.deliver_by,
        reason="a reorganisation took a part of the deal back",
        key=state.key if state.content_key or is_cell else None,
        evidence=state.evidence,
    )
    return on.go(bare, B.DISPUTING if is_cell else on.after_lock(bare))


Handler = Callable[[BuyerState, Any, Clock], BuyerState]

BUYER_TABLE: dict[tuple[Buyer, type], Handler] = {
    (B.CHOSEN, ev.Fetched): on.fetched,
    (B.CHOSEN, ev.FetchFailed): on.fetch_failed,
    (B.CHOSEN, ev.Cancelled): on.cancelled,
    (B.FETCHED, ev.Judged): on.judged,
    (B.FETCHED, ev.Cancelled): on.cancelled,
    (B.SAMPLED, ev.OfferRead): on.offer_read,
    (B.SAMPLED, ev.Cancelled): on.cancelled,
    (B.LOCKING, ev.Locked): on.locked,
    (B.LOCKING, ev.Failed): on.lock_failed,
    (B.LOCKING, ev.Tick): on.rested,
    (B.LOCKED, ev.KeyGiven): on.key_given,
    (B.LOCKED, ev.KeyDenied): on.key_denied,
    (B.LOCKED, ev.Posted): on.posted,
    (B.LOCKED, ev.Tick): on.overdue,
    (B.LOCKED, ev.Finished): on.finished_open,
    (B.LOCKED, ev.Proven): on.proven_open,
    (B.KEYED, ev.Checked): on.checked,
    (B.KEYED, ev.Faulted): on.faulted,
    (B.KEYED, ev.Posted): on.posted_later,
    (B.KEYED, ev.Finished): on.finished_open,
    (B.KEYED, ev.Proven): on.proven_open,
    (B.VERIFIED, ev.Imported): on.imported,
    (B.VERIFIED, ev.Posted): on.posted_later,
    (B.VERIFIED, ev.Finished): on.finished_known,
    (B.VERIFIED, ev.Proven): on.proven_known,
    (B.CONFIRMING, ev.Consented): on.consented,
    (B.CONFIRMING, ev.Tick): on.pay_in_time,
    (B.CONFIRMING, ev.Finished): on.finished_confirming,
    (B.CONFIRMING, ev.Posted): on.posted_later,
    (B.CONFIRMING, ev.Proven): on.proven_known,
    (B.PAYING, ev.Finished): on.finished_confirming,
    (B.PAYING, ev.Posted): on.posted_later,
    (B.PAYING, ev.Proven): on.proven_known,
    (B.PAYING, ev.Failed): on.call_failed,
    (B.PAYING, ev.Tick): on.rested,
    (B.AWAITING_REFUND, ev.Posted): on.posted,
    (B.AWAITING_REFUND, ev.Tick): on.overdue,
    (B.AWAITING_REFUND, ev.Finished): on.finished_open,
    (B.AWAITING_REFUND, ev.Proven): on.proven_open,
    (B.REFUNDING, ev.Posted): on.posted,
    (B.REFUNDING, ev.Finished): on.finished_open,
    (B.REFUNDING, ev.Failed): on.call_failed,
    (B.REFUNDING, ev.Tick): on.rested,
    (B.WITHDRAWING, ev.Proven): on.proven_refunded,
    (B.REFUNDED, ev.Proven): on.proven_refunded,
    (B.WITHDRAWING, ev.Withdrawn): on.withdrawn,
    (B.WITHDRAWING, ev.Failed): on.call_failed,
    (B.WITHDRAWING, ev.Tick): on.rested,
    (B.DISPUTING, ev.Posted): on.posted_again,
    (B.DISPUTING, ev.Finished): on.finished_disputing,
    (B.DISPUTING, ev.Proven): on.proven_disputing,
    (B.DISPUTING, ev.Failed): on.call_failed,
    (B.DISPUTING, ev.Tick): on.rested,
    (B.SETTLED, ev.Proven): on.proven_paid,
    (B.SETTLED, ev.Faulted): on.faulted_paid,
    (B.LOST, ev.Proven): on.proven_paid,
    (B.LOST, ev.Finished): on.finished_lost,
    (B.RECLAIMING, ev.Reclaimed): on.reclaimed,
    (B.RECLAIMING, ev.NothingHeld): on.nothing_held,
    (B.RECLAIMING, ev.Failed): on.call_failed,
    (B.RECLAIMING, ev.Tick): on.rested,
    (B.REFUSED, ev.Locked): on.locked,  # a lock that was given up was mined after all
    **{(phase, ev.Hindered): on.hindered for phase in _HINDERED},
    **{(phase, ev.Tick): on.rested for phase in _HINDERED},
}

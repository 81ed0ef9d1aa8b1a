"""The two sides of a sale as sans-I/O machines: a frozen state, `step(state, event, now)`, and actions to carry out.

Buyer (`buying`), the honest way on the left, each state with the action that leads out of it:

    chosen        Fetch       --Fetched----->  fetched      root or width differ: refused
    fetched       AskSample   --Judged------>  sampled      the sample does not bear the claim out: refused
    sampled       ReadOffer   --OfferRead--->  locking      what stands on chain does not fit: refused
    locking       Lock        --Locked------>  locked       never mined for certain: refused
    locked        AskKey      --KeyGiven---->  keyed        deadline passed: refunding
                              --Posted------>  keyed
    keyed         Verify      --Checked----->  verified     wrong, in private: awaiting_refund
                                                            wrong, on chain; or a false cell: disputing
    verified      Import      --Imported---->  confirming   (paid out already: settled)
    confirming    Consent     --Finished---->  settled      not brought by a margin before the deadline: paying
    paying        Confirm     --Finished---->  settled
    awaiting_refund           --Posted------>  keyed        deadline passed: refunding
    refunding     Refund      --Finished---->  withdrawing  Posted after all: keyed
    disputing     Dispute     --Finished---->  withdrawing  (key)
                              --Proven------>  refunding    (cell; paid out already: reclaiming)
    settled                   --Proven------>  reclaiming   the offer was found at fault while a share is held
                              --Faulted----->  disputing    a false cell, found on request
    reclaiming    Reclaim     --Reclaimed--->  withdrawing  nothing is held any more: settled
    withdrawing   Withdraw    --Withdrawn--->  refunded; paid before: reclaimed; on own evidence: disputed
    ends: settled, refused, refunded, reclaimed, disputed, lost (only after missing the dispute window of a wrong
    posted key; like settled it ends for good when nothing is held any more)

Seller (`selling`), one machine a sale:

    seen          (blocks)    --Tick-------->  locked       deep enough
    locked        HandOver    --KeyAsked---->  handed_over
    handed_over               --Signed------>  confirmed    (also from any later open state)
    confirmed     Bring       --Finished---->  paid         the safety margin is reached all the same: posting
                              --Skipped----->  handed_over  the contract would not have it
    locked, handed_over       --Tick-------->  posting      the safety margin before the deadline is reached
    posting       Deliver     --Delivered--->  delivered    deadline passed: expired
    delivered                 --Tick-------->  claiming     the dispute window is over
    claiming      Claim       --Finished---->  paid
    expired                   --Tick-------->  releasing    nobody confirmed late: nothing can be earned any more
    releasing     Refund      --Finished---->  refunded     which frees the bond
    paid                      --Reclaimed--->  disputed     the offer was found at fault while a share was held
    gone                      --LockSeen---->  seen         a reorganisation removed the lock; never again: void
    any open state            --Finished---->  paid, refunded, or disputed (refunded for a proven fault)

A reorganisation: `Undone` takes back one thing that the log said, the newest first, in an end as well as before it.
The machine goes back to its lock with what it learnt off the chain (keys, records, evidence, the signed confirmation),
hears again what still stands, and does anew, under new names, what is missing. Without its lock it is locking, or gone.

A driver's whole job:

 1. `state, actions = step(state, event, now)`; write the state to the journal; only then start the actions. An action
    equal to one that is running is not started again.
 2. Carry an action out and report the matching event; it does not matter how often. Contract calls go through
    `Transactor.once(action.key, …)`, so a repeated one is the same transaction. Its failure is reported as `Failed`,
    that of AskSample, ReadOffer, Verify or Import as `Hindered`; both rest, and a Tick asks for them again. A
    confirmation to Bring is told as Failed, too, when its batch failed, and as `Skipped` when the contract passed it.
 3. Feed `Tick` with the newest block at every block, and the contract's events about the sale in their order, as soon
    as they are deep enough to count; `Undone` for each that a reorganisation took back. Deals that have ended hear of
    their sale too.
 4. After a start: for every journalled state that is no `ended` one, start `resume(state)`, then feed what the chain
    says of the sale now, then `Tick`. Also after an unlock of the wallet.

`Finished`, `Proven`, `Posted`, `Delivered` and `Reclaimed` come from the contract's log, not from one's own receipts:
the other side or a third one can cause them too. `now` is chain time, because the deadlines are the contract's.
"""

from __future__ import annotations

from typing import TypeVar, overload

import msgspec

from protocols.codec import encode
from protocols.errors import Malformed
from protocols.exchange.buying import begin, step_buyer
from protocols.exchange.events import (
    BuyerAction,
    BuyerEvent,
    Checked,
    Clock,
    Faulted,
    SellerAction,
    SellerEvent,
    Verify,
)
from protocols.exchange.handover import cell_fault_evidence, key_fault_evidence, try_key
from protocols.exchange.purchase import BUYER_ENDS, Buyer, BuyerState, Terms, resume_buyer
from protocols.exchange.selling import SELLER_ENDS, Caution, Seller, SellerState, resume_seller, step_seller
from protocols.sealed import Payload

__all__ = [
    "Buyer",
    "BuyerState",
    "Caution",
    "Clock",
    "Seller",
    "SellerState",
    "Terms",
    "begin",
    "ended",
    "examine",
    "restore",
    "resume",
    "step",
    "steps",
    "store",
]

S = TypeVar("S", BuyerState, SellerState)


@overload
def step(state: BuyerState, event: BuyerEvent, now: Clock) -> tuple[BuyerState, list[BuyerAction]]: ...
@overload
def step(state: SellerState, event: SellerEvent, now: Clock) -> tuple[SellerState, list[SellerAction]]: ...
def step(
    state: BuyerState | SellerState, event: BuyerEvent | SellerEvent, now: Clock
) -> tuple[BuyerState, list[BuyerAction]] | tuple[SellerState, list[SellerAction]]:
    """The next state and what has newly to be done. An event that does not fit the state changes nothing."""
    if isinstance(state, BuyerState):
        return step_buyer(state, event, now)  # type: ignore[arg-type]  # the overloads pair state and event
    return step_seller(state, event, now)  # type: ignore[arg-type]


@overload
def resume(state: BuyerState) -> list[BuyerAction]: ...
@overload
def resume(state: SellerState) -> list[SellerAction]: ...
def resume(state: BuyerState | SellerState) -> list[BuyerAction] | list[SellerAction]:
    """All that a state wants done, whether or not it was begun before a crash."""
    return resume_buyer(state) if isinstance(state, BuyerState) else resume_seller(state)


def ended(state: BuyerState | SellerState) -> bool:
    """Whether nothing follows by itself; what the log says of the sale may still wake the deal."""
    return state.phase in (BUYER_ENDS if isinstance(state, BuyerState) else SELLER_ENDS)


def steps() -> list[Buyer | Seller]:
    """All states that reach the journal, so that a test which kills a node at each one cannot forget a new one."""
    return [*Buyer, *Seller]


def store(state: BuyerState | SellerState) -> bytes:
    """A state as the journal keeps it. A buyer's holds secrets: the journal's file is 0600."""
    return encode(state)


def restore(data: bytes, kind: type[S]) -> S:
    """A journalled state. Raises Malformed when it was written by an incompatible version."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as err:
        raise Malformed(f"a stored {kind.__name__} cannot be read: {err}") from err


def examine(state: BuyerState, action: Verify, payload: Payload) -> Checked | Faulted:
    """Carry out a Verify: unmask the key and check every cell. CPU-bound: run it in a worker thread."""
    sale = int(action.sale)
    outcome = try_key(payload, state.secret, action.key, sale)
    if outcome.fault is None and outcome.content_key is not None:
        return Checked(action.key, outcome.content_key)
    if outcome.fault is not None and outcome.fault.kind == "cell" and outcome.content_key is not None:
        return Faulted(action.key, cell_fault_evidence(payload, outcome.fault.index, outcome.content_key, sale))
    index = outcome.fault.index if outcome.fault else 0
    return Faulted(action.key, key_fault_evidence(payload, index, state.secret, action.key, sale))

"""The two sides of a sale as sans-I/O machines: a frozen state, `step(state, event, now)`, and actions to carry out.

Buyer (`buying`), the honest way on the left, each state with the action that leads out of it:

    chosen        Fetch       --Fetched----->  fetched      root or width differ: refused
    fetched       AskSample   --Judged------>  sampled      the sample does not bear the claim out: refused
    sampled       ReadOffer   --OfferRead--->  locking      price, root, bond or life on chain do not fit: refused
    locking       Lock        --Locked------>  locked       never mined for certain: refused
    locked        AskKey      --KeyGiven---->  keyed        deadline passed: refunding
                              --Posted------>  keyed
    keyed         Verify      --Checked----->  verified     wrong, in private: awaiting_refund
                                                            wrong, on chain; or a false cell: disputing
    verified      Import      --Imported---->  confirming   (paid out already: settled)
    confirming    Confirm     --Finished---->  settled
    awaiting_refund           --Posted------>  keyed        deadline passed: refunding
    refunding     Refund      --Finished---->  withdrawing  Posted after all: keyed
    disputing     Dispute     --Finished---->  withdrawing  (key)
                              --Proven------>  refunding    (cell; paid out already: withdrawing)
    withdrawing   Withdraw    --Withdrawn--->  refunded, or disputed
    ends: settled, refused, refunded, disputed, lost (only after missing the dispute window of a wrong posted key)

Seller (`selling`), one machine a sale:

    seen          (blocks)    --Tick-------->  locked       deep enough
    locked        HandOver    --KeyAsked---->  handed_over
    locked, handed_over       --Tick-------->  posting      the safety margin before the deadline is reached
    posting       Deliver     --Delivered--->  delivered    deadline passed: expired
    delivered                 --Tick-------->  claiming     the dispute window is over
    claiming      Claim       --Finished---->  paid
    expired       Refund      --Finished---->  refunded     nothing can be earned any more: free the bond
    gone                      --LockSeen---->  seen         a reorganisation removed the lock; never again: void
    any open state            --Finished---->  paid, refunded, or disputed (refunded for a proven fault)

A driver's whole job:

 1. `state, actions = step(state, event, now)`; write the state to the journal; only then start the actions. An action
    equal to one that is running is not started again.
 2. Carry an action out and report the matching event; it does not matter how often. Contract calls go through
    `Transactor.once(action.key, …)`, so a repeated one is the same transaction. Its failure is reported as `Failed`,
    that of AskSample, ReadOffer, Verify or Import as `Hindered`; both rest, and a Tick asks for them again.
 3. Feed `Tick` with the newest block at every block, and the contract's events about the sale in their order, as soon
    as they are deep enough to count; `Undone` when a reorganisation took the lock back.
 4. After a start: for every journalled state that is no `ended` one, start `resume(state)`, then feed what the chain
    says of the sale now, then `Tick`. Also after an unlock of the wallet.

`Finished`, `Proven`, `Posted` and `Delivered` come from the contract's log, not from one's own receipts: the other side
or a third one can cause them too. `now` is chain time, because the deadlines are the contract's.
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
    """Whether nothing can follow."""
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
    sale = int(state.sale)
    outcome = try_key(payload, state.secret, action.key, sale)
    if outcome.fault is None and outcome.content_key is not None:
        return Checked(action.key, outcome.content_key)
    if outcome.fault is not None and outcome.fault.kind == "cell" and outcome.content_key is not None:
        return Faulted(action.key, cell_fault_evidence(payload, outcome.fault.index, outcome.content_key, sale))
    index = outcome.fault.index if outcome.fault else 0
    return Faulted(action.key, key_fault_evidence(payload, index, state.secret, action.key, sale))

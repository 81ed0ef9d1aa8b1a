"""The transitions, all of them: every state meets every event, and only what is written here may follow."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from protocols.exchange import events as ev
from protocols.exchange.handover import CellEvidence, KeyEvidence, MaskedKey
from protocols.exchange.machine import (
    Buyer,
    BuyerState,
    Caution,
    Clock,
    Seller,
    SellerState,
    Terms,
    begin,
    ended,
    restore,
    resume,
    step,
    steps,
    store,
)
from protocols.exchange.purchase import BUYER_ENDS
from protocols.exchange.selling import SELLER_ENDS

B, S = Buyer, Seller
ROOT = hashlib.sha256(b"root").digest()
SECRET = hashlib.sha256(b"b").digest()
KEY = MaskedKey(bytes(32), 0, bytes(32))
OTHER_KEY = MaskedKey(bytes(32), 1, bytes(32))
KEY_EVIDENCE = KeyEvidence("9", SECRET, bytes(32), 0, bytes(32), 0, bytes(32), bytes(32), bytes(32), (bytes(32),))
CELL_EVIDENCE = CellEvidence("9", 0, bytes(32), bytes(32), b"ct", ())
SIGNATURE = bytes(range(64))
NOW = Clock(time=1_000, block=100)
BEFORE_LOCK = (B.CHOSEN, B.FETCHED, B.SAMPLED, B.LOCKING, B.REFUSED)
LATER = Clock(time=9_000, block=900)
TERMS = Terms(
    deal="deal-1",
    offer="0" * 64,
    seller="peer",
    cid="cid",
    root=ROOT,
    cells=100,
    size_bytes=100_000,
    offer_no=7,
    offer_block=50,
    price_wei="5",
    max_price_wei="10",
    sample_cap=64,
)


def buyer(phase: Buyer, **fields: Any) -> BuyerState:
    sale = "" if phase in BEFORE_LOCK else "9"
    known = {"sale": sale, "deliver_by": 2_000, "dispute_by": 3_000, **fields}
    return BuyerState(terms=TERMS, secret=SECRET, phase=phase, **known)


def seller(phase: Seller, **fields: Any) -> SellerState:
    state = SellerState(
        sale="9", offer="0" * 64, buyer_public=(ROOT, ROOT), block=99, deliver_by=2_000, caution=Caution()
    )
    dispute_by = 3_000 if phase in (S.DELIVERED, S.CLAIMING) else 0
    if phase in (S.HANDED_OVER, S.CONFIRMED):
        fields = {"handed_over": True, **fields}
    if phase is S.CONFIRMED:
        fields = {"consent": SIGNATURE, **fields}
    dispute_by = fields.pop("dispute_by", dispute_by)
    return msgspec.structs.replace(state, phase=phase, dispute_by=dispute_by, **fields)


BUYER_EVENTS: dict[str, tuple[Any, Clock]] = {
    "tick": (ev.Tick(), NOW),
    "late tick": (ev.Tick(), LATER),
    "fetched": (ev.Fetched(ROOT, 100), NOW),
    "fetched other": (ev.Fetched(bytes(32), 100), NOW),
    "fetched short": (ev.Fetched(ROOT, 99), NOW),
    "fetch failed": (ev.FetchFailed("nobody has it"), NOW),
    "judged good": (ev.Judged(True), NOW),
    "judged bad": (ev.Judged(False, ("junk",)), NOW),
    "offer": (ev.OfferRead(ROOT, 100, "5", live=True, covered=True), NOW),
    "offer dear": (ev.OfferRead(ROOT, 100, "11", live=True, covered=True), NOW),
    "offer dead": (ev.OfferRead(ROOT, 100, "5", live=False, covered=True), NOW),
    "offer uncovered": (ev.OfferRead(ROOT, 100, "5", live=True, covered=False), NOW),
    "offer other": (ev.OfferRead(bytes(32), 100, "5", live=True, covered=True), NOW),
    "hindered": (ev.Hindered("no endpoint"), NOW),
    "cancelled": (ev.Cancelled(), NOW),
    "locked": (ev.Locked("9", 2_000), NOW),
    "key given": (ev.KeyGiven(KEY), NOW),
    "key denied": (ev.KeyDenied("busy"), NOW),
    "posted": (ev.Posted(KEY, 3_000), NOW),
    "posted other": (ev.Posted(OTHER_KEY, 3_000), NOW),
    "checked": (ev.Checked(KEY, bytes(32)), NOW),
    "checked other": (ev.Checked(OTHER_KEY, bytes(32)), NOW),
    "false key": (ev.Faulted(KEY, KEY_EVIDENCE), NOW),
    "false cell": (ev.Faulted(KEY, CELL_EVIDENCE), NOW),
    "imported": (ev.Imported(10), NOW),
    "offer of a cheat": (ev.OfferRead(ROOT, 100, "5", live=True, covered=True, disputes_lost=2), NOW),
    "margin tick": (ev.Tick(), Clock(1_100, 101)),
    "consent taken": (ev.Consented(True), NOW),
    "consent denied": (ev.Consented(False, "no such sale"), NOW),
    "reclaimed": (ev.Reclaimed(), NOW),
    "nothing held": (ev.NothingHeld("ripe"), NOW),
    "paid": (ev.Finished("paid"), NOW),
    "refunded": (ev.Finished("refunded"), NOW),
    "proven": (ev.Proven(), NOW),
    "proven by me": (ev.Proven(own=True), NOW),
    "undone": (ev.Undone(), NOW),
    "withdrawn": (ev.Withdrawn(), NOW),
    **{f"{call} failed": (ev.Failed(call, "no", certain=False), NOW) for call in ev.Call},
    **{f"{call} reverted": (ev.Failed(call, "no", certain=True), NOW) for call in ev.Call},
}

# phase, fields beyond the ordinary -> event -> phase that follows. What is not here changes nothing at all.
BUYER_CASES: list[tuple[Buyer, dict[str, Any], dict[str, Buyer]]] = [
    (
        B.CHOSEN,
        {},
        {"fetched": B.FETCHED, "cancelled": B.REFUSED}
        | dict.fromkeys(["fetched other", "fetched short", "fetch failed"], B.REFUSED),
    ),
    (B.FETCHED, {}, {"hindered": B.FETCHED, "judged good": B.SAMPLED, "judged bad": B.REFUSED, "cancelled": B.REFUSED}),
    (
        B.SAMPLED,
        {},
        {"hindered": B.SAMPLED, "offer": B.LOCKING, "cancelled": B.REFUSED}
        | dict.fromkeys(["offer dear", "offer dead", "offer uncovered", "offer other", "offer of a cheat"], B.REFUSED),
    ),
    (B.LOCKING, {}, {"locked": B.LOCKED, "lock failed": B.LOCKING, "lock reverted": B.REFUSED}),
    (
        B.LOCKING,
        {"retry_at": 1_500},
        {"locked": B.LOCKED, "lock failed": B.LOCKING, "lock reverted": B.REFUSED, "late tick": B.LOCKING},
    ),
    (
        B.LOCKING,
        {"content_key": bytes(32)},
        {"locked": B.VERIFIED, "lock failed": B.LOCKING, "lock reverted": B.LOCKING},
    ),
    (
        B.LOCKING,
        {"content_key": bytes(32), "imported": True},
        {"locked": B.CONFIRMING, "lock failed": B.LOCKING, "lock reverted": B.LOCKING},
    ),
    (
        B.LOCKED,
        {},
        {
            "key given": B.KEYED,
            "key denied": B.LOCKED,
            "posted": B.KEYED,
            "posted other": B.KEYED,
            "late tick": B.REFUNDING,
            "paid": B.LOST,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.KEYED,
        {"key": KEY},
        {
            "hindered": B.KEYED,
            "checked": B.VERIFIED,
            "false key": B.AWAITING_REFUND,
            "false cell": B.DISPUTING,
            "posted": B.KEYED,
            "posted other": B.KEYED,
            "paid": B.KEYED,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.KEYED,
        {"key": KEY, "posted": KEY},
        {
            "hindered": B.KEYED,
            "checked": B.VERIFIED,
            "false key": B.DISPUTING,
            "false cell": B.DISPUTING,
            "posted other": B.KEYED,
            "paid": B.KEYED,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.KEYED,
        {"key": KEY, "posted": OTHER_KEY},
        {
            "hindered": B.KEYED,
            "checked": B.VERIFIED,
            "false key": B.KEYED,
            "false cell": B.DISPUTING,
            "posted": B.KEYED,
            "paid": B.KEYED,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.KEYED,
        {"key": KEY, "posted": KEY, "paid": True},
        {
            "hindered": B.KEYED,
            "checked": B.VERIFIED,
            "false key": B.LOST,
            "false cell": B.DISPUTING,
            "posted other": B.KEYED,
            "refunded": B.WITHDRAWING,
            "proven": B.KEYED,
            "proven by me": B.KEYED,
            "undone": B.LOCKING,
        },
    ),
    (
        B.KEYED,
        {"key": KEY, "posted": KEY, "paid": True, "bad": True},
        {
            "hindered": B.KEYED,
            "checked": B.VERIFIED,
            "false key": B.RECLAIMING,
            "false cell": B.RECLAIMING,
            "posted other": B.KEYED,
            "paid": B.RECLAIMING,
            "refunded": B.WITHDRAWING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.VERIFIED,
        {"key": KEY, "content_key": bytes(32)},
        {
            "hindered": B.VERIFIED,
            "imported": B.CONFIRMING,
            "posted": B.VERIFIED,
            "posted other": B.VERIFIED,
            "paid": B.VERIFIED,
            "refunded": B.WITHDRAWING,
            "proven": B.VERIFIED,
            "proven by me": B.VERIFIED,
            "undone": B.LOCKING,
        },
    ),
    (
        B.VERIFIED,
        {"key": KEY, "content_key": bytes(32), "paid": True},
        {
            "hindered": B.VERIFIED,
            "imported": B.SETTLED,
            "posted": B.VERIFIED,
            "posted other": B.VERIFIED,
            "refunded": B.WITHDRAWING,
            "proven": B.VERIFIED,
            "proven by me": B.VERIFIED,
            "undone": B.LOCKING,
        },
    ),
    (
        B.VERIFIED,
        {"key": KEY, "content_key": bytes(32), "paid": True, "bad": True},
        {
            "hindered": B.VERIFIED,
            "imported": B.RECLAIMING,
            "posted": B.VERIFIED,
            "posted other": B.VERIFIED,
            "refunded": B.WITHDRAWING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.CONFIRMING,
        {"imported": True},
        {
            "consent taken": B.CONFIRMING,
            "consent denied": B.CONFIRMING,
            "margin tick": B.PAYING,
            "late tick": B.PAYING,
            "paid": B.SETTLED,
            "refunded": B.WITHDRAWING,
            "posted": B.CONFIRMING,
            "posted other": B.CONFIRMING,
            "proven": B.CONFIRMING,
            "proven by me": B.CONFIRMING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.PAYING,
        {"imported": True},
        {
            "paid": B.SETTLED,
            "refunded": B.WITHDRAWING,
            "posted": B.PAYING,
            "posted other": B.PAYING,
            "proven": B.PAYING,
            "proven by me": B.PAYING,
            "confirm failed": B.PAYING,
            "confirm reverted": B.PAYING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.PAYING,
        {"imported": True, "bad": True},
        {
            "paid": B.RECLAIMING,
            "refunded": B.WITHDRAWING,
            "posted": B.PAYING,
            "posted other": B.PAYING,
            "confirm failed": B.PAYING,
            "confirm reverted": B.PAYING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.AWAITING_REFUND,
        {},
        {
            "posted": B.KEYED,
            "posted other": B.KEYED,
            "late tick": B.REFUNDING,
            "paid": B.LOST,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.REFUNDING,
        {},
        {
            "posted": B.KEYED,
            "posted other": B.KEYED,
            "paid": B.LOST,
            "refunded": B.WITHDRAWING,
            "refund failed": B.REFUNDING,
            "refund reverted": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.REFUNDING,
        {"bad": True},
        {
            "posted": B.REFUNDING,
            "posted other": B.REFUNDING,
            "paid": B.RECLAIMING,
            "refunded": B.WITHDRAWING,
            "refund failed": B.REFUNDING,
            "refund reverted": B.REFUNDING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.DISPUTING,
        {"evidence": KEY_EVIDENCE, "key": KEY, "posted": KEY},
        {
            "posted other": B.KEYED,
            "paid": B.LOST,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "dispute failed": B.DISPUTING,
            "dispute reverted": B.DISPUTING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.DISPUTING,
        {"evidence": CELL_EVIDENCE, "key": KEY},
        {
            "posted": B.DISPUTING,
            "posted other": B.DISPUTING,
            "paid": B.DISPUTING,
            "refunded": B.WITHDRAWING,
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "dispute failed": B.DISPUTING,
            "dispute reverted": B.DISPUTING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.DISPUTING,
        {"evidence": CELL_EVIDENCE, "key": KEY, "paid": True},
        {
            "posted": B.DISPUTING,
            "posted other": B.DISPUTING,
            "refunded": B.WITHDRAWING,
            "proven": B.RECLAIMING,
            "proven by me": B.RECLAIMING,
            "dispute failed": B.DISPUTING,
            "dispute reverted": B.DISPUTING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.WITHDRAWING,
        {},
        {
            "withdrawn": B.REFUNDED,
            "withdraw failed": B.WITHDRAWING,
            "withdraw reverted": B.WITHDRAWING,
            "proven by me": B.WITHDRAWING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.WITHDRAWING,
        {"disputed": True},
        {
            "withdrawn": B.DISPUTED,
            "withdraw failed": B.WITHDRAWING,
            "withdraw reverted": B.WITHDRAWING,
            "proven by me": B.WITHDRAWING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.WITHDRAWING,
        {"paid": True},
        {
            "withdrawn": B.RECLAIMED,
            "withdraw failed": B.WITHDRAWING,
            "withdraw reverted": B.WITHDRAWING,
            "proven by me": B.WITHDRAWING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.RECLAIMING,
        {"paid": True, "bad": True, "imported": True},
        {
            "reclaimed": B.WITHDRAWING,
            "nothing held": B.SETTLED,
            "reclaim failed": B.RECLAIMING,
            "reclaim reverted": B.RECLAIMING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.RECLAIMING,
        {"paid": True, "bad": True, "disputed": True},
        {
            "reclaimed": B.WITHDRAWING,
            "nothing held": B.WITHDRAWING,
            "reclaim failed": B.RECLAIMING,
            "reclaim reverted": B.RECLAIMING,
            "undone": B.LOCKING,
        },
    ),
    (
        B.SETTLED,
        {"paid": True, "key": KEY},
        {"proven": B.RECLAIMING, "proven by me": B.RECLAIMING, "false cell": B.DISPUTING, "undone": B.LOCKING},
    ),
    (B.REFUSED, {}, {"locked": B.LOCKED}),
    (
        B.LOST,
        {},
        {
            "proven": B.REFUNDING,
            "proven by me": B.REFUNDING,
            "refunded": B.WITHDRAWING,
            "paid": B.LOST,
            "undone": B.LOCKING,
        },
    ),
    (
        B.LOST,
        {"paid": True},
        {"proven": B.RECLAIMING, "proven by me": B.RECLAIMING, "refunded": B.WITHDRAWING, "undone": B.LOCKING},
    ),
    (B.REFUNDED, {}, {"proven by me": B.WITHDRAWING, "undone": B.LOCKING}),
    *[(phase, {}, {"undone": B.LOCKING}) for phase in (B.RECLAIMED, B.DISPUTED)],
]

SELLER_EVENTS: dict[str, tuple[Any, Clock]] = {
    "tick": (ev.Tick(), Clock(1_000, 100)),
    "deep tick": (ev.Tick(), Clock(1_000, 101)),
    "margin tick": (ev.Tick(), Clock(1_400, 101)),
    "deadline tick": (ev.Tick(), Clock(2_001, 101)),
    "late tick": (ev.Tick(), LATER),
    "lock seen": (ev.LockSeen(101, 2_100), NOW),
    "signed": (ev.Signed(SIGNATURE), NOW),
    "skipped": (ev.Skipped(), NOW),
    "reclaimed": (ev.Reclaimed(), NOW),
    "key asked": (ev.KeyAsked(), NOW),
    "key asked deep": (ev.KeyAsked(), Clock(1_000, 101)),
    "delivered": (ev.Delivered(3_000), NOW),
    "key lost": (ev.KeyLost(), NOW),
    "paid": (ev.Finished("paid"), NOW),
    "refunded": (ev.Finished("refunded"), NOW),
    "refunded late": (ev.Finished("refunded"), LATER),
    "proven": (ev.Proven(), NOW),
    "undone": (ev.Undone(), NOW),
    **{f"{call} failed": (ev.Failed(call, "no", certain=False), NOW) for call in ev.Call},
    **{f"{call} reverted": (ev.Failed(call, "no", certain=True), NOW) for call in ev.Call},
}
ENDINGS = {"paid": S.PAID, "refunded": S.DISPUTED, "refunded late": S.REFUNDED, "proven": S.RELEASING, "undone": S.GONE}
SELLER_CASES: list[tuple[Seller, dict[str, Any], dict[str, Seller]]] = [
    (
        S.SEEN,
        {},
        {
            "deep tick": S.LOCKED,
            "margin tick": S.POSTING,
            "deadline tick": S.EXPIRED,
            "late tick": S.EXPIRED,
            "lock seen": S.SEEN,
            "key asked deep": S.HANDED_OVER,
            "delivered": S.DELIVERED,
            "key lost": S.EXPIRED,
            **ENDINGS,
        },
    ),
    *[
        (
            phase,
            {},
            {
                **({"key asked": S.HANDED_OVER} if phase is S.HANDED_OVER else {}),  # locked: not deep any more
                "key asked deep": S.HANDED_OVER,
                "margin tick": S.POSTING,
                "deadline tick": S.EXPIRED,
                "late tick": S.EXPIRED,
                "delivered": S.DELIVERED,
                "signed": S.CONFIRMED,
                "key lost": S.EXPIRED,
                **ENDINGS,
            },
        )
        for phase in (S.LOCKED, S.HANDED_OVER)
    ],
    (
        S.POSTING,
        {},
        {
            "key asked": S.POSTING,
            "key asked deep": S.POSTING,
            "deadline tick": S.EXPIRED,
            "late tick": S.EXPIRED,
            "delivered": S.DELIVERED,
            "signed": S.CONFIRMED,
            "key lost": S.EXPIRED,
            "deliver failed": S.POSTING,
            "deliver reverted": S.POSTING,
            **ENDINGS,
        },
    ),
    (
        S.DELIVERED,
        {},
        {
            "key asked": S.DELIVERED,
            "key asked deep": S.DELIVERED,
            "late tick": S.CLAIMING,
            "signed": S.CONFIRMED,
            **ENDINGS,
            "refunded late": S.DISPUTED,
        },
    ),
    (
        S.CLAIMING,
        {},
        {
            "key asked": S.CLAIMING,
            "key asked deep": S.CLAIMING,
            "signed": S.CONFIRMED,
            "claim failed": S.CLAIMING,
            "claim reverted": S.CLAIMING,
            **ENDINGS,
            "refunded late": S.DISPUTED,
        },
    ),
    (
        S.CONFIRMED,
        {},
        {
            "key asked": S.CONFIRMED,
            "key asked deep": S.CONFIRMED,
            "margin tick": S.POSTING,
            "delivered": S.CONFIRMED,
            "skipped": S.HANDED_OVER,
            "confirm failed": S.CONFIRMED,
            "confirm reverted": S.CONFIRMED,
            **ENDINGS,
        },
    ),
    (
        S.CONFIRMED,
        {"dispute_by": 3_000},
        {
            "key asked": S.CONFIRMED,
            "key asked deep": S.CONFIRMED,
            "delivered": S.CONFIRMED,
            "late tick": S.CLAIMING,
            "skipped": S.DELIVERED,
            "confirm failed": S.CONFIRMED,
            "confirm reverted": S.CONFIRMED,
            **ENDINGS,
            "refunded late": S.DISPUTED,
        },
    ),
    (
        S.CONFIRMED,
        {"erased": True, "handed_over": False},
        {
            "key asked": S.CONFIRMED,
            "key asked deep": S.CONFIRMED,
            "delivered": S.CONFIRMED,
            "skipped": S.LOCKED,
            "confirm failed": S.CONFIRMED,
            "confirm reverted": S.CONFIRMED,
            **ENDINGS,
        },
    ),
    (
        S.POSTING,
        {"consent": SIGNATURE},
        {
            "key asked": S.POSTING,
            "key asked deep": S.POSTING,
            "deadline tick": S.CONFIRMED,
            "late tick": S.CONFIRMED,
            "delivered": S.CONFIRMED,
            "signed": S.CONFIRMED,
            "key lost": S.CONFIRMED,
            "deliver failed": S.POSTING,
            "deliver reverted": S.POSTING,
            **ENDINGS,
        },
    ),
    (
        S.EXPIRED,
        {"release_at": 5_600},
        {"late tick": S.RELEASING, "delivered": S.DELIVERED, "signed": S.CONFIRMED, **ENDINGS},
    ),
    (
        S.RELEASING,
        {},
        {
            "delivered": S.DELIVERED,
            "signed": S.CONFIRMED,
            "refund failed": S.RELEASING,
            "refund reverted": S.RELEASING,
            **ENDINGS,
        },
    ),
    (
        S.RELEASING,
        {"proven": True, "reason": "the contract found this offer at fault"},
        {
            "delivered": S.RELEASING,
            "refund failed": S.RELEASING,
            "refund reverted": S.RELEASING,
            **ENDINGS,
            "refunded late": S.DISPUTED,
        },
    ),
    (
        S.GONE,
        {},
        {
            "lock seen": S.SEEN,
            "deadline tick": S.VOID,
            "late tick": S.VOID,
            "paid": S.PAID,
            "refunded": S.DISPUTED,
            "refunded late": S.REFUNDED,
            "proven": S.GONE,
        },
    ),
    (
        S.GONE,
        {"proven": True},
        {"lock seen": S.RELEASING, "refunded": S.DISPUTED, "refunded late": S.DISPUTED, "paid": S.PAID}
        | dict.fromkeys(["deadline tick", "late tick"], S.VOID),
    ),
    (S.REFUNDED, {}, {"proven": S.DISPUTED, "undone": S.GONE}),
    (S.PAID, {}, {"key asked": S.PAID, "key asked deep": S.PAID, "reclaimed": S.DISPUTED, "undone": S.GONE}),
    (S.DISPUTED, {}, {"undone": S.GONE}),
    (S.VOID, {}, {"lock seen": S.SEEN}),
]


def cases(table: list[tuple[Any, dict[str, Any], dict[str, Any]]], events: dict[str, tuple[Any, Clock]]) -> list[Any]:
    return [
        pytest.param(phase, fields, name, follows.get(name), id=f"{phase}-{'-'.join(fields)}-{name}")
        for phase, fields, follows in table
        for name in events
    ]


def forgetful(state: Any) -> Any:
    """Without the memory of what the log said: what changes nothing is remembered all the same."""
    return msgspec.structs.replace(state, heard=())


def test_the_tables_cover_every_state() -> None:
    assert {phase for phase, _, _ in BUYER_CASES} == set(Buyer)
    assert {phase for phase, _, _ in SELLER_CASES} == set(Seller)
    assert {type(event) for event, _ in BUYER_EVENTS.values()} == set(ev.BuyerEvent.__args__)
    assert {type(event) for event, _ in SELLER_EVENTS.values()} == set(ev.SellerEvent.__args__)


def test_steps_lists_every_state_that_reaches_the_journal() -> None:
    assert set(steps()) == {*Buyer, *Seller}


@pytest.mark.parametrize(("phase", "fields", "name", "follows"), cases(BUYER_CASES, BUYER_EVENTS))
def test_a_buyer_in_every_state_meets_every_event(
    phase: Buyer, fields: dict[str, Any], name: str, follows: Buyer | None
) -> None:
    state = buyer(phase, **fields)
    event, now = BUYER_EVENTS[name]
    after, actions = step(state, event, now)
    assert restore(store(after), BuyerState) == after
    if follows is None:
        assert (forgetful(after), actions) == (state, [])
        return
    assert after.phase is follows
    assert forgetful(after) != state
    assert ended(after) or resume(after) or after.phase is B.LOCKING


@pytest.mark.parametrize(("phase", "fields", "name", "follows"), cases(SELLER_CASES, SELLER_EVENTS))
def test_a_seller_in_every_state_meets_every_event(
    phase: Seller, fields: dict[str, Any], name: str, follows: Seller | None
) -> None:
    state = seller(phase, **fields)
    event, now = SELLER_EVENTS[name]
    after, actions = step(state, event, now)
    if isinstance(event, ev.KeyAsked):
        assert isinstance(actions.pop(0), ev.HandOver if follows else ev.Deny)
    assert restore(store(after), SellerState) == after
    if follows is None:
        assert (forgetful(after), actions) == (state, [])
        return
    assert after.phase is follows


def test_every_state_that_is_no_end_leads_to_one() -> None:
    for table, ends in ((BUYER_CASES, BUYER_ENDS), (SELLER_CASES, SELLER_ENDS)):
        leads: set[Any] = set(ends)
        for _ in range(len(table)):
            leads |= {phase for phase, _, follows in table if leads & set(follows.values())}
        assert leads == {phase for phase, _, _ in table}


# --- what the plan of a state says ---


def test_a_price_over_the_limit_is_refused_before_anything_is_fetched() -> None:
    dear = msgspec.structs.replace(TERMS, price_wei="11")
    assert begin(dear, SECRET).phase is B.REFUSED
    assert begin(TERMS, SECRET).phase is B.CHOSEN


def test_the_sample_asked_for_follows_from_the_offer() -> None:
    _, actions = step(buyer(B.CHOSEN), ev.Fetched(ROOT, 100), NOW)
    assert actions == [ev.AskSample(block=52, count=6)]


def test_a_seller_who_does_not_answer_is_asked_again_less_and_less_often() -> None:
    state, waits = buyer(B.LOCKED), []
    for _ in range(9):
        state, actions = step(state, ev.KeyDenied("busy"), NOW)
        waits += [action.after_s for action in actions if isinstance(action, ev.AskKey)]
    assert waits == [1, 3, 7, 15, 31, 60, 60, 60, 60]


def test_a_call_that_may_be_under_way_is_repeated_under_its_name_and_a_reverted_one_under_a_new_one() -> None:
    state = buyer(B.PAYING, sale="9")
    (first,) = resume(state)
    rested, actions = step(state, ev.Failed(ev.Call.CONFIRM, "no connection", certain=False), NOW)
    assert actions == [ev.Wait(1_015)]
    assert step(rested, ev.Tick(), NOW)[1] == []
    _, again = step(rested, ev.Tick(), Clock(1_015, 101))
    assert again == [first]
    reverted, _ = step(state, ev.Failed(ev.Call.CONFIRM, "nonce too low", certain=True), NOW)
    (second,) = resume(reverted)
    assert isinstance(first, ev.Confirm)
    assert isinstance(second, ev.Confirm)
    assert first.key != second.key


@pytest.mark.parametrize("phase", [B.FETCHED, B.SAMPLED, B.KEYED, B.VERIFIED])
def test_what_was_hindered_is_asked_for_again(phase: Buyer) -> None:
    state = buyer(phase, key=KEY, content_key=bytes(32))
    rested, actions = step(state, ev.Hindered("no endpoint"), NOW)
    assert actions == [ev.Wait(1_015)]
    assert step(rested, ev.Tick(), Clock(1_014, 101)) == (rested, [])
    again, actions = step(rested, ev.Tick(), Clock(1_015, 101))
    assert actions == resume(state) == resume(again)


def test_retries_rest_longer_each_time_up_to_an_hour() -> None:
    state, rests = buyer(B.PAYING, sale="9"), []
    for _ in range(12):
        state, _ = step(state, ev.Failed(ev.Call.CONFIRM, "no", certain=True), NOW)
        rests.append(state.retry_at - NOW.time)
    assert rests == sorted(rests)
    assert rests[-1] == 3_600


def test_what_delays_a_dispute_does_not_hide_why_there_is_one() -> None:
    state = buyer(B.DISPUTING, evidence=KEY_EVIDENCE, key=KEY, posted=KEY, reason="the posted key opens nothing")
    rested, _ = step(state, ev.Failed(ev.Call.DISPUTE, "the wallet is locked", certain=False), NOW)
    assert rested.reason == "the posted key opens nothing"
    reverted, _ = step(state, ev.Failed(ev.Call.DISPUTE, "NotDelivered", certain=True), NOW)
    assert reverted.reason == "NotDelivered"


def test_a_key_dispute_that_reverts_after_the_window_is_a_loss() -> None:
    state = buyer(B.DISPUTING, evidence=KEY_EVIDENCE, key=KEY, posted=KEY)
    after, _ = step(state, ev.Failed(ev.Call.DISPUTE, "TooLate", certain=True), LATER)
    assert after.phase is B.LOST


def test_after_a_reorganisation_the_same_lock_is_sent_and_a_good_key_is_kept() -> None:
    state = buyer(B.CONFIRMING, sale="9", content_key=SECRET, imported=True, records=3, attempt=2)
    after, actions = step(state, ev.Undone(), NOW)
    (locking,) = resume(buyer(B.LOCKING))
    assert actions == [locking]
    assert (after.content_key, after.imported, after.records, after.sale) == (SECRET, True, 3, "")


def test_the_transactions_of_two_sales_never_share_a_name() -> None:
    (one,), (two,) = resume(buyer(B.PAYING, sale="9")), resume(buyer(B.PAYING, sale="10"))
    assert isinstance(one, ev.Confirm)
    assert isinstance(two, ev.Confirm)
    assert one.key != two.key
    (mine,), (theirs,) = resume(seller(S.CLAIMING)), resume(seller(S.CLAIMING, buyer_public=(SECRET, ROOT)))
    assert isinstance(mine, ev.Claim)
    assert isinstance(theirs, ev.Claim)
    assert mine.key != theirs.key


def test_no_secret_is_printed() -> None:
    shown = repr(buyer(B.CONFIRMING, content_key=hashlib.sha256(b"ck").digest()))
    assert repr(SECRET)[2:-1] not in shown
    assert repr(hashlib.sha256(b"ck").digest())[2:-1] not in shown


# --- the seller's caution ---


def test_no_key_leaves_before_the_lock_is_deep_enough() -> None:
    state, (answer, *_) = step(seller(S.SEEN), ev.KeyAsked(), Clock(1_000, 100))
    assert isinstance(answer, ev.Deny)
    assert answer.kind == "not_final"
    assert not state.handed_over
    state, (answer, *_) = step(state, ev.KeyAsked(), Clock(1_000, 101))
    assert isinstance(answer, ev.HandOver)
    assert (state.phase, state.handed_over) == (S.HANDED_OVER, True)


def test_no_key_leaves_when_it_is_too_late_to_post_it() -> None:
    state, (answer, *_) = step(seller(S.LOCKED), ev.KeyAsked(), Clock(2_001, 200))
    assert isinstance(answer, ev.Deny)
    assert state.phase is S.EXPIRED


def test_a_buyer_who_paid_and_lost_the_key_gets_it_again() -> None:
    _, actions = step(seller(S.PAID), ev.KeyAsked(), LATER)
    assert [type(action) for action in actions] == [ev.HandOver]


def test_a_silent_buyer_makes_the_seller_post_before_the_deadline() -> None:
    state, actions = step(seller(S.HANDED_OVER), ev.Tick(), Clock(2_000 - 600, 200))
    assert state.phase is S.POSTING
    assert [type(action) for action in actions] == [ev.Deliver]


def test_an_expired_sale_is_given_back_only_after_a_late_confirmation_had_its_time() -> None:
    state, actions = step(seller(S.HANDED_OVER), ev.Tick(), Clock(2_001, 200))
    assert (state.phase, actions) == (S.EXPIRED, [ev.Wait(2_001 + 3_600)])
    assert resume(state) == actions
    assert step(state, ev.Tick(), Clock(2_000 + 3_600, 299)) == (state, [])
    _, actions = step(state, ev.Tick(), Clock(2_001 + 3_600, 300))
    assert [type(action) for action in actions] == [ev.Refund]


def test_a_confirmation_is_brought_a_margin_before_the_key_would_be_posted() -> None:
    _, actions = step(seller(S.HANDED_OVER), ev.Signed(SIGNATURE), NOW)
    assert actions == [ev.Bring("9", SIGNATURE, by=2_000 - 2 * 600)]  # the Wait stands already


def test_a_confirmation_that_came_after_the_deadline_is_still_good() -> None:
    state, _ = step(seller(S.EXPIRED, release_at=5_600), ev.Signed(SIGNATURE), Clock(3_000, 300))
    assert step(state, ev.Tick(), Clock(9_000, 900)) == (state, [])
    assert [type(action) for action in resume(state)] == [ev.Bring, ev.Wait]


def test_a_sale_whose_offer_was_proven_bad_is_given_back_at_once() -> None:
    state, actions = step(seller(S.DELIVERED), ev.Proven(), NOW)
    assert [type(action) for action in actions] == [ev.Refund]
    assert step(state, ev.Finished("refunded"), NOW)[0].phase is S.DISPUTED

"""A world for two machines: a model of KeySale on a chain that reorganises, and drivers that crash.

The drivers do what `machine` asks of a driver and no more, so what holds here needs nothing clever of the real ones.
Everything is deterministic; the test decides what happens when. Each pending action is carried out within `PATIENCE`
blocks, which is what "a node that is alive" means, and all windows of the contract are longer than that.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from protocols.exchange import events as ev
from protocols.exchange.handover import (
    CellEvidence,
    KeyEvidence,
    MaskedKey,
    handover_secret,
    mask_key,
    public_point,
)
from protocols.exchange.machine import (
    BuyerState,
    Caution,
    Clock,
    Seller,
    SellerState,
    Terms,
    begin,
    ended,
    examine,
    restore,
    resume,
    step,
    store,
)
from protocols.sealed import Payload, Record, Sealed, parse, record_id, seal
from tests.support import hostile

BLOCK_S = 12
DELIVER_WINDOW_S, DISPUTE_WINDOW_S = 100 * BLOCK_S, 60 * BLOCK_S
PATIENCE = 10
DEPTH = 2  # blocks on top of an event before a driver reports it, and of a transaction before it counts as done
DEEPEST = 8  # blocks that a reorganisation takes back at most, in all
PRICE, BOND, HELD = 100, 300, 20
HOLD_S = 400 * BLOCK_S  # how long the contract holds a share of a paid price
OFFER_NO = 7
CK = hashlib.sha256(b"content key").digest()
SECRET = hashlib.sha256(b"one-time").digest()
RECORDS = [Record(id=record_id("", f"row {n} " * 20), text=f"row {n} " * 20) for n in range(24)]

HONEST = seal(RECORDS, CK, 512)
FALSE_CELL = hostile.seal_false_cell(RECORDS, CK, 512, index=1)
FALSE_KEY = hostile.seal_false_key(RECORDS, CK, 512, index=1)


class Reverted(Exception):
    """A call the contract refuses."""


class AlreadyRipe(Reverted):
    """Nothing is held any more."""


@dataclass
class Sale:
    buyer_key: bytes
    deliver_by: int
    state: str = "locked"
    delivery: MaskedKey | None = None
    dispute_by: int = 0
    held: int = 0
    ripe_at: int = 0


@dataclass
class Contract:
    """One offer of KeySale, after contracts/src/KeySale.sol; the proofs themselves are `test_handover`'s."""

    sealed: Sealed
    sales: dict[int, Sale] = field(default_factory=dict)
    sold: int = 0
    bad: bool = False
    bond: int = BOND
    credit: dict[str, int] = field(default_factory=lambda: {"buyer": 0, "seller": 0, "fire": 0})
    wallet: dict[str, int] = field(default_factory=lambda: {"buyer": 1_000, "seller": 0})
    log: list[tuple[int, int, Any]] = field(default_factory=list)  # block, sale, event

    def lock(self, now: Clock, point: tuple[bytes, bytes]) -> int:
        if self.bad:
            raise Reverted("OfferNotOpen")
        self.sold += 1
        sale = OFFER_NO << 64 | self.sold
        self.sales[sale] = Sale(point[0] + point[1], now.time + DELIVER_WINDOW_S)
        self.wallet["buyer"] -= PRICE
        self.log.append((now.block, sale, "locked"))
        return sale

    def deliver(self, now: Clock, sale: int, key: MaskedKey) -> None:
        it = self.sales[sale]
        if it.state != "locked" or now.time > it.deliver_by:
            raise Reverted("WrongState or TooLate")
        it.state, it.delivery, it.dispute_by = "delivered", key, now.time + DISPUTE_WINDOW_S
        self.log.append((now.block, sale, ev.Posted(key, it.dispute_by)))

    def confirm(self, now: Clock, sale: int) -> None:
        self._live(sale)
        self._end(now, sale, "paid")

    def claim(self, now: Clock, sale: int) -> None:
        it = self.sales[sale]
        if it.state != "delivered" or now.time <= it.dispute_by or self.bad:
            raise Reverted("WrongState or TooEarly or OfferIsBad")
        self._end(now, sale, "paid")

    def refund(self, now: Clock, sale: int) -> None:
        it = self._live(sale)
        if not self.bad and (it.state != "locked" or now.time <= it.deliver_by):
            raise Reverted("WrongState or TooEarly")
        self._end(now, sale, "refunded")

    def dispute(self, now: Clock, evidence: KeyEvidence | CellEvidence) -> None:
        sale = int(evidence.sale)
        it = self.sales[sale]
        if isinstance(evidence, KeyEvidence):
            if it.state != "delivered" or now.time > it.dispute_by:
                raise Reverted("WrongState or TooLate")
            if MaskedKey(evidence.ex, evidence.parity, evidence.masked) != it.delivery:
                raise Reverted("WrongKey")
            bx, by = public_point(evidence.secret)
            assert bx + by == it.buyer_key
        elif it.state == "refunded" or self.bad:
            raise Reverted("WrongState or OfferIsBad")
        if it.state != "paid":
            self._end(now, sale, "refunded")
        self._slash(now)

    def reclaim(self, now: Clock, sale: int) -> None:
        it = self.sales[sale]
        if it.state != "paid" or not self.bad:
            raise Reverted("WrongState or OfferIsNotBad")
        if not it.held:
            raise AlreadyRipe("AlreadyRipe")
        self.credit["buyer"] += it.held
        it.held, it.state = 0, "reclaimed"
        self.log.append((now.block, sale, ev.Reclaimed()))

    def ripen(self, now: Clock) -> None:
        """What was held long enough is the seller's, unless a fault was proved before."""
        for it in self.sales.values():
            if it.held and not self.bad and now.time >= it.ripe_at:
                self.credit["seller"] += it.held
                it.held = 0

    def withdraw(self, who: str) -> None:
        self.wallet[who] += self.credit[who]
        self.credit[who] = 0

    def slash_elsewhere(self, now: Clock) -> None:
        """Another buyer of the same offer proves a fault."""
        if not self.bad:
            self._slash(now, to="fire")

    def total(self) -> int:
        locked = sum(PRICE for it in self.sales.values() if it.state in ("locked", "delivered"))
        held = sum(it.held for it in self.sales.values())
        return locked + held + self.bond + sum(self.credit.values()) + sum(self.wallet.values())

    def _live(self, sale: int) -> Sale:
        it = self.sales[sale]
        if it.state not in ("locked", "delivered"):
            raise Reverted("WrongState")
        return it

    def _end(self, now: Clock, sale: int, outcome: Any) -> None:
        it = self.sales[sale]
        it.state = outcome
        if outcome == "paid":
            it.held, it.ripe_at = HELD, now.time + HOLD_S
        self.credit["seller" if outcome == "paid" else "buyer"] += PRICE - it.held
        self.log.append((now.block, sale, ev.Finished(outcome)))

    def _slash(self, now: Clock, to: str = "buyer") -> None:
        if self.bad:
            return
        self.bad = True
        self.credit[to] += self.bond // 2
        self.credit["fire"] += self.bond - self.bond // 2
        self.bond = 0
        self.log.append((now.block, 0, ev.Proven(own=to == "buyer")))


@dataclass
class Transaction:
    """A journalled transaction: sent once under its key, and mined, perhaps again after a reorganisation."""

    key: str
    action: Any
    payload: Any = None
    outcome: str = "pending"
    result: int = 0
    mined_in: int = 0


class World:
    """One deal: an honest or cheating seller, an honest or silent buyer, and the chain between them."""

    def __init__(self, cheat: str = "honest") -> None:
        self.cheat = cheat
        sealed = {"false cell": FALSE_CELL, "false key": FALSE_KEY}.get(cheat, HONEST)
        self.payload: Payload = parse(sealed.payload)
        self.contract = Contract(sealed)
        self.block = self.highest = 100
        self.history: list[Contract] = []
        self.transactions: dict[str, Transaction] = {}
        self.total = self.contract.total()
        self.outage = 0
        self.ran: list[tuple[str, Any]] = []
        terms = Terms(
            deal="d",
            offer="0" * 64,
            seller="p",
            cid="c",
            root=sealed.root,
            cells=sealed.cells,
            size_bytes=len(sealed.payload),
            offer_no=OFFER_NO,
            offer_block=100,
            price_wei=str(PRICE),
            max_price_wei=str(PRICE),
            sample_cap=64,
        )
        self.buyer_journal = store(begin(terms, SECRET))
        self.seller_journal: dict[int, bytes] = {}
        self.todo: list[tuple[str, int, Any, int]] = [("buyer", 0, action, self.block) for action in resume(self.buyer)]
        self.told: set[int] = set()  # sales whose key has left
        self.reported: list[tuple[str, int, int, Any]] = []  # whom, of which block and sale, what

    # --- what stands in the journals ---

    @property
    def now(self) -> Clock:
        return Clock(self.block * BLOCK_S, self.block)

    @property
    def buyer(self) -> BuyerState:
        return restore(self.buyer_journal, BuyerState)

    def sellers(self) -> dict[int, SellerState]:
        return {sale: restore(data, SellerState) for sale, data in self.seller_journal.items()}

    def ended(self) -> bool:
        return ended(self.buyer) and all(ended(state) for state in self.sellers().values())

    # --- the drivers ---

    def tell_buyer(self, event: ev.BuyerEvent) -> None:
        before = self.buyer
        after, actions = step(before, event, self.now)
        self.buyer_journal = store(after)
        self._schedule("buyer", 0, actions)

    def tell_seller(self, sale: int, event: ev.SellerEvent) -> None:
        after, actions = step(self.sellers()[sale], event, self.now)
        self.seller_journal[sale] = store(after)
        answers = [action for action in actions if isinstance(action, ev.HandOver | ev.Deny)]
        for answer in answers:
            self._answer(sale, answer)
        self._schedule("seller", sale, [action for action in actions if action not in answers])

    def crash(self, who: str) -> None:
        """Forget everything but the journal, then start again."""
        self.todo = [item for item in self.todo if item[0] != who]
        if who == "buyer":
            self._schedule("buyer", 0, resume(self.buyer))
            self.tell_buyer(ev.Tick())
            return
        for sale, state in self.sellers().items():
            self._schedule("seller", sale, resume(state))
            self.tell_seller(sale, ev.Tick())

    def _schedule(self, who: str, sale: int, actions: list[Any]) -> None:
        for action in actions:
            if not isinstance(action, ev.Wait) and (who, sale, action) not in [item[:3] for item in self.todo]:
                self.todo.append((who, sale, action, self.block))

    def run(self, position: int) -> None:
        """Carry out one pending action."""
        if not self.todo:
            return
        who, sale, action, _ = self.todo.pop(position % len(self.todo))
        self.ran.append((who, action))
        if who == "buyer":
            self._run_buyer(action)
        else:
            self._run_seller(sale, action)

    def _run_buyer(self, action: Any) -> None:
        terms = self.buyer.terms
        match action:
            case ev.AskSample() | ev.ReadOffer() | ev.Verify() | ev.Import() if self.outage > 0:
                self.tell_buyer(ev.Hindered("no connection"))
            case ev.Fetch():
                self.tell_buyer(ev.Fetched(terms.root, terms.cells))
            case ev.AskSample():
                self.tell_buyer(ev.Judged(True))
            case ev.ReadOffer():
                live = not self.contract.bad
                self.tell_buyer(ev.OfferRead(terms.root, terms.cells, str(PRICE), live=live, covered=True))
            case ev.AskKey():
                self._ask_key(int(action.sale))
            case ev.Verify():
                self.tell_buyer(examine(self.buyer, action, self.payload))
            case ev.Import():
                self.tell_buyer(ev.Imported(len(RECORDS)))
            case ev.Confirm() | ev.Consent() if self.cheat == "silent buyer":
                pass
            case ev.Consent():
                self._consent(int(action.sale))
            case _:
                self._send("buyer", 0, action)

    def _run_seller(self, sale: int, action: Any) -> None:
        if isinstance(action, ev.Bring):
            state = self.sellers()[sale]
            self._send("seller", sale, action, key=f"batch of {sale} after {state.rewinds}")
        elif isinstance(action, ev.Deliver):
            if self.cheat in ("vanished", "wrong, then vanished"):
                return
            self._send("seller", sale, action, self._masked(sale, private=False))
        else:
            self._send("seller", sale, action)

    def _ask_key(self, sale: int) -> None:
        if sale not in self.seller_journal or self.cheat in ("vanished", "mute"):
            self.tell_buyer(ev.KeyDenied("no answer"))
        else:
            self.tell_seller(sale, ev.KeyAsked())

    def _consent(self, sale: int) -> None:
        if sale not in self.seller_journal or self.cheat in ("vanished", "mute"):
            self.tell_buyer(ev.Consented(False, "no answer"))
            return
        self.tell_seller(sale, ev.Signed(b"signature"))
        state = self.sellers()[sale]
        self.tell_buyer(ev.Consented(bool(state.consent) or state.phase is Seller.PAID))

    def _answer(self, sale: int, answer: ev.HandOver | ev.Deny) -> None:
        """The reply reaches the buyer only if he still asks for this sale, as a reply on a stream would."""
        if isinstance(answer, ev.HandOver):
            locked_in = max(block for block, it, event in self.contract.log if it == sale and event == "locked")
            assert sale in self.told or self.block - locked_in >= DEPTH, "a key left before its lock was deep enough"
            self.told.add(sale)
        if self.buyer.sale != str(sale):
            return
        if isinstance(answer, ev.Deny):
            self.tell_buyer(ev.KeyDenied(answer.reason))
        else:
            self.tell_buyer(ev.KeyGiven(self._masked(sale, private=True)))

    def _masked(self, sale: int, *, private: bool) -> MaskedKey:
        point = public_point(SECRET)
        e = handover_secret(b"seller", sale, point)
        honest = mask_key(CK, point, sale, e)
        wrong = hostile.wrong_key(point, sale, e)
        return {
            "wrong in private": wrong if private else honest,
            "wrong always": wrong,
            "wrong, then vanished": wrong,
            "wrong on chain": wrong,
            "off the curve": hostile.off_curve_key(),
            "replayed": hostile.replayed_key(CK, point, sale + 1, e),
        }.get(self.cheat, honest)

    # --- transactions and blocks ---

    def _send(self, who: str, sale: int, action: Any, payload: Any = None, key: str = "") -> None:
        """`Transactor.once`: a known key is not sent again, its outcome is told again; what is gone is sent anew."""
        if self.outage > 0 and not isinstance(action, ev.Withdraw):
            self._fail(who, sale, action, "no connection", certain=False)
            return
        key = key or action.key
        known = self.transactions.setdefault(key, Transaction(key, (who, sale, action), payload))
        if known.outcome == "dropped":
            known.outcome = "pending"
        self._tell_outcome(known)

    def _tell_outcome(self, sent: Transaction) -> None:
        who, sale, action = sent.action
        if sent.outcome == "ripe":
            self.tell_buyer(ev.NothingHeld("already ripe"))
        elif sent.outcome == "reverted":
            self._fail(who, sale, action, "reverted", certain=True)
        elif sent.outcome == "mined" and isinstance(action, ev.Withdraw):
            self.tell_buyer(ev.Withdrawn())
        elif sent.outcome == "mined" and isinstance(action, ev.Lock):
            self._tell_locked(sent.result)

    def _tell_locked(self, sale: int) -> None:
        if sale in self.contract.sales:
            self.tell_buyer(ev.Locked(str(sale), self.contract.sales[sale].deliver_by))

    def _fail(self, who: str, sale: int, action: Any, reason: str, *, certain: bool) -> None:
        call = ev.Call.CONFIRM if isinstance(action, ev.Bring) else ev.Call(type(action).__name__.lower())
        failed = ev.Failed(call, reason, certain)
        if who == "buyer":
            self.tell_buyer(failed)
        else:
            self.tell_seller(sale, failed)

    def mine(self) -> None:
        """One block: whatever waits is mined, then both drivers hear of it."""
        self.history.append(copy.deepcopy(self.contract))
        self.block += 1
        self.highest = max(self.highest, self.block)
        self.outage = max(0, self.outage - 1)
        mined = [sent for sent in self.transactions.values() if sent.outcome == "pending"]
        self.contract.ripen(self.now)
        for sent in mined:
            self._execute(sent)
        self._hear()
        for sent in mined:
            self._tell_outcome(sent)
        for position in reversed(range(len(self.todo))):
            if position < len(self.todo) and self.todo[position][3] + PATIENCE < self.block:
                self.run(position)

    def _execute(self, sent: Transaction) -> None:
        _, sale, action = sent.action
        sent.mined_in = self.block
        try:
            match action:
                case ev.Bring():
                    self.contract.confirm(self.now, sale)
                case ev.Reclaim():
                    self.contract.reclaim(self.now, int(action.sale))
                case ev.Lock():
                    sent.result = self.contract.lock(self.now, (action.bx, action.by))
                case ev.Confirm():
                    self.contract.confirm(self.now, int(action.sale))
                case ev.Refund():
                    self.contract.refund(self.now, int(action.sale))
                case ev.Claim():
                    self.contract.claim(self.now, int(action.sale))
                case ev.Deliver():
                    self.contract.deliver(self.now, int(action.sale), sent.payload)
                case ev.Dispute():
                    self.contract.dispute(self.now, action.evidence)
                case ev.Withdraw():
                    self.contract.withdraw("buyer")
        except AlreadyRipe:
            sent.outcome = "ripe"
        except (Reverted, KeyError):
            skipped = isinstance(action, ev.Bring)  # a batch goes through, whatever became of one of its sales
            sent.outcome = "mined" if skipped else "reverted"
        else:
            sent.outcome = "mined"

    def _hear(self) -> None:
        """Report the log to both sides, deep events only; locks at once to the seller, who counts blocks himself."""
        for block, sale, event in list(self.contract.log):
            if event == "locked" and sale not in self.seller_journal:
                it = self.contract.sales[sale]
                state = SellerState(
                    sale=str(sale),
                    offer="0" * 64,
                    buyer_public=public_point(SECRET),
                    block=block,
                    deliver_by=it.deliver_by,
                    caution=Caution(confirmations=DEPTH, margin_s=30 * BLOCK_S, release_s=10 * BLOCK_S),
                )
                self.seller_journal[sale] = store(state)
            elif event == "locked":
                self._report("seller", block, sale, ev.LockSeen(block, self.contract.sales[sale].deliver_by))
            elif self.block - block >= DEPTH:
                self._report("buyer", block, sale, event)
                self._report("seller", block, sale, event)
        for sale in list(self.seller_journal):
            self.tell_seller(sale, ev.Tick())
        self.tell_buyer(ev.Tick())

    def _report(self, who: str, block: int, sale: int, event: Any) -> None:
        seen = (who, block, sale, event)
        if seen in self.reported:
            return
        self.reported.append(seen)
        self._relay(who, sale, event)

    def _relay(self, who: str, sale: int, event: Any, *, undone: bool = False) -> None:
        """What the log says to one side, or that it says so no more."""
        if who == "buyer" and (sale == 0 or self.buyer.sale == str(sale)):
            self.tell_buyer(ev.Undone(event) if undone else event)
        elif who == "seller":
            told = ev.Delivered(event.dispute_by) if isinstance(event, ev.Posted) else event
            told = ev.Proven() if isinstance(event, ev.Proven) else told
            for mine in [sale] if sale else list(self.seller_journal):
                self.tell_seller(mine, ev.Undone(told) if undone else told)

    def reorganise(self, depth: int, *, drop: bool = False) -> None:
        """Take blocks back. Their transactions wait again, in another order; a lock may get another number.

        `drop`: what its sender thought done is in no endpoint's memory any more.
        """
        depth = min(depth, len(self.history), self.block - (self.highest - DEEPEST))
        if depth <= 0:
            return
        head, held = self.block, set(self.contract.sales)
        self.contract = self.history[-depth]
        del self.history[-depth:]
        self.block -= depth
        undone = [sent for sent in self.transactions.values() if sent.mined_in > self.block]
        for sent in undone:
            final = head - sent.mined_in >= DEPTH
            sent.outcome = "dropped" if final and (drop or sent.outcome == "reverted") else "pending"
            sent.mined_in = sent.result = 0
        self._tell_undone(held - set(self.contract.sales), withdrawn=any(_withdraws(sent) for sent in undone))

    def _tell_undone(self, unlocked: set[int], *, withdrawn: bool) -> None:
        """Newest first, the locks last."""
        gone = [item for item in self.reported if item[1] > self.block]
        self.reported = [item for item in self.reported if item[1] <= self.block]
        if withdrawn:
            self.tell_buyer(ev.Undone(ev.Withdrawn()))
        for who, _, sale, event in reversed(gone):
            if not isinstance(event, ev.LockSeen):
                self._relay(who, sale, event, undone=True)
        for sale in unlocked:
            self.contract.sold += sale & 1  # sometimes a stranger's lock comes in between, sometimes not
            if self.buyer.sale == str(sale):
                self.tell_buyer(ev.Undone())
            if sale in self.seller_journal:
                self.tell_seller(sale, ev.Undone())

    def finish(self, blocks: int = 3_000) -> None:
        """Let both nodes live on in peace until nothing can follow, and nothing is under way."""
        quiet = 0
        for _ in range(blocks):
            waiting = any(sent.outcome == "pending" for sent in self.transactions.values())
            quiet = quiet + 1 if self.ended() and not waiting else 0
            if quiet > DEPTH + 1:
                return
            for _ in range(len(self.todo)):
                self.run(0)
            self.mine()
        raise AssertionError(
            f"no end: {self.buyer!r} {[msgspec.to_builtins(s.phase) for s in self.sellers().values()]}"
        )


def _withdraws(sent: Transaction) -> bool:
    return isinstance(sent.action[2], ev.Withdraw)

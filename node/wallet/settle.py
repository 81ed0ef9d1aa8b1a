"""Bring vouchers to the chain: many of one lane in one transaction, when it is worth its gas or before it is too late.

Due is a lane that holds `above_wei` and `gas_multiple` times what settling it costs at today's fee; one that has waited
for `every_s`, if it brings more than it costs; and, whatever it costs, one with a payer about to leave: an announced
exit, a reserve or a hot key near its end. Gas is paid in native coins: what one is worth in tokens is a setting, and
while that is unknown only `above_wei` counts.

A model's vouchers go through ModelRegistry, which splits what they bring; our own go to the VoucherBank. The journal
key of a settlement names the sums it settles: a restarted node takes up the same transaction, and a newer voucher
is a new settlement. What the chain paid is read from its events, never assumed: a bounce leaves the rest pending.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from contracts.bindings.bank import Item
from contracts.chain import Chain
from contracts.values import Call, Receipt
from node.journal.journal import Journal
from node.journal.transactions import Step, Transactions
from node.journal.vouchers import Taking, Takings
from node.wallet.cover import END_MARGIN_S, Cover, LaneKey, Snapshot
from node.wallet.eip1559 import current_fees
from node.wallet.erc1271 import ContractPayers
from node.wallet.errors import VoucherRefused, WalletError
from node.wallet.transact import Transactor
from node.wallet.watch import UNDONE_S
from protocols.ids import Address

log = structlog.get_logger(__name__)

MAX_ITEMS = 150  # 22 k gas each: 3.4 M, a tenth of a block's limit
LEAVING_MARGIN_S = 3_600  # a reserve's or a hot key's end this near: settle now
# Gas of a batch and of a voucher by a capped hot key in it; tests/integration/test_wallet_reserve.py measures it
GAS_BATCH, GAS_ITEM = 80_000, 27_000
COIN_WEI = 10**18
RECHECKED = 1_000  # lanes settled of late that are looked at again in a round, 100 a call
SKEW_S = 60  # our clock beside the chain's


class Events(Protocol):
    """Where state changes are told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...


class Policy(msgspec.Struct, frozen=True):
    """When a lane is settled: worth `above_wei` together, or waiting for `every_s` seconds.

    `coin_price_wei`: base units of the token that one native coin is worth; 0 when nobody has said.
    """

    above_wei: int
    every_s: int
    gas_multiple: int = 20
    coin_price_wei: int = 0


class Settlement(msgspec.Struct, frozen=True):
    """One settled batch. `paid_wei` is what the lane's payers really paid, before any fee."""

    payee: str
    lane: str
    vouchers: int
    paid_wei: str
    hash: str
    gas: int


class Settler:
    """Settles what the till took."""

    def __init__(
        self,
        chain: Chain,
        transactor: Transactor,
        journal: Journal,
        cover: Cover,
        contracts: ContractPayers,
        *,
        policy: Policy,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._takings = Takings(journal)
        self._outbox = Transactions(journal)
        self._cover = cover
        self._contracts = contracts
        self._policy = policy
        self._events = events
        self._clock = clock
        self._one_at_a_time = trio.Lock()
        self._woken = trio.Event()
        self._exit_delay_s: int | None = None  # the bank's own, read once: it never changes

    def wake(self) -> None:
        """Look at once whether something is due: a payer owes much, or is about to leave."""
        self._woken.set()

    async def rest(self, seconds: float) -> None:
        """Until somebody wakes the settler, at most for so long."""
        with trio.move_on_after(seconds):
            await self._woken.wait()
        self._woken = trio.Event()

    async def settle(self, payee: Address, lane: int) -> list[Settlement]:
        """Settle everything on one lane now. Raises VoucherRefused when there is nothing, or as `Transactor.once`."""
        done = await self._lane((payee, lane), force=True)
        if not done:
            raise VoucherRefused(f"there is nothing to settle on lane {lane} of {payee}")
        return done

    async def settle_due(self, *, force: bool = False) -> list[Settlement]:
        """Settle the lanes whose time has come, or with `force` all that hold anything."""
        await self._undo()
        lanes = dict.fromkeys((one.payee, one.lane) for one in await self._takings.pending())
        return [settlement for lane in lanes for settlement in await self._lane(lane, force=force)]

    async def _lane(self, lane: LaneKey, *, force: bool) -> list[Settlement]:
        async with self._one_at_a_time:
            done = [await self._finish(lane, step) for step in await self._open(lane)]
            held = [one for one in await self._takings.pending() if (one.payee, one.lane) == lane]
            rows = await self._standing(held, lane)
            now = self._clock()
            await self._takings.settled([(*_who(one), snapshot.paid(lane)) for one, snapshot in rows], now)
            worth = [row for row in rows if collectable(*row, now) > 0 and await self._stands(row[0])]
            if not worth or not (force or await self._is_due(worth, now)):
                return done
            batches = [worth[start : start + MAX_ITEMS] for start in range(0, len(worth), MAX_ITEMS)]
            return done + [await self._send(lane, batch, now) for batch in batches]

    async def _undo(self) -> None:
        """A reorganisation may have taken settlements back: what the chain says of them counts."""
        recent = await self._takings.settled_since(self._clock() - UNDONE_S, RECHECKED)
        if not recent:
            return
        rows = await self._chain.bank.rows([_who(one) for one in recent])
        now = [(*_who(one), row.paid_wei) for one, row in zip(recent, rows, strict=True)]
        for fallen in await self._takings.undone(now):
            self._cover.forget(fallen.payer)
            log.warning("a reorganisation took a settlement back", payer=fallen.payer, due_wei=fallen.due_wei)
            self._events.publish("wallet", {"state": "undone", "payer": fallen.payer, "due": str(fallen.due_wei)})

    async def _open(self, lane: LaneKey) -> list[Step]:
        """Settlements of a lane that an earlier process, or an earlier wait, left under way."""
        steps = await self._outbox.open(self._transactor.address)
        return [step for step in steps if step.key.startswith(_prefix(lane))]

    async def _finish(self, lane: LaneKey, step: Step) -> Settlement:
        call = Call(step.target, step.data, int(step.value_wei))
        return await self._book(lane, await self._transactor.once(step.key, call))

    async def _stands(self, one: Taking) -> bool:
        """Whether a contract still knows its signature: the bank would skip it otherwise."""
        if not one.by_contract:
            return True
        knows = await self._contracts.signed(one.payer, one.payee, one.lane, one.cumulative_wei, one.signature)
        if not knows:
            log.warning("a contract does not know its voucher any more", payer=one.payer, due_wei=one.due_wei)
        return knows

    async def _is_due(self, worth: Sequence[tuple[Taking, Snapshot]], now: int) -> bool:
        if self._exit_delay_s is None:
            self._exit_delay_s = await self._chain.bank.exit_delay()
        cost_wei = await self._cost(len(worth))
        return is_due(worth, self._policy, now, exit_delay_s=self._exit_delay_s, cost_wei=cost_wei)

    async def _cost(self, vouchers: int) -> int:
        """What settling so many takes in gas at today's fee, in token base units; 0 when a coin's worth is unknown."""
        if not self._policy.coin_price_wei:
            return 0
        fees = await current_fees(self._chain)
        gas = GAS_BATCH + vouchers * GAS_ITEM
        return gas * (fees.base + fees.tip) * self._policy.coin_price_wei // COIN_WEI

    async def _standing(self, held: Sequence[Taking], lane: LaneKey) -> list[tuple[Taking, Snapshot]]:
        """What stands behind each voucher now; the reads go out side by side."""
        found: dict[str, Snapshot] = {}
        trouble: list[WalletError] = []

        async def read(one: Taking) -> None:
            try:
                found[one.payer] = await self._cover.of(one.payer, one.signer or one.payer, [lane], max_age_s=0)
            except WalletError as err:  # a nursery would wrap it into a group
                trouble.append(err)

        for start in range(0, len(held), MAX_ITEMS):
            async with trio.open_nursery() as nursery:
                for one in held[start : start + MAX_ITEMS]:
                    nursery.start_soon(read, one)
        if trouble:
            raise trouble[0]
        return [(one, found[one.payer]) for one in held]

    async def _send(self, lane: LaneKey, batch: Sequence[tuple[Taking, Snapshot]], now: int) -> Settlement:
        items = [Item(one.payer, one.lane, one.cumulative_wei, one.signature) for one, _ in batch]
        return await self._book(
            lane, await self._transactor.once(_key(lane, batch, now), await self._call(lane, items))
        )

    async def _book(self, lane: LaneKey, receipt: Receipt) -> Settlement:
        """Note what a settlement really paid."""
        payee, number = lane
        paid = settled_sums(receipt, self._chain.bank.address, lane)
        await self._takings.settled(
            [(payer, payee, number, total) for payer, (total, _) in paid.items()], self._clock()
        )
        for payer in paid:
            self._cover.forget(payer)
        done = Settlement(
            payee=payee,
            lane=str(number),
            vouchers=len(paid),
            paid_wei=str(sum(amount for _, amount in paid.values())),
            hash=receipt.hash,
            gas=receipt.gas_used,
        )
        log.info("vouchers settled", lane=number, vouchers=done.vouchers, paid_wei=done.paid_wei, gas=done.gas)
        self._events.publish("wallet", {"state": "settled", **msgspec.structs.asdict(done)})
        return done

    async def _call(self, lane: LaneKey, items: Sequence[Item]) -> Call:
        payee, number = lane
        if payee == self._chain.models.address:
            return self._chain.models.settle(await self._chain.models.model_of_lane(number), items)
        return self._chain.bank.settle(payee, items, into_bank=False)


def collectable(one: Taking, snapshot: Snapshot, now: int) -> int:
    """Base units that settling this voucher would bring now."""
    lane = (one.payee, one.lane)
    due = one.cumulative_wei - snapshot.paid(lane)
    if one.signer not in (one.payer, ""):
        hot = snapshot.delegate
        if hot is None or hot.until <= now:
            return 0  # the bank would skip it until its payer extends the hot key
        due = min(due, hot.left_wei)
    return max(0, min(due, snapshot.payable_wei(lane)))


def is_due(
    worth: Sequence[tuple[Taking, Snapshot]], policy: Policy, now: int, *, exit_delay_s: int, cost_wei: int = 0
) -> bool:
    """Whether a lane should be settled: enough money, long enough, or somebody is about to leave."""
    brings = sum(collectable(one, snapshot, now) for one, snapshot in worth)
    if brings <= cost_wei:
        return False
    if brings >= max(policy.above_wei, policy.gas_multiple * cost_wei):
        return True
    if min(one.since for one, _ in worth) + policy.every_s <= now:
        return True
    return any(leaving(one, snapshot, now, exit_delay_s) for one, snapshot in worth)


def leaving(one: Taking, snapshot: Snapshot, now: int, exit_delay_s: int) -> bool:
    """Whether what stood behind a voucher when it was taken may soon be gone.

    Each announcement counts once: vouchers taken after it were taken for what will be left, and a payer who stays on
    the threshold must not make us settle every few coins.
    """
    if snapshot.exiting_wei and one.since <= snapshot.exit_at - exit_delay_s + SKEW_S:
        return True
    lane = snapshot.lanes.get((one.payee, one.lane))
    ends = [lane.reserved_until] if lane is not None and lane.reserved_wei else []
    if one.signer not in (one.payer, "") and snapshot.delegate is not None:
        ends.append(snapshot.delegate.until)
    return any(one.since < end - margin <= now for end in ends for margin in (LEAVING_MARGIN_S, END_MARGIN_S))


def settled_sums(receipt: Receipt, bank: str, lane: LaneKey) -> dict[str, tuple[int, int]]:
    """What a settlement paid, by payer: (the lane's sum now, the amount of this time), from the bank's events."""
    return {
        event["payer"]: (event["cumulative"], event["amount"])
        for event in receipt.events("Settled", bank)
        if (event["payee"], event["lane"]) == lane
    }


def _who(one: Taking) -> tuple[str, str, int]:
    return one.payer, one.payee, one.lane


def _key(lane: LaneKey, batch: Sequence[tuple[Taking, Snapshot]], now: int) -> str:
    """The sums, and what they can bring: a voucher that bounced in part is settled again when its cover has changed."""
    text = ",".join(
        sorted(f"{one.payer}:{one.cumulative_wei}:{collectable(one, snapshot, now)}" for one, snapshot in batch)
    )
    return _prefix(lane) + hashlib.sha256(text.encode()).hexdigest()[:32]


def _prefix(lane: LaneKey) -> str:
    return f"settle:{lane[0]}:{lane[1]}:"

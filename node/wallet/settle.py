"""Bring vouchers to the chain: many of one lane in one transaction, when it is worth its gas or before it is too late.

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
from contracts.errors import ChainError
from contracts.values import Call, Receipt
from node.identity.errors import IdentityError
from node.journal.journal import Journal
from node.journal.vouchers import Taking, Takings
from node.wallet.cover import Cover, LaneKey, Snapshot
from node.wallet.errors import VoucherRefused, WalletError
from node.wallet.transact import Transactor
from protocols.ids import Address

log = structlog.get_logger(__name__)

MAX_ITEMS = 150  # 22 k gas each: 3.4 M, a tenth of a block's limit
LEAVING_MARGIN_S = 3_600  # a payer's exit or a hot key's end this near: settle now


class Events(Protocol):
    """Where state changes are told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...


class Policy(msgspec.Struct, frozen=True):
    """When a lane is settled: worth `above_wei` together, or waiting for `every_s` seconds."""

    above_wei: int
    every_s: int


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
        *,
        policy: Policy,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._takings = Takings(journal)
        self._cover = cover
        self._policy = policy
        self._events = events
        self._clock = clock
        self._one_at_a_time = trio.Lock()

    async def settle(self, payee: Address, lane: int) -> list[Settlement]:
        """Settle everything on one lane now. Raises VoucherRefused when there is nothing, or as `Transactor.once`."""
        done = await self._lane((payee, lane), force=True)
        if not done:
            raise VoucherRefused(f"there is nothing to settle on lane {lane} of {payee}")
        return done

    async def settle_due(self, *, force: bool = False) -> list[Settlement]:
        """Settle the lanes whose time has come, or with `force` all that hold anything."""
        lanes = dict.fromkeys((one.payee, one.lane) for one in await self._takings.pending())
        return [settlement for lane in lanes for settlement in await self._lane(lane, force=force)]

    async def run(self, every_s: float) -> None:
        """Settle due lanes until cancelled; trouble waits for the next round."""
        well = True
        while True:
            await trio.sleep(every_s)
            try:
                await self.settle_due()
                well = True
            except (WalletError, ChainError, IdentityError) as err:
                if well:
                    log.warning("settling waits", reason=str(err))
                well = False

    async def _lane(self, lane: LaneKey, *, force: bool) -> list[Settlement]:
        async with self._one_at_a_time:
            held = [one for one in await self._takings.pending() if (one.payee, one.lane) == lane]
            rows = await self._standing(held, lane)
            now = self._clock()
            await self._takings.settled([(*_who(one), snapshot.paid(lane)) for one, snapshot in rows], now)
            worth = [(one, snapshot) for one, snapshot in rows if collectable(one, snapshot, now) > 0]
            if not worth or not (force or is_due(worth, self._policy, now)):
                return []
            batches = [worth[start : start + MAX_ITEMS] for start in range(0, len(worth), MAX_ITEMS)]
            return [await self._send(lane, batch, now) for batch in batches]

    async def _standing(self, held: Sequence[Taking], lane: LaneKey) -> list[tuple[Taking, Snapshot]]:
        """What stands behind each voucher now; the reads go out side by side."""
        found: dict[str, Snapshot] = {}
        trouble: list[WalletError] = []

        async def read(one: Taking) -> None:
            try:
                found[one.payer] = await self._cover.of(one.payer, one.signer, [lane], max_age_s=0)
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
        payee, number = lane
        items = [Item(one.payer, one.lane, one.cumulative_wei, one.signature) for one, _ in batch]
        receipt = await self._transactor.once(_key(lane, batch, now), await self._call(lane, items))
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
    if one.signer != one.payer and (snapshot.delegate is None or snapshot.delegate.until <= now):
        return 0  # the bank would skip it until its payer extends the hot key
    return max(0, min(one.cumulative_wei - snapshot.paid(lane), snapshot.behind(lane, now)))


def is_due(worth: Sequence[tuple[Taking, Snapshot]], policy: Policy, now: int) -> bool:
    """Whether a lane should be settled: enough money, long enough, or somebody is about to leave."""
    if sum(collectable(one, snapshot, now) for one, snapshot in worth) >= policy.above_wei:
        return True
    if min(one.since for one, _ in worth) + policy.every_s <= now:
        return True
    return any(_leaving(one, snapshot, now) for one, snapshot in worth)


def _leaving(one: Taking, snapshot: Snapshot, now: int) -> bool:
    if snapshot.exiting_wei:
        return True
    hot = snapshot.delegate
    return one.signer != one.payer and hot is not None and hot.until < now + LEAVING_MARGIN_S


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
    return f"settle:{lane[0]}:{lane[1]}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"

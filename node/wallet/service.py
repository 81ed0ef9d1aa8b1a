"""The wallet as the user sees it: create, unlock, balance, deposit, withdraw, history.

    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)        # settles, finishes withdrawals, renews the session key

Amounts are decimal texts of base units in everything that is handed out.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from contracts.bindings.bank import Lane
from contracts.chain import Chain
from contracts.errors import ChainError, Reverted
from contracts.values import Receipt
from node.identity.errors import IdentityError
from node.identity.wallet_key import Wallet
from node.journal.journal import Journal
from node.journal.transactions import Step, Transactions
from node.journal.vouchers import Promise, Promises, Taking, Takings, spend
from node.wallet.deposits import Deposits
from node.wallet.errors import SpendLimit, WalletError
from node.wallet.moment import moment
from node.wallet.settle import Events, Settlement, Settler
from node.wallet.transact import Transactor, Waiting
from protocols.errors import BadIdentifier
from protocols.ids import Address, parse_address
from protocols.inference.card import lane as lane_of_model
from protocols.voucher import MAX_LANE

log = structlog.get_logger(__name__)

TEND_EVERY_S = 30.0
HISTORY_MAX = 1_000
MODEL = re.compile(r"[0-9a-f]{64}")


class Balance(msgspec.Struct, frozen=True):
    """Money now. `deposited` backs our vouchers, of which `promised` is not settled yet; `leaving` of it is on its way
    out until `leaving_at`; `reserved` is set aside for single payees; `credit` may be withdrawn from sales and rewards;
    `owed` are others' vouchers we hold.
    """

    address: str
    locked: bool
    token: str
    native: str
    deposited: str
    promised: str
    reserved: str
    leaving: str
    leaving_at: str | None
    credit: str
    owed: str
    session: str
    session_until: str | None
    session_left: str


class Movement(msgspec.Struct, frozen=True):
    """One transaction of this wallet. `cost` is what its gas took in native wei, once it is final."""

    key: str
    what: str
    state: str
    hash: str
    value: str
    cost: str
    at: str


class LaneView(msgspec.Struct, frozen=True):
    """One voucher lane, by the side we are on: "pay" or "take"; `reserved` is its hard cover."""

    side: str
    payer: str
    payee: str
    lane: str
    cumulative: str
    settled: str
    reserved: str
    reserved_until: str | None
    at: str | None


class WalletService:
    """One per node."""

    def __init__(
        self,
        *,
        wallet: Wallet,
        session: Address,
        chain: Chain,
        transactor: Transactor,
        journal: Journal,
        deposits: Deposits,
        settler: Settler,
        max_spend_wei: int,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        self._wallet = wallet
        self._session = session
        self._chain = chain
        self._transactor = transactor
        self._journal = journal
        self._transactions = Transactions(journal)
        self._promises = Promises(journal)
        self._takings = Takings(journal)
        self._deposits = deposits
        self._settler = settler
        self._max_spend_wei = max_spend_wei
        self._events = events
        self._clock = clock

    @property
    def address(self) -> Address:
        """Raises NoWallet."""
        return self._wallet.address

    @property
    def locked(self) -> bool:
        return self._wallet.locked

    # -------------------------------------------------------------------------------------------------------- the key

    async def create(self, passphrase: str) -> str:
        """Make the account; it stays locked. Raises WalletExists."""
        address = await self._wallet.create(passphrase, datetime.fromtimestamp(self._clock(), UTC))
        self._events.publish("wallet", {"state": "created", "address": address})
        return address

    async def unlock(self, passphrase: str, for_s: float | None = None) -> None:
        """Raises NoWallet or WrongPassphrase."""
        await self._wallet.unlock(passphrase, for_s)
        self._events.publish("wallet", {"state": "unlocked"})

    def lock(self) -> None:
        self._wallet.lock()
        self._events.publish("wallet", {"state": "locked"})

    # --------------------------------------------------------------------------------------------------------- money

    async def balance(self) -> Balance:
        """What the account has and is owed. Raises NoWallet or ChainError."""
        who, bank = self._wallet.address, self._chain.bank
        account = await bank.account(who)
        hot = await bank.delegate(who, self._session)
        credit = await self._chain.sale.credit(who) + await self._chain.rewards.credit(who)
        owed = sum(one.due_wei for one in await self._takings.pending())
        return Balance(
            address=who,
            locked=self._wallet.locked,
            token=str(await self._chain.token.balance(who)),
            native=str(await self._chain.native_balance(who)),
            deposited=str(account.free_wei),
            promised=str(await self._promised(who)),
            reserved=str(await self._reserved(who)),
            leaving=str(min(account.exiting_wei, account.free_wei)),
            leaving_at=moment(account.exit_at) if account.exiting_wei else None,
            credit=str(credit),
            owed=str(owed),
            session=self._session,
            session_until=moment(hot.until) if hot.until else None,
            session_left=str(hot.left_wei if hot.until > self._clock() else 0),
        )

    async def _promised(self, who: Address) -> int:
        promises = await self._promises.every(who)
        rows = await self._chain.bank.rows([(who, one.payee, one.lane) for one in promises])
        return sum(max(0, one.cumulative_wei - row.paid_wei) for one, row in zip(promises, rows, strict=True))

    async def _reserved(self, who: Address) -> int:
        rows = await self._chain.bank.rows([(who, *lane) for lane in dict.fromkeys(await self._reserved_lanes())])
        return sum(row.reserved_wei for row in rows)

    async def deposit(self, amount_wei: int, key: str | None = None) -> dict[str, str]:
        """As `Deposits.deposit`."""
        return await self._deposits.deposit(amount_wei, key)

    async def withdraw(self, amount_wei: int | None = None) -> dict[str, str]:
        """As `Deposits.withdraw`."""
        return await self._deposits.withdraw(amount_wei)

    async def reserve(self, payee: str, lane: int | None, amount_wei: int, until: int) -> dict[str, str]:
        """As `Deposits.reserve`. `payee` is an address or, without a lane, the id of a model."""
        return await self._deposits.reserve(*self._lane_of(payee, lane), amount_wei, until)

    async def release(self, payee: str, lane: int | None) -> dict[str, str]:
        """As `Deposits.release`."""
        return await self._deposits.release(*self._lane_of(payee, lane))

    def _lane_of(self, payee: str, lane: int | None) -> tuple[Address, int]:
        if lane is None and MODEL.fullmatch(payee):
            return Address(self._chain.models.address), lane_of_model(payee)
        if not 0 <= (lane or 0) <= MAX_LANE:
            raise BadIdentifier(f"lane {lane} is not a number of 64 bits")
        return parse_address(payee), lane or 0

    async def transfer(self, to: Address, amount_wei: int, key: str | None = None) -> Receipt:
        """Send tokens to somebody. Raises as `Transactor.once`."""
        call = self._chain.token.transfer(to, amount_wei)
        return await self._transactor.once(f"transfer:{key or secrets.token_hex(8)}", call)

    async def spend(self, what: str, amount_wei: int) -> None:
        """Count a purchase against the day's limit, once under the name `what`. Raises SpendLimit."""
        limit, now = self._max_spend_wei, self._clock()

        def run(conn: sqlite3.Connection) -> int:
            return spend(conn, what, amount_wei, limit, now)

        if over := await self._journal.write(run):
            raise SpendLimit(f"{what} would pass the limit of {limit} wei a day by {over} wei")

    # ------------------------------------------------------------------------------------------------------- listing

    async def history(self, limit: int = 50, after: str | None = None) -> tuple[Sequence[Movement], str | None]:
        """The newest transactions first, before them what waits to be signed at all; the cursor of the next page."""
        rows = await self._transactions.newest(min(limit, HISTORY_MAX), int(after) if after else None)
        cursor = str(rows[-1][0]) if len(rows) == limit else None
        waiting = [] if after else [self._not_yet(one) for one in self._transactor.waiting()]
        stuck = self._transactor.obstacles()
        return waiting + [self._movement(step, stuck.get(step.key, "")) for _, step in rows], cursor

    def _not_yet(self, one: Waiting) -> Movement:
        return Movement(
            key=one.key,
            what=self._chain.describe(one.call.to, one.call.data),
            state=f"waiting: {one.why}",
            hash="",
            value=str(one.call.value),
            cost="0",
            at=moment(one.since),
        )

    def _movement(self, step: Step, obstacle: str) -> Movement:
        cost, note = 0, step.note or (obstacle if step.state == "open" else "")
        if step.receipt is not None:
            cost = self._chain.parse_receipt(msgspec.json.decode(step.receipt)).cost_wei
        return Movement(
            key=step.key,
            what=self._chain.describe(step.target, step.data),
            state=step.state if not note else f"{step.state}: {note}",
            hash=step.hash,
            value=step.value_wei,
            cost=str(cost),
            at=moment(step.created_at),
        )

    async def lanes(self) -> list[LaneView]:
        """Every voucher lane, ours and those of others."""
        who = self._wallet.address
        promises = {(mine.payee, mine.lane): mine for mine in await self._promises.every(who)}
        ours = [(who, *key) for key in {**promises, **dict.fromkeys(await self._reserved_lanes())}]
        takings = {(held.payer, held.payee, held.lane): held for held in await self._takings.every()}
        rows = await self._chain.bank.rows([*ours, *takings])
        paying = [
            _lane_view("pay", key, promises.get(key[1:]), row) for key, row in zip(ours, rows[: len(ours)], strict=True)
        ]
        taking = [
            _lane_view("take", key, takings[key], row) for key, row in zip(takings, rows[len(ours) :], strict=True)
        ]
        return paying + taking

    async def _reserved_lanes(self) -> list[tuple[str, int]]:
        """Lanes we have reserved for, whether or not we have paid on them."""
        steps = [step for step in await self._transactions.under("reserve:") if step.receipt is not None]
        receipts = [self._chain.parse_receipt(msgspec.json.decode(step.receipt or b"")) for step in steps]
        events = [event for receipt in receipts for event in receipt.events("Reserved", self._chain.bank.address)]
        return [(event["payee"], int(event["lane"])) for event in events]

    # ---------------------------------------------------------------------------------------------------- by itself

    async def settle(self) -> list[Settlement]:
        """Settle everything that can be settled, now. Raises as `Transactor.once`."""
        return await self._settler.settle_due(force=True)

    async def unsettled_wei(self) -> int:
        """What others owe us by vouchers while the locked wallet cannot bring them; 0 when it is unlocked."""
        if not self._wallet.locked:
            return 0
        return sum(one.due_wei for one in await self._takings.pending())

    async def run(self, every_s: float = TEND_EVERY_S) -> None:
        """Until cancelled: settle what is due, finish withdrawals, renew the session key. Waits while locked."""
        well = True
        while True:
            try:
                await self.tend()
                well = True
            except (WalletError, ChainError, IdentityError) as err:
                if well:
                    log.warning("the wallet cannot do its round", reason=str(err))
                well = False
            await self._settler.rest(every_s)

    async def tend(self) -> None:
        """One round of `run`."""
        if not self._wallet.exists or self._wallet.locked:
            return
        await self._settler.settle_due()
        try:
            await self._deposits.finish_exit()
        except Reverted as err:
            log.warning("the withdrawal was refused", reason=err.name)
        account = await self._chain.bank.account(self._wallet.address)
        if account.free_wei:  # without a deposit there is nothing to sign vouchers for
            await self._deposits.keep_session()


def _lane_view(side: str, key: tuple[str, str, int], newest: Promise | Taking | None, row: Lane) -> LaneView:
    payer, payee, lane = key
    return LaneView(
        side=side,
        payer=payer,
        payee=payee,
        lane=str(lane),
        cumulative=str(newest.cumulative_wei if newest else row.paid_wei),
        settled=str(row.paid_wei),
        reserved=str(row.reserved_wei),
        reserved_until=moment(row.reserved_until) if row.reserved_wei else None,
        at=moment(newest.updated_at) if newest else None,
    )

"""The payer's side of vouchers: sign, journal, and only then let go; never more than one unit ahead.

    voucher = await lanes.pay(payee, lane, price_wei)      # before each unit
    await lanes.received(payee, lane)                      # when the unit came

Vouchers are signed by the session key, which the wallet authorised on chain with a cap and an expiry, so that a node
pays while its wallet is locked. Without such an authorisation the wallet signs, if it is unlocked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Protocol

import coincurve

from node.identity.errors import WalletLocked
from node.journal.journal import Journal
from node.journal.vouchers import Promise, Promises, promise, promised_total, put_promise, spend
from node.wallet.cover import END_MARGIN_S, Cover, LaneKey, Snapshot
from node.wallet.errors import AheadTooFar, InsufficientFunds, SpendLimit, VoucherRefused
from protocols import eip712
from protocols.ids import Address
from protocols.voucher import Voucher, verify_voucher, voucher_digest, voucher_domain

# The newest voucher of a lane and what the chain has paid on it, to the sum that is to be signed
Target = Callable[[Promise | None, int], int]


class Account(Protocol):
    """The wallet as it is used here."""

    @property
    def address(self) -> Address: ...
    @property
    def locked(self) -> bool: ...
    def sign(self, digest: bytes) -> bytes: ...


class Lanes:
    """Signs vouchers for one node."""

    def __init__(
        self,
        journal: Journal,
        cover: Cover,
        wallet: Account,
        session: coincurve.PrivateKey,
        *,
        chain_id: int,
        bank: Address,
        max_spend_wei: int,
        clock: Callable[[], int],
    ) -> None:
        self._promises = Promises(journal)
        self._cover = cover
        self._wallet = wallet
        self._session = session
        self._session_address = eip712.address_of(session.public_key)
        self._domain = voucher_domain(chain_id, bank)
        self._max_spend_wei = max_spend_wei
        self._clock = clock

    async def promised(self, payee: Address, lane: int) -> int:
        """The sum of the newest voucher we signed on a lane."""
        newest = await self._promises.get(self._wallet.address, payee, lane)
        return newest.cumulative_wei if newest else 0

    async def promise(self, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        """A voucher up to this sum, journalled; the newest one when the sum is not above it.

        Raises InsufficientFunds (deposit), SpendLimit, WalletLocked, NoWallet or ChainSilent.
        """
        return await self._sign(payee, lane, lambda newest, paid_wei: cumulative_wei)

    async def pay(self, payee: Address, lane: int, price_wei: int) -> Voucher:
        """A voucher for one more unit. While the last unit is outstanding, its voucher comes again.

        Raises AheadTooFar when the outstanding voucher does not pay this price, or as `promise`.
        """

        def target(newest: Promise | None, paid_wei: int) -> int:
            if newest is None or newest.cumulative_wei < paid_wei:  # a restored wallet whose journal is gone
                return paid_wei + price_wei
            ahead = newest.cumulative_wei - newest.received_wei
            if ahead == 0:
                return newest.cumulative_wei + price_wei
            if ahead < price_wei:
                raise AheadTooFar(f"{ahead} wei were paid to {payee} on lane {lane} and not answered")
            return newest.cumulative_wei

        return await self._sign(payee, lane, target)

    async def received(self, payee: Address, lane: int) -> None:
        """The unit that was paid for has come: the next may be paid."""
        await self._promises.received(self._wallet.address, payee, lane)

    async def adopt(self, voucher: Voucher, served_wei: int) -> int:
        """Take up a voucher of ours that this journal does not know, as its payee shows it; the lane's sum after that.

        It happens when the journal was lost and the keys were not. `served_wei` is what he says he served for it: he is
        believed within what we signed, so at most the one unit that was open is lost. Raises VoucherRefused when it is
        not ours, BadSignature when it is nobody's.
        """
        payer = self._wallet.address
        if voucher.payer != payer or verify_voucher(voucher, self._domain) not in (payer, self._session_address):
            raise VoucherRefused("that voucher is not ours")
        new = Promise(
            payer=payer,
            payee=voucher.payee,
            lane=voucher.lane,
            cumulative_wei=voucher.cumulative,
            received_wei=min(served_wei, voucher.cumulative),
            signature=voucher.signature,
            signer=verify_voucher(voucher, self._domain),
            updated_at=self._clock(),
        )

        def run(conn: sqlite3.Connection) -> Promise:
            newest = promise(conn, payer, voucher.payee, voucher.lane)
            if newest is not None and newest.cumulative_wei >= new.cumulative_wei:
                return newest
            put_promise(conn, new)
            return new

        return (await self._promises.change(run)).cumulative_wei

    async def every(self) -> list[Promise]:
        """The newest voucher of each lane."""
        return await self._promises.every(self._wallet.address)

    async def _sign(self, payee: Address, lane: int, target: Target) -> Voucher:
        payer = self._wallet.address
        newest = await self._promises.get(payer, payee, lane)
        if newest is not None and target(newest, 0) <= newest.cumulative_wei:
            return newest.voucher
        lanes = {*(_key(one) for one in await self._promises.every(payer)), (payee, lane)}
        snapshot = await self._cover.of(payer, self._session_address, lanes)
        try:
            return await self._promise(payee, lane, target, snapshot)
        except (InsufficientFunds, WalletLocked):  # a deposit or a settlement may just have made room
            snapshot = await self._cover.of(payer, self._session_address, lanes, max_age_s=0)
            return await self._promise(payee, lane, target, snapshot)

    async def _promise(self, payee: Address, lane: int, target: Target, snapshot: Snapshot) -> Voucher:
        now, payer = self._clock(), self._wallet.address

        def run(conn: sqlite3.Connection) -> Promise:
            newest = promise(conn, payer, payee, lane)
            sum_wei = target(newest, snapshot.paid((payee, lane)))
            if newest is not None and sum_wei <= newest.cumulative_wei:
                return newest
            sums = {**promised_total(conn, payer), (payee, lane): sum_wei}
            check_deposit(sums, snapshot, payer, now)
            before = max(newest.cumulative_wei if newest else 0, snapshot.paid((payee, lane)))
            over = spend(conn, f"{payee}:{lane}:{sum_wei}", sum_wei - before, self._max_spend_wei, now)
            if over:
                raise SpendLimit(f"{over} wei over the limit of {self._max_spend_wei} wei a day")
            reserved = snapshot.hard_wei((payee, lane), now) > 0
            signer, sign = self._signer(snapshot, snapshot.owed_wei(sums), now, reserved=reserved)
            new = Promise(
                payer=payer,
                payee=payee,
                lane=lane,
                cumulative_wei=sum_wei,
                received_wei=newest.received_wei if newest else 0,
                signature=sign(voucher_digest(self._domain, payer, payee, lane, sum_wei)),
                signer=signer,
                updated_at=now,
            )
            put_promise(conn, new)
            return new

        return (await self._promises.change(run)).voucher

    def _signer(
        self, snapshot: Snapshot, open_wei: int, now: int, *, reserved: bool
    ) -> tuple[Address, Callable[[bytes], bytes]]:
        """The session key if it may sign for all that is open, else the wallet. Raises WalletLocked.

        On a lane with a reserve the wallet itself signs if it can: a capped key's voucher is no hard cover.
        """
        hot = snapshot.delegate
        live = hot is not None and hot.until > now + 2 * END_MARGIN_S and open_wei <= hot.left_wei
        if live and (self._wallet.locked or not reserved):
            return self._session_address, lambda digest: eip712.sign(self._session, digest)
        if self._wallet.locked:
            raise WalletLocked("the session key is not authorised for this sum, and the wallet is locked")
        return self._wallet.address, self._wallet.sign


def check_deposit(sums: Mapping[LaneKey, int], snapshot: Snapshot, payer: Address, now: int) -> None:
    """A voucher beyond the deposit would be refused, or bounce. Raises InsufficientFunds."""
    need = snapshot.uncovered_wei(sums, now)
    if need > snapshot.soft_wei:
        raise InsufficientFunds("deposit", snapshot.soft_wei, need, payer)


def _key(one: Promise) -> LaneKey:
    return one.payee, one.lane

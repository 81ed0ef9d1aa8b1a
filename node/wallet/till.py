"""The payee's side of vouchers: check, compare with what stands behind them, journal, then serve.

    sum_wei = await till.accept(voucher, payee=…, lane=…)     # journalled when it returns

A voucher is taken when it is signed by its payer or by a hot key he authorised on chain, raises its lane, and what the
payer then owes us is covered by his deposit. A payer who has settled with us before may owe `credit_wei` beyond it; a
stranger may not, since an address costs nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from node.journal.journal import Journal
from node.journal.vouchers import Taking, Takings, put_taking, taking, takings_of
from node.wallet.cover import Cover, LaneKey, Snapshot
from node.wallet.errors import NoCover, VoucherRefused
from protocols.ids import Address, parse_address
from protocols.voucher import Voucher, verify_voucher, voucher_domain

REREAD_S = 0.5  # a payer who is refused again and again makes us ask the chain this often at most
DELEGATE_MARGIN_S = 60  # a hot key must outlive the voucher long enough to be settled


class Till:
    """Takes vouchers for one node, on whatever lanes it serves."""

    def __init__(
        self,
        journal: Journal,
        cover: Cover,
        *,
        chain_id: int,
        bank: Address,
        credit_wei: int,
        clock: Callable[[], int],
        reread_s: float = REREAD_S,
    ) -> None:
        self._takings = Takings(journal)
        self._cover = cover
        self._domain = voucher_domain(chain_id, bank)
        self._credit_wei = credit_wei
        self._clock = clock
        self._reread_s = reread_s

    async def accept(self, voucher: Voucher, *, payee: Address, lane: int, price_wei: int = 0) -> int:
        """Take a voucher to `payee` on `lane`; returns the sum the lane now stands at, in base units.

        The newest voucher may come again; an older one is refused, as is one that raises the lane by less than
        `price_wei`. Raises VoucherRefused, NoCover, BadSignature, BadIdentifier, or ChainSilent.
        """
        if (voucher.payee, voucher.lane) != (payee, lane):
            raise VoucherRefused(f"the voucher pays {voucher.payee} on lane {voucher.lane}, not {payee} on {lane}")
        payer = parse_address(voucher.payer)
        if payer != voucher.payer:  # another spelling would be another row of the journal
            raise VoucherRefused("the payer's address must carry its checksum")
        signer = verify_voucher(voucher, self._domain)
        held = {(one.payee, one.lane): one for one in await self._takings.of_payer(payer)}
        known = held.get((payee, lane))
        if known is not None and voucher.cumulative == known.cumulative_wei and not price_wei:
            if signer not in (known.signer, payer):
                raise VoucherRefused(f"{signer} did not sign the voucher we hold")
            return known.cumulative_wei
        lanes = {*held, (payee, lane)}
        snapshot = await self._cover.of(payer, signer, lanes)
        try:
            return await self._take(voucher, signer, snapshot, price_wei)
        except NoCover:  # he may have deposited, or extended his hot key, a moment ago
            snapshot = await self._cover.of(payer, signer, lanes, max_age_s=self._reread_s)
            return await self._take(voucher, signer, snapshot, price_wei)

    async def _take(self, voucher: Voucher, signer: Address, snapshot: Snapshot, price_wei: int) -> int:
        now = self._clock()

        def run(conn: sqlite3.Connection) -> Taking:
            known = taking(conn, voucher.payer, voucher.payee, voucher.lane)
            new = raised(known, voucher, signer, price_wei, snapshot, now)
            others = [one for one in takings_of(conn, voucher.payer) if (one.payee, one.lane) != (new.payee, new.lane)]
            check_cover([*others, new], new, snapshot, self._credit_wei, now)
            put_taking(conn, new)
            return new

        return (await self._takings.change(run)).cumulative_wei

    async def pending(self) -> list[Taking]:
        """What we hold and have not settled, the oldest first."""
        return await self._takings.pending()


def raised(
    known: Taking | None, voucher: Voucher, signer: Address, price_wei: int, snapshot: Snapshot, now: int
) -> Taking:
    """The lane's row with this voucher as its newest. Raises VoucherRefused when it does not raise the lane enough."""
    lane: LaneKey = (voucher.payee, voucher.lane)
    before = max(known.cumulative_wei if known else 0, snapshot.paid(lane))
    if voucher.cumulative < before + max(price_wei, 1):
        raise VoucherRefused(
            f"the lane stands at {before} wei, a voucher over {voucher.cumulative} wei does not pay {price_wei} wei"
        )
    settled = max(known.settled_wei if known else 0, snapshot.paid(lane))
    waiting = known is not None and known.cumulative_wei > settled
    return Taking(
        payer=voucher.payer,
        payee=voucher.payee,
        lane=voucher.lane,
        cumulative_wei=voucher.cumulative,
        settled_wei=settled,
        signature=voucher.signature,
        signer=signer,
        since=known.since if known is not None and waiting else now,
        updated_at=now,
    )


def check_cover(held: list[Taking], new: Taking, snapshot: Snapshot, credit_wei: int, now: int) -> None:
    """Whether all that a payer would owe us stands behind his vouchers. `held` are all his lanes, `new` among them.

    Raises NoCover with the amounts.
    """
    owed = sum(max(0, one.cumulative_wei - snapshot.paid((one.payee, one.lane))) for one in held)
    behind = snapshot.behind((new.payee, new.lane), now)
    regular = any(snapshot.paid((one.payee, one.lane)) > 0 for one in held)
    if owed > behind + (credit_wei if regular else 0):
        raise NoCover(f"{new.payer} would owe {owed} wei, {behind} wei stand behind it")
    if new.signer == new.payer:
        return
    delegate = snapshot.delegate
    if delegate is None or delegate.until < now + DELEGATE_MARGIN_S:
        raise NoCover(f"{new.signer} may not sign for {new.payer}, or not for long enough")
    if owed > delegate.left_wei:
        raise NoCover(f"{new.signer} may sign for {delegate.left_wei} wei more, {owed} wei are owed")

"""The payee's side of vouchers: check, compare with what stands behind them, journal, then serve.

    sum_wei = await till.accept(voucher, payee=…, lane=…)     # journalled when it returns

A voucher is taken when it is the word of its payer (his key's, of a hot key he authorised on chain, or of himself if he
is a contract), raises its lane, and what the payer then owes us is covered. The most we can lose, whatever he does:

    hard cover    nothing, as long as we settle before the reserve ends: the settler does so an hour ahead
    soft cover    `soft_limit_wei` a payer: he may spend his deposit elsewhere before we settle. Leaving alone does not
                  do it: an exit takes its delay, and we settle when it is announced
    credit        `credit_wei` beyond that, for a payer who has settled with us before; a stranger has none, since an
                  address costs nothing

The voucher of a hot key with a cap is no hard cover, because the cap may be used up elsewhere, nor is that of a
contract, which may forget its signature.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from contracts.bindings.bank import MAX_UINT96
from node.journal.journal import Journal
from node.journal.vouchers import Taking, Takings, put_taking, taking, takings_of
from node.wallet.cover import END_MARGIN_S, Cover, LaneKey, Snapshot
from node.wallet.erc1271 import ContractPayers
from node.wallet.errors import NoCover, Outdated, VoucherRefused
from protocols.errors import BadSignature
from protocols.ids import Address, parse_address
from protocols.voucher import Voucher, verify_voucher, voucher_domain

REREAD_S = 0.5  # a payer who is refused again and again makes us ask the chain this often at most


class Credit(msgspec.Struct, frozen=True):
    """What one payer may owe beyond hard cover: up to `soft_limit_wei` within his deposit, and `credit_wei` without."""

    soft_limit_wei: int
    credit_wei: int = 0


class Till:
    """Takes vouchers for one node, on whatever lanes it serves."""

    def __init__(
        self,
        journal: Journal,
        cover: Cover,
        contracts: ContractPayers,
        *,
        chain_id: int,
        bank: Address,
        credit: Credit,
        clock: Callable[[], int],
        half_full: Callable[[], None] = lambda: None,
        reread_s: float = REREAD_S,
    ) -> None:
        """`half_full` is called when a payer owes half of what he may: it is time to settle."""
        self._takings = Takings(journal)
        self._cover = cover
        self._contracts = contracts
        self._domain = voucher_domain(chain_id, bank)
        self._credit = credit
        self._clock = clock
        self._half_full = half_full
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
        signer = self._key_of(voucher)
        held = {(one.payee, one.lane): one for one in await self._takings.of_payer(payer)}
        known = held.get((payee, lane))
        if known is not None and voucher.cumulative == known.cumulative_wei and not price_wei:
            if voucher.signature != known.signature and signer not in (known.signer or payer, payer):
                raise VoucherRefused(f"{signer or 'no key'} did not sign the voucher we hold")
            return known.cumulative_wei
        lanes = {*held, (payee, lane)}
        if signer != payer:
            signer = await self._authority(voucher, signer, lanes)
        snapshot = await self._cover.of(payer, signer or payer, lanes)
        try:
            return await self._take(voucher, signer, snapshot, price_wei)
        except NoCover:  # he may have deposited, or extended his hot key, a moment ago
            snapshot = await self._cover.of(payer, signer or payer, lanes, max_age_s=self._reread_s)
            return await self._take(voucher, signer, snapshot, price_wei)

    def _key_of(self, voucher: Voucher) -> str:
        """Whose key signed; "" when no key did, as may be with a contract's voucher."""
        try:
            return verify_voucher(voucher, self._domain)
        except BadSignature:
            return ""

    async def _authority(self, voucher: Voucher, signer: str, lanes: set[LaneKey]) -> str:
        """The hot key that signed, or "" for a payer that is a contract and knows the signature.

        In the bank's order: a live hot key speaks for a contract too. Raises BadSignature when nobody signed.
        """
        payer = voucher.payer
        if await self._contracts.is_contract(payer):
            hot = (await self._cover.of(payer, signer, lanes)).delegate if signer else None
            if hot is not None and hot.until > self._clock():
                return signer
            if await self._contracts.signed(payer, voucher.payee, voucher.lane, voucher.cumulative, voucher.signature):
                return ""
        if not signer:
            raise BadSignature("not a signature of any key, nor one that the payer's contract knows")
        return signer

    async def _take(self, voucher: Voucher, signer: str, snapshot: Snapshot, price_wei: int) -> int:
        now = self._clock()

        def run(conn: sqlite3.Connection) -> tuple[Taking, int]:
            known = taking(conn, voucher.payer, voucher.payee, voucher.lane)
            new = raised(known, voucher, signer, price_wei, snapshot, now)
            others = [one for one in takings_of(conn, voucher.payer) if (one.payee, one.lane) != (new.payee, new.lane)]
            soft_wei = check_cover([*others, new], new, snapshot, self._credit, now)
            put_taking(conn, new)
            return new, soft_wei

        new, soft_wei = await self._takings.change(run)
        if soft_wei * 2 > self._credit.soft_limit_wei:
            self._half_full()
        return new.cumulative_wei

    async def pending(self) -> list[Taking]:
        """What we hold and have not settled, the oldest first."""
        return await self._takings.pending()


def raised(known: Taking | None, voucher: Voucher, signer: str, price_wei: int, snapshot: Snapshot, now: int) -> Taking:
    """The lane's row with this voucher as its newest. Raises VoucherRefused when it does not raise the lane enough."""
    lane: LaneKey = (voucher.payee, voucher.lane)
    before = max(known.cumulative_wei if known else 0, snapshot.paid(lane))
    if voucher.cumulative < before + max(price_wei, 1):
        why = f"the lane stands at {before} wei, a voucher over {voucher.cumulative} wei does not pay {price_wei} wei"
        if known is not None and signer in (known.payer, known.signer) and voucher.cumulative < known.cumulative_wei:
            raise Outdated(why, known.voucher)  # to its signer only: it tells what he owes
        raise VoucherRefused(why)
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


def check_cover(held: list[Taking], new: Taking, snapshot: Snapshot, credit: Credit, now: int) -> int:
    """Whether all that a payer would owe us stands behind his vouchers; what of it is not hard cover, in base units.
    `held` are all his lanes, `new` among them.

    Raises NoCover with the amounts.
    """
    sums = {(one.payee, one.lane): one.cumulative_wei for one in held}
    owed_wei = snapshot.owed_wei(sums)
    soft_wei = snapshot.uncovered_wei(sums, now, voidable(held, snapshot))
    spare_wei = credit.credit_wei if any(snapshot.paid(lane) > 0 for lane in sums) else 0
    if soft_wei > snapshot.soft_wei + spare_wei:
        raise NoCover(
            f"{new.payer} would owe {owed_wei} wei, {owed_wei - soft_wei + snapshot.soft_wei} wei stand behind it"
        )
    if soft_wei > credit.soft_limit_wei + spare_wei:
        raise NoCover(
            f"{new.payer} would owe {soft_wei} wei without hard cover, this node lets a payer owe "
            f"{credit.soft_limit_wei} wei: reserve for this lane, or ask again when the last vouchers are settled"
        )
    if new.signer in (new.payer, ""):
        return soft_wei
    delegate = snapshot.delegate
    if delegate is None or delegate.until < now + END_MARGIN_S:
        raise NoCover(f"{new.signer} may not sign for {new.payer}, or not for long enough")
    if owed_wei > delegate.left_wei:
        raise NoCover(f"{new.signer} may sign for {delegate.left_wei} wei more, {owed_wei} wei are owed")
    return soft_wei


def voidable(held: list[Taking], snapshot: Snapshot) -> set[LaneKey]:
    """The lanes whose voucher could become worthless without the payer's exit: of contracts, and of capped hot keys.

    Of a hot key that is not the snapshot's own nothing is known: it counts as capped.
    """
    hot = snapshot.delegate
    uncapped = hot is not None and hot.cap_wei == MAX_UINT96
    return {
        (one.payee, one.lane)
        for one in held
        if one.by_contract or (one.signer != one.payer and not (uncapped and one.signer == snapshot.signer))
    }

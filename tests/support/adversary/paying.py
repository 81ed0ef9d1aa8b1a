"""Consumers whose vouchers should not be taken, and consumers who stop paying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import coincurve
import msgspec

from node.wallet import lanes
from node.wallet.lanes import Lanes
from protocols.ids import Address, checksum
from protocols.voucher import Voucher, sign_voucher, voucher_domain

Replace = Callable[[object, str, Any], None]
Forge = Callable[[Lanes, Voucher], Voucher]

MAINNET = 1
NOBODY = coincurve.PrivateKey(b"\x07" * 32)
ELSEWHERE: Address = checksum(b"\xee" * 20)


def stops_paying(replace: Replace, argument: str) -> None:
    """Pays the first `argument` units, then sends the last voucher again and again."""
    honest, free, kept = Lanes.promise, int(argument), {}

    async def promise(self: Lanes, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        signed: list[Voucher] = kept.setdefault((payee, lane), [])
        if len(signed) < free:
            signed.append(await honest(self, payee, lane, cumulative_wei))
        return signed[-1]

    replace(Lanes, "promise", promise)


def stale(replace: Replace, argument: str) -> None:
    """Pays the first `argument` units, then signs for half of what they came to."""
    honest, left = Lanes.promise, int(argument)

    async def promise(self: Lanes, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        nonlocal left
        voucher, left = await honest(self, payee, lane, cumulative_wei), left - 1
        half = msgspec.structs.replace(voucher, cumulative_wei=str(voucher.cumulative // 2))
        return voucher if left >= 0 else _signed(self, half, self._domain)

    replace(Lanes, "promise", promise)


def signs_beyond(replace: Replace, _: str) -> None:
    """Signs whatever is asked for, whether or not a deposit stands behind it."""
    replace(lanes, "check_deposit", lambda *_: None)


def forging(forge: Forge) -> Callable[[Replace, str], None]:
    """Sends what `forge` makes of the honest voucher."""

    def behaviour(replace: Replace, _: str) -> None:
        honest = Lanes.promise

        async def promise(self: Lanes, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
            return forge(self, await honest(self, payee, lane, cumulative_wei))

        replace(Lanes, "promise", promise)

    return behaviour


def in_the_name_of(replace: Replace, victim: str) -> None:
    """Lets somebody else pay: a rich account's address, and our own signature."""

    def forge(self: Lanes, voucher: Voucher) -> Voucher:
        return _signed(self, msgspec.structs.replace(voucher, payer=victim), self._domain)

    forging(forge)(replace, "")


def replayed(replace: Replace, argument: str) -> None:
    """Sends a voucher of somebody else that was found lying about; the argument is the file that holds it, as JSON."""

    async def promise(self: Lanes, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        with open(argument, "rb") as file:
            return msgspec.json.decode(file.read(), type=Voucher)

    replace(Lanes, "promise", promise)


def _signed(self: Lanes, voucher: Voucher, domain: bytes) -> Voucher:
    payer, payee = Address(voucher.payer), Address(voucher.payee)
    return sign_voucher(self._session, domain, payer, payee, voucher.lane, voucher.cumulative)


def _unsigned(_: Lanes, voucher: Voucher) -> Voucher:
    return msgspec.structs.replace(voucher, signature=b"\xff" * 64)


def _by_nobody(self: Lanes, voucher: Voucher) -> Voucher:
    payer, payee = Address(voucher.payer), Address(voucher.payee)
    return sign_voucher(NOBODY, self._domain, payer, payee, voucher.lane, voucher.cumulative)


def _raised(_: Lanes, voucher: Voucher) -> Voucher:
    return msgspec.structs.replace(voucher, cumulative_wei=str(voucher.cumulative * 10))


def _of_another_chain(self: Lanes, voucher: Voucher) -> Voucher:
    return _signed(self, voucher, voucher_domain(MAINNET, ELSEWHERE))


def _to_myself(self: Lanes, voucher: Voucher) -> Voucher:
    return _signed(self, msgspec.structs.replace(voucher, payee=voucher.payer), self._domain)


def _of_another_lane(self: Lanes, voucher: Voucher) -> Voucher:
    return _signed(self, msgspec.structs.replace(voucher, lane=voucher.lane ^ 1), self._domain)


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {
    "stops-paying": stops_paying,
    "signs-beyond": signs_beyond,
    "in-the-name-of": in_the_name_of,
    "replayed": replayed,
    "unsigned": forging(_unsigned),
    "by-nobody": forging(_by_nobody),
    "raised": forging(_raised),
    "of-another-chain": forging(_of_another_chain),
    "stale": stale,
    "to-myself": forging(_to_myself),
    "of-another-lane": forging(_of_another_lane),
}

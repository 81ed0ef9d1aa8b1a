"""VoucherBank: one deposit, many payees, cumulative signed vouchers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.bindings.binding import Binding, BlockTag, View
from contracts.values import Call

MAX_UINT96 = 2**96 - 1  # as a delegate's cap it means none


class Account(View, frozen=True):
    """A payer's deposit. `exiting_wei` may leave at `exit_at` (UTC seconds) if vouchers have not taken it by then."""

    free_wei: int
    exiting_wei: int
    exit_at: int


class Lane(View, frozen=True):
    """What was settled on a lane, and its hard cover until `reserved_until` (UTC seconds)."""

    paid_wei: int
    reserved_wei: int
    reserved_until: int


class Delegate(View, frozen=True):
    """A hot key that may sign vouchers until `until` (UTC seconds) and has used `spent_wei` of `cap_wei`."""

    until: int
    cap_wei: int
    spent_wei: int

    @property
    def left_wei(self) -> int:
        return MAX_UINT96 if self.cap_wei == MAX_UINT96 else self.cap_wei - self.spent_wei


class Item(msgspec.Struct, frozen=True):
    """A voucher as the contract takes it; `signature` is 64 bytes (EIP-2098)."""

    payer: str
    lane: int
    cumulative_wei: int
    signature: bytes

    def encoded(self) -> tuple[str, int, int, bytes, bytes]:
        return self.payer, self.lane, self.cumulative_wei, self.signature[:32], self.signature[32:]


class VoucherBank(Binding):
    """Money in by deposit, out by settlement or by an exit that takes its time."""

    def deposit(self, payer: str, amount_wei: int) -> Call:
        """Needs an allowance for the bank."""
        return self._call("deposit", payer, amount_wei)

    def deposit_with_permit(self, payer: str, amount_wei: int, deadline: int, r: bytes, s: bytes, v: int) -> Call:
        return self._call("depositWithPermit", payer, amount_wei, deadline, v, r, s)

    def reserve(self, payee: str, lane: int, amount_wei: int, until: int) -> Call:
        return self._call("reserve", payee, lane, amount_wei, until)

    def release(self, payee: str, lane: int) -> Call:
        return self._call("release", payee, lane)

    def set_delegate(self, signer: str, until: int, cap_wei: int = MAX_UINT96) -> Call:
        return self._call("setDelegate", signer, until, cap_wei)

    def start_exit(self, amount_wei: int) -> Call:
        return self._call("startExit", amount_wei)

    def finish_exit(self) -> Call:
        return self._call("finishExit")

    def settle(self, payee: str, items: Sequence[Item], *, into_bank: bool) -> Call:
        """To a plain account; a model's vouchers go through ModelRegistry.settle."""
        return self._call("settle", payee, [item.encoded() for item in items], into_bank)

    async def standing(
        self, payer: str, lanes: Sequence[tuple[str, int]], signer: str, block: int
    ) -> tuple[Account, list[Lane], Delegate]:
        """All that stands behind a payer's vouchers at one block: deposit, lanes by (payee, lane), hot key."""
        reads: list[tuple[str, tuple[Any, ...]]] = [("accounts", (payer,)), ("delegates", (payer, signer))]
        reads += [("lanes", (payer, payee, lane)) for payee, lane in lanes]
        account, delegate, *rows = await self._read_many(reads, block)
        return Account(*account), [Lane(*row) for row in rows], Delegate(*delegate)

    async def account(self, payer: str, block: BlockTag = "latest") -> Account:
        return await self._struct(Account, "accounts", payer, block=block)

    async def lane(self, payer: str, payee: str, lane: int, block: BlockTag = "latest") -> Lane:
        return await self._struct(Lane, "lanes", payer, payee, lane, block=block)

    async def rows(self, keys: Sequence[tuple[str, str, int]], block: BlockTag = "latest") -> list[Lane]:
        """Many lanes by (payer, payee, lane), in few round trips."""
        return [Lane(*row) for row in await self._read_many([("lanes", key) for key in keys], block)]

    async def paid(self, payer: str, payee: str, lane: int) -> int:
        """Base units ever settled on a lane."""
        return (await self.lane(payer, payee, lane)).paid_wei

    async def delegate(self, payer: str, signer: str) -> Delegate:
        return await self._struct(Delegate, "delegates", payer, signer)

    async def exit_delay(self) -> int:
        """Seconds."""
        return await self._whole("exitDelay")

    async def domain_separator(self) -> bytes:
        value: bytes = await self._read("domainSeparator")
        return value

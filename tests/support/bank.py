"""A voucher bank in memory: what `node.wallet.cover` reads of the chain, to be set by tests at will."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.bindings.bank import Account, Delegate, Lane
from contracts.errors import RpcUnavailable


class FakeBank:
    address = "0x3333333333333333333333333333333333333333"

    def __init__(self) -> None:
        self.free: dict[str, int] = {}
        self.exits: dict[str, tuple[int, int]] = {}
        self.lanes: dict[tuple[str, str, int], Lane] = {}
        self.delegates: dict[tuple[str, str], Delegate] = {}
        self.reads = 0
        self.silent = False

    async def standing(
        self, payer: str, lanes: Sequence[tuple[str, int]], signer: str, block: int
    ) -> tuple[Account, list[Lane], Delegate]:
        self.reads += 1
        account = Account(self.free.get(payer, 0), *self.exits.get(payer, (0, 0)))
        rows = [self.lanes.get((payer, payee, lane), Lane(0, 0, 0)) for payee, lane in lanes]
        return account, rows, self.delegates.get((payer, signer), Delegate(0, 0, 0))

    def settle(self, payer: str, payee: str, lane: int, sum_wei: int) -> None:
        """As the contract does it: the lane's sum rises by what the deposit loses."""
        before = self.lanes.get((payer, payee, lane), Lane(0, 0, 0))
        self.free[payer] -= sum_wei - before.paid_wei
        self.lanes[payer, payee, lane] = Lane(sum_wei, before.reserved_wei, before.reserved_until)


class FakeEndpoint:
    """Accounts are plain unless they stand in `contracts`, with what they answer to isValidSignature."""

    def __init__(self, bank: FakeBank) -> None:
        self.bank = bank
        self.contracts: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> str:
        if self.bank.silent:
            raise RpcUnavailable("away")
        self.asked.append(method)
        if method == "eth_getCode":
            return "0x60" if params[0] in self.contracts else "0x"
        return "0x" + self.contracts[params[0]["to"]].hex()


class FakeChain:
    """What `Cover` and `ContractPayers` use."""

    chain_id = 31337

    def __init__(self) -> None:
        self.bank = FakeBank()
        self.rpc = FakeEndpoint(self.bank)

    async def block_number(self) -> int:
        if self.bank.silent:
            raise RpcUnavailable("away")
        return 1

"""Payers that are contracts: whether such a wallet knows a voucher's signature as its own (ERC-1271).

The wallet is asked as the bank will ask it: from the bank's address, with the bank's bound on gas. Its answer is worth
as much as its owners' will: it may be another one in the next block. So it is asked again before each settlement, and
what a contract owes is never hard cover (`node.wallet.till`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import trio

from contracts.chain import Chain
from contracts.errors import ChainError, RpcError
from contracts.values import hex_bytes
from node.wallet.cover import FRESH_S, REMEMBERED, STALE_S
from node.wallet.errors import ChainSilent
from protocols.ids import Address
from protocols.voucher import voucher_digest, voucher_domain

MAGIC = bytes.fromhex("1626ba7e")  # isValidSignature(bytes32,bytes): the selector, and the answer that means yes
GAS = 100_000  # VoucherBank.ERC1271_GAS
CALL_GAS = GAS + 21_000 + 164 * 16  # what a transaction with the 164 bytes of the question costs besides
TIMEOUT_S = 3.0  # 100 k gas are a millisecond of work; a payer waits meanwhile


class ContractPayers:
    """Asks payers' contracts. An endpoint that does not answer raises ChainSilent."""

    def __init__(
        self, chain: Chain, *, fresh_s: float = FRESH_S, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._chain = chain
        self._fresh_s = fresh_s
        self._clock = clock
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self._asking = trio.CapacityLimiter(4)  # strangers cannot make us flood the endpoint

    async def is_contract(self, payer: str) -> bool:
        """Whether the payer has code."""
        known = self._known.get(payer)
        age = self._clock() - known[1] if known else float("inf")
        if known and age < self._fresh_s:
            return known[0]
        try:
            code = await self._ask("eth_getCode", payer, "latest")
        except (RpcError, ChainSilent) as err:
            if known and age < STALE_S:
                return known[0]
            raise ChainSilent(f"whether {payer} is a contract cannot be read: {err}") from err
        self._known[payer] = (bool(code), self._clock())
        self._known.move_to_end(payer)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return bool(code)

    async def signed(self, payer: str, payee: str, lane: int, cumulative_wei: int, signature: bytes) -> bool:
        """Whether the bank would take this voucher for the payer's own word, now."""
        bank = Address(self._chain.bank.address)
        domain = voucher_domain(self._chain.chain_id, bank)
        try:
            digest = voucher_digest(domain, Address(payer), Address(payee), lane, cumulative_wei)
        except ValueError:  # a lane or a sum that the bank could not hold
            return False
        request = {"from": bank, "to": payer, "data": "0x" + question(digest, signature).hex(), "gas": hex(CALL_GAS)}
        try:
            answer = await self._ask("eth_call", request, "latest")
        except RpcError:  # it reverts, or wants more gas than it gets
            return False
        return len(answer) >= 32 and answer[:32] == MAGIC + bytes(28)

    async def _ask(self, method: str, *params: object) -> bytes:
        async with self._asking:
            try:
                return hex_bytes(await self._chain.rpc.call(method, *params, timeout_s=TIMEOUT_S))
            except RpcError:
                raise
            except ChainError as err:
                raise ChainSilent(f"the payer's contract cannot be asked: {err}") from err


def question(digest: bytes, signature: bytes) -> bytes:
    """`isValidSignature(digest, signature)` as calldata, for the 64 bytes of a voucher's signature."""
    return MAGIC + digest + (64).to_bytes(32, "big") + len(signature).to_bytes(32, "big") + signature

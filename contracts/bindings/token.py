"""SchwungToken: the settlement token, an ERC-20 with permit (ERC-2612) and signed transfers (ERC-3009)."""

from __future__ import annotations

from contracts.bindings.binding import Binding, BlockTag
from contracts.values import Call


class SchwungToken(Binding):
    """Amounts in base units (18 decimals)."""

    async def balance(self, account: str, block: BlockTag = "latest") -> int:
        return await self._whole("balanceOf", account, block=block)

    async def allowance(self, owner: str, spender: str) -> int:
        return await self._whole("allowance", owner, spender)

    async def supply(self, block: BlockTag = "latest") -> int:
        return await self._whole("totalSupply", block=block)

    async def permit_nonce(self, owner: str) -> int:
        """How many permits of `owner` were used: the next one names this number."""
        return await self._whole("nonces", owner)

    async def domain_separator(self) -> bytes:
        value: bytes = await self._read("DOMAIN_SEPARATOR")
        return value

    def transfer(self, to: str, amount_wei: int) -> Call:
        return self._call("transfer", to, amount_wei)

    def approve(self, spender: str, amount_wei: int) -> Call:
        return self._call("approve", spender, amount_wei)

    def burn(self, amount_wei: int) -> Call:
        return self._call("burn", amount_wei)

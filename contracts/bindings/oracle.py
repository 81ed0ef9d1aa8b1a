"""PriceOracle: what a dataset is worth by rule. WAD factors: 10^18 is neutral."""

from __future__ import annotations

from contracts.bindings.binding import Binding, BlockTag
from contracts.values import Call


class PriceOracle(Binding):
    """quote = base(domain) × records × quality × demand × freshness × licence."""

    async def quote(self, dataset: int, block: BlockTag = "latest") -> int:
        """Base units for the whole dataset. Raises Reverted for an unknown one."""
        return await self._whole("quote", dataset, block=block)

    async def base(self, domain: bytes) -> int:
        """Base units a record in a domain (32 bytes), the default where none was set."""
        return await self._whole("base", domain)

    async def demand_factor(self, dataset: int, block: BlockTag = "latest") -> int:
        return await self._whole("demandFactor", dataset, block=block)

    async def licence_factor(self, licence: bytes) -> int:
        return await self._whole("licenceFactor", licence)

    async def epoch(self) -> int:
        return await self._whole("epoch")

    def set_base(self, domain: bytes, wei_per_record: int) -> Call:
        """Admin only, within the contract's bounds."""
        return self._call("setBase", domain, wei_per_record)

    def set_licence_factor(self, licence: bytes, factor_wad: int) -> Call:
        """Admin only, within the contract's bounds."""
        return self._call("setLicenceFactor", licence, factor_wad)

"""Bought records that are forgotten: the key they came by goes too, or the ciphertext could bring them back."""

from __future__ import annotations

import msgspec

from node.blocks import Blocks
from node.exchange.buyer import Saved
from node.journal.deals import Deal, Deals
from node.market.proof import Gone
from protocols.exchange import machine
from protocols.exchange.purchase import BuyerState
from protocols.ids import Cid


class BoughtKeys:
    """Destroys the secrets of purchases that are over, and the payload that is kept of them."""

    def __init__(self, deals: Deals, blocks: Blocks) -> None:
        self._deals = deals
        self._blocks = blocks

    async def forget(self, gone: Gone) -> list[str]:
        """Says which purchases still need their key. Raises BlocksError; safe to repeat."""
        said = []
        for deal in gone.purchases:
            row = await self._deals.get(deal)
            if row is not None and row.over:
                await self._destroy(row)
            elif row is not None:
                said.append(f"purchase {deal} is under way and needs its key: forget the record again when it is over")
        return said

    async def _destroy(self, row: Deal) -> None:
        saved = msgspec.msgpack.decode(row.machine, type=Saved)
        state = machine.restore(saved.state, BuyerState)
        bare = msgspec.structs.replace(state, secret=b"", key=None, posted=None, content_key=b"", evidence=None)
        emptied = Saved(state=machine.store(bare), envelope=b"")
        await self._deals.save(msgspec.structs.replace(row, machine=msgspec.msgpack.encode(emptied)))
        await self._blocks.drop(Cid(state.terms.cid))

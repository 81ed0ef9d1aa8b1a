"""What this node tells the Reputation contract: its own finished sales, and the faults that it proved.

The contract reads both from the money contracts and believes nobody; all that is brought is the question and its gas. A
seller brings his sales many at a time, when he collects what they earned; a buyer brings a fault as soon as it is
proved, because it warns others.
"""

from __future__ import annotations

from hashlib import sha256

import structlog

from contracts.chain import Chain
from contracts.errors import ChainError, Reverted
from node.identity.errors import WalletLocked
from node.journal.counted import Counted
from node.wallet.errors import WalletError
from node.wallet.transact import Transactor

log = structlog.get_logger(__name__)

BATCH = 64  # sales a transaction: about 3 million gas when none of the addresses was counted before


class Standing:
    """Counts for this node."""

    def __init__(self, chain: Chain, transactor: Transactor, store: Counted) -> None:
        self._chain = chain
        self._transactor = transactor
        self._store = store

    async def count_sales(self) -> int:
        """Bring the paid sales that are not counted yet; how many. Trouble is logged: the next time brings them."""
        brought = 0
        try:
            while sales := await self._store.sales_left(BATCH):
                key = sha256(",".join(sales).encode()).hexdigest()[:32]
                call = self._chain.reputation.count_sales([int(sale) for sale in sales])
                await self._transactor.once(f"standing:sales:{key}", call)
                await self._store.add([f"sale:{sale}" for sale in sales])
                brought += len(sales)
        except (ChainError, WalletError, WalletLocked) as err:
            log.warning("finished sales are not counted yet", reason=str(err))
        return brought

    async def count_fault(self, offer_no: int) -> None:
        """Bring the fault of an offer. Trouble is logged: a restart or an unlock tries again."""
        fact = f"fault:{offer_no}"
        try:
            if await self._store.has(fact):
                return
            if not await self._chain.reputation.is_fault_counted(offer_no):
                await self._transactor.once(f"standing:{fact}", self._chain.reputation.count_fault(offer_no))
        except Reverted as err:
            if err.name != "AlreadyCounted":  # somebody else was quicker
                log.warning("a fault could not be counted", offer=offer_no, reason=str(err))
                return
        except (ChainError, WalletError, WalletLocked) as err:
            log.warning("a fault is not counted yet", offer=offer_no, reason=str(err))
            return
        await self._store.add([fact])

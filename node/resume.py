"""What waits for the wallet: work that a crash or a lock cut off goes on when the wallet is open.

Everything here is journalled and idempotent, so it does not matter how often it is begun.
"""

from __future__ import annotations

import structlog
import trio

from contracts.errors import ChainError
from node.blocks import BlocksError
from node.identity.errors import IdentityError
from node.layers.node import Node
from node.market.errors import MarketError
from node.network import NetworkError
from node.wallet.errors import WalletError

log = structlog.get_logger(__name__)

LOOK_S = 0.5  # how soon after an unlock the work goes on
AGAIN_S = 60.0  # what met trouble is tried again after this
TROUBLE = (ChainError, BlocksError, IdentityError, MarketError, NetworkError, WalletError)


async def resume_when_unlocked(node: Node) -> None:
    """Until cancelled: begin the work that waits at every unlock, and again after trouble."""
    again_at = -trio.current_time()
    done = False
    await _erase(node)
    while True:
        is_open = node.wallet.exists and not node.wallet.locked
        if not is_open:
            done = False
        elif (not done or node.market.erasure.waiting) and trio.current_time() >= again_at:
            done = await _resume(node)
            again_at = trio.current_time() + AGAIN_S
        await trio.sleep(LOOK_S)


async def _erase(node: Node) -> None:
    """What a crash cut off on this machine; it needs no wallet."""
    try:
        await node.market.erasure.resume(here_only=True)
    except TROUBLE as err:
        log.warning("an erasure waits", kind=getattr(err, "kind", ""), reason=str(err))


async def _resume(node: Node) -> bool:
    node.exchange.purchases.resume()
    node.exchange.sales.resume()
    well = True
    market, learning = node.market, node.learning
    for work in (market.offers.resume, learning.models.resume, learning.feedback.resume, market.erasure.resume):
        try:
            await work()
        except TROUBLE as err:
            log.warning("work that was cut off waits", kind=getattr(err, "kind", ""), reason=str(err))
            well = False
    return well

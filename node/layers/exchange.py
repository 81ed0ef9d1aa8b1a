"""How data changes hands: purchases and sales over the chain's events."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from node.exchange.acting import Acting
from node.exchange.batches import Batches, Patience
from node.exchange.buyer import Policy, Purchases
from node.exchange.desk import DealDesk
from node.exchange.forgetting import BoughtKeys
from node.exchange.importer import ShardImporter
from node.exchange.seller import Sales
from node.exchange.standing import Standing
from node.exchange.watch import ChainWatch
from node.journal.confirmations import Confirmations
from node.journal.counted import Counted
from node.journal.cursors import Cursors
from node.journal.deals import Deals
from node.journal.transactions import Transactions
from node.layers.base import Base, now
from node.layers.carriage import Carriage
from node.layers.market import Market
from node.layers.money import Money
from node.refine import score_record
from protocols.exchange.selling import Caution

MARGIN_SHARE = 3  # a seller posts his key when a third of the delivery window is left …
MARGIN_MOST_S = 600  # … but ten minutes are room enough for any chain's blocks
CONFIRM_SHARE = 2  # a buyer whose confirmation was not brought sends it when half of the window is left …
CONFIRM_MOST_S = 900  # … or a quarter of an hour: before the seller posts the key
RELEASE_S = 3_600  # how long a late confirmation may come before an expired sale is given back


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """How data changes hands."""

    purchases: Purchases
    sales: Sales
    desk: DealDesk
    deals: Deals
    standing: Standing


async def open_exchange(base: Base, carriage: Carriage, market: Market, money: Money) -> Exchange:
    """Purchases and sales over the chain's events."""
    chain, deals = base.chain, Deals(base.journal)
    confirmations = base.settings.chain.confirmations
    watch = ChainWatch(
        chain,
        Cursors(base.journal),
        first_block=base.settings.profile.deployed_block,
        confirmations=confirmations,
        poll_s=base.poll_s,
    )
    acting = Acting(
        chain=chain,
        transactor=base.transactor,
        wire=carriage.network,
        blocks=carriage.blocks,
        importer=ShardImporter(carriage.shard, carriage.embedder),
        scorer=score_record,
        spend=money.wallet.spend,
        sign=base.wallet.sign,
    )
    standing = Standing(chain, base.transactor, Counted(base.journal))
    window_s, chosen = await chain.sale.deliver_window(), base.settings.exchange
    purchases = Purchases(
        chain=chain,
        transactor=base.transactor,
        acting=acting,
        catalog=market.catalog,
        store=deals,
        watch=watch,
        policy=Policy(
            confirm_margin_s=min(CONFIRM_MOST_S, window_s // CONFIRM_SHARE),
            max_disputes_lost=chosen.max_disputes_lost,
        ),
        warn=standing.count_fault,
        events=base.events,
        clock=now,
    )
    sales = Sales(
        chain=chain,
        transactor=base.transactor,
        wire=carriage.network,
        publications=market.publications,
        store=deals,
        watch=watch,
        batches=Batches(
            chain=chain,
            transactor=base.transactor,
            store=Confirmations(base.journal),
            patience=Patience(wait_s=chosen.confirm_wait_s, most=chosen.confirm_batch),
            clock=lambda: watch.clock,
        ),
        secret=derived(base.seed, b"handover"),
        caution=Caution(
            confirmations=confirmations, margin_s=min(MARGIN_MOST_S, window_s // MARGIN_SHARE), release_s=RELEASE_S
        ),
        events=base.events,
        clock=now,
    )
    market.erasure.on_forget(BoughtKeys(deals, carriage.blocks).forget)
    for service in (purchases, sales, watch):
        await base.nursery.start(service.serve)
    desk = DealDesk(chain, purchases, deals, Transactions(base.journal))
    return Exchange(purchases=purchases, sales=sales, desk=desk, deals=deals, standing=standing)


def derived(seed: bytes, purpose: bytes) -> bytes:
    """A secret for one purpose from the node's own: HMAC-SHA-256 (RFC 2104)."""
    return hmac.digest(seed, b"schwung/" + purpose, hashlib.sha256)

"""One node's market and exchange on a real chain, without sockets to peers: for tests of how data changes hands.

Peers meet on the hub of `tests.support.wire`; ciphertext lies in a pantry that all share; everything else is the
product.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from contracts.chain import Chain, Receipt, open_chain
from contracts.params import Deployment
from node.blocks import NotFound as BlockNotFound
from node.exchange.acting import Acting
from node.exchange.batches import Batches, Patience
from node.exchange.buyer import Policy, Purchases
from node.exchange.desk import DealDesk
from node.exchange.importer import ShardImporter
from node.exchange.seller import Sales
from node.exchange.standing import Standing
from node.exchange.watch import ChainWatch
from node.feedback.border import Border
from node.feedback.epochs import Epochs
from node.feedback.rewards import Owed, Rewards
from node.feedback.service import Feedback
from node.feedback.stakes import Stakes
from node.feedback.standing import Standings
from node.feedback.tickets import Tickets
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.journal.confirmations import Confirmations
from node.journal.counted import Counted
from node.journal.cursors import Cursors
from node.journal.deals import Deals
from node.journal.demands import Demands as DemandStore
from node.journal.epochs import Epochs as EpochStore
from node.journal.feedback import FeedbackStore
from node.journal.model_accounts import ModelAccounts
from node.journal.profile_purchases import ProfilePurchases
from node.journal.profile_sales import ProfileSales
from node.journal.profiles import ProfileStore
from node.journal.publications import Publications
from node.journal.transactions import Transactions
from node.market.catalog.catalog import Catalog, Space
from node.market.demands import DemandDesk
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.offers import OfferPolicy, Offers
from node.market.profiles.buying import ProfileBuyer
from node.market.profiles.desk import ProfileDesk
from node.market.profiles.profiles import Profiles
from node.market.profiles.serving import ProfileCounter
from node.market.search.answering import Answering
from node.market.search.outlining import Outlines, Outlining
from node.market.search.previews import Previews
from node.market.search.search import Search
from node.market.sellers import Sellers
from node.market.supply import SupplyDesk
from node.observe.events import EventBus
from node.refine import Facts, RawItem, Refiner, score_record
from node.shard import Shard, open_shard
from node.wallet.cover import Cover
from node.wallet.erc1271 import ContractPayers
from node.wallet.lanes import Lanes
from node.wallet.till import Credit, Till
from node.wallet.transact import Transactor, open_transactor
from protocols.exchange.selling import Caution
from protocols.ids import Address, Cid, PeerId
from tests.support.accounts import HotWallet
from tests.support.embedder import HashEmbedder
from tests.support.wire import Hub, Wire

NETWORK = "testing"
POLL_S = 0.05
FORGIVING = Policy(max_disputes_lost=1_000)  # the same accounts cheat in one test of a module after the other


class Pantry:
    """Blocks that everybody reaches; a CID's bytes can be spoilt or taken away."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def add(self, data: bytes) -> Cid:
        cid = Cid("b" + hashlib.sha256(data).hexdigest().translate(str.maketrans("0189", "wxyz"))[:58])
        self.held[cid] = data
        return cid

    async def fetch(self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float) -> bytes:
        if cid not in self.held:
            raise BlockNotFound(f"nobody has {cid}")
        return self.held[cid]

    fetch_mapped = fetch

    async def has(self, cid: Cid) -> bool:
        return cid in self.held

    async def pin(self, cid: Cid) -> None: ...

    async def share(self, cid: Cid) -> bool:
        return False

    async def unpin(self, cid: Cid) -> None:
        self.held.pop(cid, None)

    async def pins(self) -> list[Cid]:
        return [Cid(cid) for cid in self.held]


class NoModels:
    """Nobody here has trained a model."""

    async def claimable(self) -> list[Owed]:
        return []

    async def claim(self, source: str) -> Receipt:
        raise AssertionError(f"{source} was never offered")


class Trader:
    """What a test reaches for."""

    def __init__(
        self,
        *,
        account: HotWallet,
        wire: Wire,
        chain: Chain,
        transactor: Transactor,
        shard: Shard,
        embedder: HashEmbedder,
        catalog: Catalog,
        gossip: Gossip,
        offers: Offers,
        purchases: Purchases,
        sales: Sales,
        batches: Batches,
        transactions: Transactions,
        desk: DealDesk,
        deals: Deals,
        publications: Publications,
        demands: DemandDesk,
        search: Search,
        feedback: Feedback,
        rewards: Rewards,
        standings: Standings,
        lanes: Lanes,
        till: Till,
        profiles: Profiles,
        profile_sales: ProfileSales,
        profile_buyer: ProfileBuyer,
        profile_desk: ProfileDesk,
        events: EventBus,
    ) -> None:
        self.account = account
        self.wire = wire
        self.chain = chain
        self.transactor = transactor
        self.shard = shard
        self.embedder = embedder
        self.catalog = catalog
        self.gossip = gossip
        self.offers = offers
        self.purchases = purchases
        self.sales = sales
        self.batches = batches
        self.transactions = transactions
        self.desk = desk
        self.deals = deals
        self.publications = publications
        self.demands = demands
        self.search = search
        self.feedback = feedback
        self.rewards = rewards
        self.standings = standings
        self.lanes = lanes
        self.till = till
        self.profiles = profiles
        self.profile_sales = profile_sales
        self.profile_buyer = profile_buyer
        self.profile_desk = profile_desk
        self.events = events

    async def own(self, texts: Sequence[str], domain: str = "fashion") -> None:
        """Refine texts into the shard as this trader's own records."""
        refiner = Refiner(self.shard, self.embedder)
        facts = Facts(domain=domain, licence="CC0-1.0", consent=hashlib.sha256(b"mine").hexdigest())
        batch = await refiner.refine([RawItem(text=text) for text in texts], facts)
        await self.shard.put(batch.records)

    async def over(self, deal: str, timeout_s: float = 60) -> str:
        """Wait for a deal's end; its state."""
        with trio.fail_after(timeout_s):
            while True:
                row = await self.deals.get(deal)
                if row is not None and row.over:
                    return row.state
                await trio.sleep(0.02)


@asynccontextmanager
async def open_trader(
    peer: str, key: bytes, hub: Hub, pantry: Pantry, folder: Path, rpc_url: str, deployment: Deployment,
    *, preview_wei: int = 0, confirm_wait_s: float = 0.3, confirmations: int = 0, policy: Policy = FORGIVING,
) -> AsyncIterator[Trader]:  # fmt: skip
    """A trader that trades until the block ends; opened again on the same folder it goes on."""
    folder.mkdir(exist_ok=True)
    account, wire, events = HotWallet(key), hub.wire(peer), EventBus()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        journal = await enter(open_journal(folder / "journal.db"))
        chain = await enter(open_chain(rpc_url, deployment.addresses, deployment.chain_id))
        transactor = await enter(open_transactor(chain, account, journal, confirmations=confirmations, poll_s=POLL_S))
        embedder = HashEmbedder()
        shard = await enter(open_shard(folder / "shard", embedder.model_id, embedder.dim))
        context = Context(NETWORK, deployment.chain_id)
        catalog_store, publications, deals = CatalogStore(journal), Publications(journal), Deals(journal)
        space = Space(embedder.model_id, embedder.dim)
        catalog = Catalog(catalog_store, context, _now, space=space)
        await catalog.load()
        gossip = Gossip(catalog, catalog_store, wire, account, context, events)
        offers = Offers(
            shard=shard, blocks=pantry, chain=chain, transactor=transactor, store=publications, catalog=catalog,
            gossip=gossip, context=context, policy=OfferPolicy(ttl_s=3_600, open_sales=3), events=events, clock=_now,
        )  # fmt: skip
        watch = ChainWatch(
            chain, Cursors(journal), first_block=deployment.block, confirmations=confirmations, poll_s=POLL_S
        )
        acting = Acting(
            chain=chain, transactor=transactor, wire=wire, blocks=pantry, importer=ShardImporter(shard, embedder),
            scorer=score_record, spend=_unlimited, sign=account.sign,
        )  # fmt: skip
        transactions = Transactions(journal)
        standing = Standing(chain, transactor, Counted(journal))
        purchases = Purchases(
            chain=chain, transactor=transactor, acting=acting, catalog=catalog, store=deals, watch=watch,
            policy=policy, warn=standing.count_fault, events=events, clock=_now,
        )  # fmt: skip
        batches = Batches(
            chain=chain, transactor=transactor, store=Confirmations(journal),
            patience=Patience(wait_s=confirm_wait_s), clock=lambda: watch.clock,
        )  # fmt: skip
        sales = Sales(
            chain=chain, transactor=transactor, wire=wire, publications=publications, store=deals, watch=watch,
            batches=batches, secret=hashlib.sha256(key).digest(), events=events, clock=_now,
            caution=Caution(confirmations=confirmations, margin_s=600, release_s=60),
        )  # fmt: skip
        demands = DemandDesk(
            embedder=embedder, store=DemandStore(journal), catalog=catalog, gossip=gossip, context=context,
            events=events, clock=_now, lifetime_s=3_600,
        )  # fmt: skip
        supply = SupplyDesk(shard=shard, offers=offers, gossip=gossip, events=events, peer=wire.peer_id)
        bank, cover = Address(chain.bank.address), Cover(chain, fresh_s=0)
        lanes = Lanes(
            journal, cover, account, account.key, chain_id=chain.chain_id, bank=bank, max_spend_wei=10**24, clock=_now,
        )  # fmt: skip
        till = Till(
            journal, cover, ContractPayers(chain), chain_id=chain.chain_id, bank=bank, credit=Credit(10**24),
            clock=_now,
        )  # fmt: skip
        outlines = Outlines(wire)
        Outlining(shard=shard, own=publications, wire=wire, least=4).serve()
        search = Search(
            shard=shard, embedder=embedder, catalog=catalog, offers=offers, wire=wire,
            previews=Previews(lanes, wire), outlines=outlines, events=events,
        )  # fmt: skip
        answering = Answering(
            shard=shard, embedder=embedder, offers=offers, wire=wire, signer=account, till=till,
            accounts=ModelAccounts(journal), price_wei=preview_wei, clock=_now,
        )  # fmt: skip
        profiles = Profiles(
            embedder=embedder, store=ProfileStore(journal), demands=DemandStore(journal), catalog=catalog,
            gossip=gossip, context=context, events=events, clock=_now,
        )  # fmt: skip
        search.on_query(profiles.searched)
        sales_of_profiles = ProfileSales(journal)
        ProfileCounter(
            profiles=profiles, sales=sales_of_profiles, wire=wire, signer=account, till=till, events=events
        ).serve()
        profile_buyer = ProfileBuyer(
            embedder=embedder, store=ProfilePurchases(journal), purse=lanes, wire=wire, clock=_now
        )
        profile_desk = ProfileDesk(
            buyer=profile_buyer, catalog=catalog, supply=supply, known=Sellers(chain.reputation, _now), wire=wire,
            events=events, model_id=embedder.model_id,
        )  # fmt: skip
        tickets = Tickets(chain, catalog)
        gossip.on_border(Border(tickets, gossip.take).lets_in)
        standings = Standings(wallet=account, chain=chain, catalog=catalog, tickets=tickets)
        gossip.on_item(standings.heard)
        feedback = Feedback(
            wallet=account, chain=chain, transactor=transactor, store=FeedbackStore(journal), deals=deals,
            catalog=catalog, tickets=tickets, gossip=gossip, context=context, clock=_now,
        )  # fmt: skip
        epochs = Epochs(chain, EpochStore(journal), Cursors(journal), first_block=deployment.block, confirmations=0)
        stakes = Stakes(wallet=account, chain=chain, transactor=transactor)
        rewards = Rewards(
            wallet=account, chain=chain, transactor=transactor, publications=publications, models=NoModels(),
            epochs=epochs, stakes=stakes, standing=standing,
        )  # fmt: skip
        answering.serve()
        nursery = await enter(trio.open_nursery())
        stack.callback(hub.leave, wire)
        stack.callback(nursery.cancel_scope.cancel)
        await nursery.start(gossip.serve)
        await nursery.start(supply.serve)
        await nursery.start(outlines.serve)
        await nursery.start(profiles.serve)
        await nursery.start(purchases.serve)
        await nursery.start(sales.serve)
        await nursery.start(watch.serve)
        await offers.load()
        await offers.resume()
        yield Trader(
            account=account, wire=wire, chain=chain, transactor=transactor, shard=shard, embedder=embedder,
            catalog=catalog, gossip=gossip, offers=offers, purchases=purchases, sales=sales,
            batches=batches, transactions=transactions, desk=DealDesk(chain, purchases, deals, transactions),
            deals=deals, publications=publications, demands=demands, search=search, feedback=feedback,
            rewards=rewards, standings=standings, lanes=lanes, till=till, profiles=profiles,
            profile_sales=sales_of_profiles, profile_buyer=profile_buyer, profile_desk=profile_desk, events=events,
        )  # fmt: skip


async def _unlimited(what: str, amount_wei: int) -> None:
    return None


def _now() -> int:
    return int(time.time())

"""The services of a node, a layer at a time; `node/app.py` stacks them.

Each function starts its services in the given stack (which stops them in reverse) and hands on a frozen struct with
them. A service gets what it needs by name; none looks anything up.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from contextlib import AsyncExitStack
from importlib.metadata import version

import msgspec
import trio

from config.loader import Loaded
from config.paths import NodePaths
from config.settings import Settings
from contracts.chain import Chain, open_chain
from node.blocks import Blocks, open_embedded, open_rpc
from node.collect.collector import Collector, Limits
from node.embed import Embedder, EmbedderOptions, open_embedder
from node.exchange.acting import Acting
from node.exchange.buyer import Purchases
from node.exchange.desk import DealDesk
from node.exchange.forgetting import BoughtKeys
from node.exchange.importer import ShardImporter
from node.exchange.seller import Sales
from node.exchange.watch import ChainWatch
from node.feedback.rewards import Rewards
from node.feedback.service import Feedback
from node.identity.keyfile import network_key, session_key
from node.identity.keystore import Keystore
from node.identity.wallet_key import Wallet
from node.insights.service import Insights
from node.journal import Journal, open_journal
from node.journal.catalog import CatalogStore
from node.journal.cursors import Cursors
from node.journal.deals import Deals
from node.journal.demands import Demands as DemandStore
from node.journal.erasures import Erasures
from node.journal.feedback import FeedbackStore
from node.journal.model_accounts import ModelAccounts
from node.journal.model_calls import ModelCalls
from node.journal.models import Models as ModelStore
from node.journal.peers import Peers
from node.journal.publications import Publications
from node.journal.transactions import Transactions
from node.market.catalog import Catalog
from node.market.demands import DemandDesk
from node.market.erasure import Erasure
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.offers import OfferPolicy, Offers
from node.market.search import Search
from node.models.artifacts import Artifacts
from node.models.calling import Calling
from node.models.directory import Directory
from node.models.earnings import Earnings
from node.models.publishing import Publishing, PublishPolicy
from node.models.service import Models
from node.models.serving import Serving
from node.models.workshop import Workshop
from node.network import Network, NetworkOptions, open_network
from node.observe.events import EventBus
from node.refine import Refiner, score_record
from node.refine.rules import Rules
from node.shard import Shard, open_shard
from node.wallet.cover import Cover
from node.wallet.deposits import Deposits
from node.wallet.lanes import Lanes
from node.wallet.service import WalletService
from node.wallet.settle import Policy, Settler
from node.wallet.till import Till
from node.wallet.transact import Transactor, open_transactor
from protocols.eip712 import address_of
from protocols.exchange.selling import Caution
from protocols.ids import Address

MARGIN_SHARE = 3  # a seller posts his key when a third of the delivery window is left …
MARGIN_MOST_S = 600  # … but ten minutes are room enough for any chain's blocks
RELEASE_S = 3_600  # how long a late confirmation may come before an expired sale is given back


def now() -> int:
    """UTC seconds."""
    return int(time.time())


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What must be right: journal, keys, chain, outbox."""

    loaded: Loaded
    paths: NodePaths
    events: EventBus
    journal: Journal
    seed: bytes
    wallet: Wallet
    chain: Chain
    transactor: Transactor
    context: Context
    nursery: trio.Nursery

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def poll_s(self) -> float:
        return self.settings.chain.poll_ms / 1_000


async def open_base(stack: AsyncExitStack, loaded: Loaded, paths: NodePaths) -> Base:
    """Journal, keys, chain, outbox."""
    settings, profile = loaded.settings, loaded.settings.profile
    journal = await stack.enter_async_context(open_journal(paths.journal))
    wallet = Wallet(Keystore(paths.keystore, scrypt_log2=settings.wallet.scrypt_log2))
    endpoints = settings.chain.rpc or profile.chain.rpc
    addresses = msgspec.structs.asdict(profile.contracts)
    chain = await stack.enter_async_context(
        open_chain(endpoints, addresses, profile.chain.id, timeout_s=settings.chain.timeout_s)
    )
    outbox = open_transactor(
        chain,
        wallet,
        journal,
        confirmations=settings.chain.confirmations,
        max_fee_gwei=settings.chain.max_fee_gwei,
        poll_s=settings.chain.poll_ms / 1_000,
    )
    transactor = await stack.enter_async_context(outbox)
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    return Base(
        loaded=loaded,
        paths=paths,
        events=EventBus(),
        journal=journal,
        seed=network_key(paths.identity),
        wallet=wallet,
        chain=chain,
        transactor=transactor,
        context=Context(network=profile.network_id, chain_id=profile.chain.id),
        nursery=nursery,
    )


class Carriage(msgspec.Struct, frozen=True, kw_only=True):
    """What is carried and kept: network, blocks, embedder, shard."""

    network: Network
    blocks: Blocks
    embedder: Embedder
    shard: Shard


async def open_carriage(stack: AsyncExitStack, base: Base, embedder: Embedder | None) -> Carriage:
    """Network, blocks, embedder, shard."""
    settings, paths = base.settings, base.paths
    if embedder is None:
        embedder = await open_embedder(embedder_options(settings))
    shard = await stack.enter_async_context(open_shard(paths.shard, embedder.model_id, embedder.dim))
    options = network_options(base.loaded)
    network = await stack.enter_async_context(
        open_network(
            options,
            base.seed,
            memory=Peers(base.journal),
            on_event=lambda topic, data: _publish(base.events, topic, data),
        )
    )
    if settings.ipfs.mode == "rpc":
        blocks: Blocks = await stack.enter_async_context(open_rpc(settings.ipfs.api))
    else:
        blocks = await stack.enter_async_context(open_embedded(paths.blocks, network))
    return Carriage(network=network, blocks=blocks, embedder=embedder, shard=shard)


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """What is on offer and what is wanted."""

    catalog: Catalog
    gossip: Gossip
    publications: Publications
    offers: Offers
    erasure: Erasure
    demands: DemandDesk
    search: Search


async def open_market(base: Base, carriage: Carriage) -> Market:
    """Catalogue, gossip, offers, demands, search."""
    store, publications = CatalogStore(base.journal), Publications(base.journal)
    catalog = Catalog(store, base.context, now)
    gossip = Gossip(catalog, store, carriage.network, base.wallet, base.context, base.events)
    offers = Offers(
        shard=carriage.shard,
        blocks=carriage.blocks,
        chain=base.chain,
        transactor=base.transactor,
        store=publications,
        catalog=catalog,
        gossip=gossip,
        context=base.context,
        policy=OfferPolicy(ttl_s=base.settings.market.offer_ttl_s, open_sales=base.settings.market.open_sales),
        events=base.events,
        clock=now,
    )
    erasure = Erasure(
        shard=carriage.shard,
        blocks=carriage.blocks,
        chain=base.chain,
        transactor=base.transactor,
        offers=offers,
        catalog=catalog,
        catalog_store=store,
        publications=publications,
        deals=Deals(base.journal),
        transactions=Transactions(base.journal),
        store=Erasures(base.journal),
        events=base.events,
        clock=now,
    )
    demands = DemandDesk(
        embedder=carriage.embedder,
        store=DemandStore(base.journal),
        catalog=catalog,
        gossip=gossip,
        context=base.context,
        events=base.events,
        clock=now,
        lifetime_s=base.settings.market.demand_ttl_s,
    )
    search = Search(
        shard=carriage.shard, embedder=carriage.embedder, catalog=catalog, offers=offers, wire=carriage.network
    )
    await catalog.load()
    await demands.load()
    await offers.load()
    search.serve()
    await base.nursery.start(gossip.serve)
    return Market(
        catalog=catalog,
        gossip=gossip,
        publications=publications,
        offers=offers,
        erasure=erasure,
        demands=demands,
        search=search,
    )


def open_intake(base: Base, carriage: Carriage, market: Market) -> Collector:
    """Collector and refiner; a record's relevance is measured against the wants that are known."""
    limits = Limits(max_file_bytes=base.settings.collect.max_file_bytes, max_items=base.settings.collect.max_items)
    return Collector(
        base.journal,
        carriage.shard,
        Refiner(carriage.shard, carriage.embedder, refine_rules(base.settings)),
        base.events,
        now,
        owner=base.wallet.address if base.wallet.exists else "",
        wants=market.demands.wants,
        limits=limits,
    )


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """How data changes hands."""

    purchases: Purchases
    sales: Sales
    desk: DealDesk
    deals: Deals


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
    )
    purchases = Purchases(
        chain=chain,
        transactor=base.transactor,
        acting=acting,
        catalog=market.catalog,
        store=deals,
        watch=watch,
        events=base.events,
        clock=now,
    )
    window_s = await chain.sale.deliver_window()
    sales = Sales(
        chain=chain,
        transactor=base.transactor,
        wire=carriage.network,
        publications=market.publications,
        store=deals,
        watch=watch,
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
    desk = DealDesk(purchases, deals, Transactions(base.journal))
    return Exchange(purchases=purchases, sales=sales, desk=desk, deals=deals)


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """Metered payments, on both sides, and the wallet as its owner sees it."""

    lanes: Lanes
    till: Till
    settler: Settler
    wallet: WalletService


def open_money(base: Base) -> Money:
    """Vouchers, deposits, settlement."""
    chain, settings = base.chain, base.settings
    bank, session, cover = Address(chain.bank.address), session_key(base.paths.session), Cover(chain)
    till = Till(
        base.journal, cover, chain_id=chain.chain_id, bank=bank, credit_wei=settings.wallet.credit_wei, clock=now
    )
    lanes = Lanes(
        base.journal,
        cover,
        base.wallet,
        session,
        chain_id=chain.chain_id,
        bank=bank,
        max_spend_wei=settings.wallet.max_spend_wei,
        clock=now,
    )
    settler = Settler(
        chain,
        base.transactor,
        base.journal,
        cover,
        policy=Policy(above_wei=settings.wallet.settle_above_wei, every_s=settings.wallet.settle_every_s),
        events=base.events,
        clock=now,
    )
    deposits = Deposits(
        chain,
        base.transactor,
        base.wallet,
        address_of(session.public_key),
        cover,
        session_ttl_s=settings.wallet.session_ttl_s,
        session_cap_wei=settings.wallet.session_cap_wei,
        events=base.events,
    )
    wallet = WalletService(
        wallet=base.wallet,
        session=address_of(session.public_key),
        chain=chain,
        transactor=base.transactor,
        journal=base.journal,
        deposits=deposits,
        settler=settler,
        max_spend_wei=settings.wallet.max_spend_wei,
        events=base.events,
        clock=now,
    )
    base.nursery.start_soon(wallet.run)
    return Money(lanes=lanes, till=till, settler=settler, wallet=wallet)


class Learning(msgspec.Struct, frozen=True, kw_only=True):
    """What it is for: models, feedback, rewards, insights."""

    models: Models
    feedback: Feedback
    rewards: Rewards
    insights: Insights


def open_learning(base: Base, carriage: Carriage, market: Market, exchange: Exchange, money: Money) -> Learning:
    """Models, feedback, rewards, insights."""
    models = open_models(base, carriage, market, money)
    feedback = Feedback(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        store=FeedbackStore(base.journal),
        deals=exchange.deals,
        catalog=market.catalog,
        gossip=market.gossip,
        context=base.context,
        clock=now,
    )
    rewards = Rewards(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        publications=market.publications,
        models=models,
    )
    insights = Insights(
        shard=carriage.shard,
        catalog=market.catalog,
        deals=exchange.deals,
        rewards=rewards,
        wallet=base.wallet,
    )
    return Learning(models=models, feedback=feedback, rewards=rewards, insights=insights)


def open_models(base: Base, carriage: Carriage, market: Market, money: Money) -> Models:
    """Workshop, publishing, serving, calling, earnings."""
    chain, settings = base.chain, base.settings
    store, accounts = ModelStore(base.journal), ModelAccounts(base.journal)
    artifacts = Artifacts(base.paths.models)
    workshop = Workshop(
        shard=carriage.shard,
        embedder=carriage.embedder,
        store=store,
        artifacts=artifacts,
        wallet=base.wallet,
        events=base.events,
        held_out_ppm=settings.models.held_out_ppm,
        threads=settings.models.threads,
        clock=now,
    )
    market.erasure.on_forget(workshop.forget)
    publishing = Publishing(
        workshop=workshop,
        store=store,
        registry=chain.models,
        transactor=base.transactor,
        blocks=carriage.blocks,
        announcer=market.gossip,
        events=base.events,
        policy=PublishPolicy(
            network=base.context.network,
            chain_id=base.context.chain_id,
            publisher_bps=settings.models.publisher_bps,
            default_price_wei=settings.models.price_wei,
        ),
        clock=now,
    )
    serving = Serving(
        store=store,
        accounts=accounts,
        artifacts=artifacts,
        embedder=carriage.embedder,
        registry=chain.models,
        till=money.till,
        wallet=base.wallet,
        wire=carriage.network,
        events=base.events,
        chain_id=chain.chain_id,
        clock=now,
    )
    directory = Directory(market.catalog, chain.models, now)
    calling = Calling(
        directory=directory,
        calls=ModelCalls(base.journal),
        own=serving,
        purse=money.lanes,
        bank=chain.bank,
        wallet=base.wallet,
        wire=carriage.network,
        events=base.events,
        payee=Address(chain.models.address),
        chain_id=chain.chain_id,
        clock=now,
    )
    earnings = Earnings(
        store=store,
        directory=directory,
        registry=chain.models,
        settler=money.settler,
        transactor=base.transactor,
        wallet=base.wallet,
        events=base.events,
        clock=now,
    )
    models = Models(
        workshop=workshop,
        publishing=publishing,
        serving=serving,
        calling=calling,
        earnings=earnings,
        directory=directory,
    )
    models.serve()
    return models


def network_options(loaded: Loaded) -> NetworkOptions:
    """The network's settings as its service takes them."""
    profile, chosen = loaded.settings.profile, loaded.settings.network
    return NetworkOptions(
        network_id=profile.network_id,
        chain_id=profile.chain.id,
        listen=chosen.listen,
        announce=chosen.announce,
        bootstrap=(*profile.bootstrap, *chosen.bootstrap),
        max_connections=chosen.max_peers,
        version=version("schwung"),
    )


def refine_rules(settings: Settings) -> Rules:
    """What becomes a record, as the refiner takes it."""
    chosen = settings.refine
    return Rules(
        min_chars=chosen.min_chars,
        max_chars=chosen.max_chars,
        near_duplicate_ppm=chosen.near_duplicate_ppm,
        redact=chosen.redact,
    )


def embedder_options(settings: Settings) -> EmbedderOptions:
    """The embedder's settings as it takes them."""
    chosen = settings.embedding
    return EmbedderOptions(
        model_dir=chosen.model_dir or None,
        threads=chosen.threads,
        max_tokens=chosen.max_tokens,
        token_budget=chosen.batch_tokens,
    )


def _publish(events: EventBus, topic: str, data: dict[str, object]) -> None:
    events.publish("peers", {"event": topic, **data})


def derived(seed: bytes, purpose: bytes) -> bytes:
    """A secret for one purpose from the node's own: HMAC-SHA-256 (RFC 2104)."""
    return hmac.digest(seed, b"schwung/" + purpose, hashlib.sha256)

"""What is on offer and what is wanted; and what flows in."""

from __future__ import annotations

import msgspec

from config.settings import Settings
from node.collect.collector import Collector, Limits
from node.journal.catalog import CatalogStore
from node.journal.deals import Deals
from node.journal.demands import Demands as DemandStore
from node.journal.erasures import Erasures
from node.journal.model_accounts import ModelAccounts
from node.journal.profile_purchases import ProfilePurchases
from node.journal.profile_sales import ProfileSales
from node.journal.profiles import ProfileStore
from node.journal.publications import Publications
from node.journal.transactions import Transactions
from node.layers.base import Base, now
from node.layers.carriage import Carriage
from node.layers.money import Money
from node.market.catalog.catalog import Catalog, Space
from node.market.demands import DemandDesk
from node.market.erasure import Erasure
from node.market.gossip import Gossip
from node.market.offers import OfferPolicy, Offers
from node.market.pinning import Pinning
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
from node.refine import Refiner
from node.refine.rules import Rules


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """What is on offer and what is wanted."""

    catalog: Catalog
    gossip: Gossip
    publications: Publications
    offers: Offers
    erasure: Erasure
    demands: DemandDesk
    supply: SupplyDesk
    search: Search
    sellers: Sellers
    profiles: Profiles
    profile_counter: ProfileCounter
    profile_desk: ProfileDesk


async def open_market(base: Base, carriage: Carriage, money: Money) -> Market:
    """Catalogue, gossip, offers, demands, search."""
    store, publications = CatalogStore(base.journal), Publications(base.journal)
    space = Space(carriage.embedder.model_id, carriage.embedder.dim)
    catalog = Catalog(store, base.context, now, space=space)
    gossip = Gossip(catalog, store, carriage.network, base.wallet, base.context, base.events)
    offers = open_offers(base, carriage, publications, catalog, gossip)
    demands = DemandDesk(
        embedder=carriage.embedder,
        store=DemandStore(base.journal),
        catalog=catalog,
        gossip=gossip,
        context=base.context,
        events=base.events,
        clock=now,
        lifetime_s=base.settings.market.demand_ttl_s,
        epsilon=base.settings.market.demand_epsilon,
    )
    supply = SupplyDesk(
        shard=carriage.shard, offers=offers, gossip=gossip, events=base.events, peer=carriage.network.peer_id
    )
    outlines = Outlines(carriage.network)
    search = open_search(base, carriage, money, catalog, offers, outlines)
    answer_searches(base, carriage, money, offers, publications)
    sellers = Sellers(base.chain.reputation, now)
    await base.nursery.start(sellers.serve)
    pinning = Pinning(
        blocks=carriage.blocks,
        publications=publications,
        deals=Deals(base.journal),
        events=base.events,
        clock=now,
    )
    await base.nursery.start(pinning.serve)
    await catalog.load()
    await demands.load()
    await offers.load()
    await base.nursery.start(gossip.serve)
    await base.nursery.start(supply.serve)
    await base.nursery.start(outlines.serve)
    profiles, counter = await open_profiles(base, carriage, money, catalog, gossip, search)
    return Market(
        catalog=catalog,
        gossip=gossip,
        publications=publications,
        offers=offers,
        erasure=open_erasure(base, carriage, store, publications, catalog, offers),
        demands=demands,
        supply=supply,
        search=search,
        sellers=sellers,
        profiles=profiles,
        profile_counter=counter,
        profile_desk=open_profile_desk(base, carriage, money, catalog, supply, sellers),
    )


def open_offers(base: Base, carriage: Carriage, publications: Publications, catalog: Catalog, gossip: Gossip) -> Offers:
    """What this node sells."""
    return Offers(
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


def open_erasure(
    base: Base,
    carriage: Carriage,
    store: CatalogStore,
    publications: Publications,
    catalog: Catalog,
    offers: Offers,
) -> Erasure:
    """How records go for good."""
    return Erasure(
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


def open_search(
    base: Base, carriage: Carriage, money: Money, catalog: Catalog, offers: Offers, outlines: Outlines
) -> Search:
    """Asking others."""
    return Search(
        shard=carriage.shard,
        embedder=carriage.embedder,
        catalog=catalog,
        offers=offers,
        wire=carriage.network,
        previews=Previews(money.lanes, carriage.network),
        outlines=outlines,
        events=base.events,
    )


def answer_searches(base: Base, carriage: Carriage, money: Money, offers: Offers, publications: Publications) -> None:
    """What others ask us, and what we show them beforehand."""
    Answering(
        shard=carriage.shard,
        embedder=carriage.embedder,
        offers=offers,
        wire=carriage.network,
        signer=base.wallet,
        till=money.till,
        accounts=ModelAccounts(base.journal),
        price_wei=base.settings.market.search_price_wei,
        clock=now,
    ).serve()
    Outlining(
        shard=carriage.shard,
        own=publications,
        wire=carriage.network,
        least=base.settings.market.outline_records,
    ).serve()


async def open_profiles(
    base: Base, carriage: Carriage, money: Money, catalog: Catalog, gossip: Gossip, search: Search
) -> tuple[Profiles, ProfileCounter]:
    """What this node's owner sells of his wants; nothing without his consent."""
    profiles = Profiles(
        embedder=carriage.embedder,
        store=ProfileStore(base.journal),
        demands=DemandStore(base.journal),
        catalog=catalog,
        gossip=gossip,
        context=base.context,
        events=base.events,
        clock=now,
    )
    search.on_query(profiles.searched)
    counter = ProfileCounter(
        profiles=profiles,
        sales=ProfileSales(base.journal),
        wire=carriage.network,
        signer=base.wallet,
        till=money.till,
        events=base.events,
    )
    counter.serve()
    await base.nursery.start(profiles.serve)
    return profiles, counter


def open_profile_desk(
    base: Base, carriage: Carriage, money: Money, catalog: Catalog, supply: SupplyDesk, sellers: Sellers
) -> ProfileDesk:
    """Profiles of others, bought."""
    buyer = ProfileBuyer(
        embedder=carriage.embedder,
        store=ProfilePurchases(base.journal),
        purse=money.lanes,
        wire=carriage.network,
        clock=now,
    )
    return ProfileDesk(
        buyer=buyer,
        catalog=catalog,
        supply=supply,
        known=sellers,
        wire=carriage.network,
        events=base.events,
        model_id=carriage.embedder.model_id,
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


def refine_rules(settings: Settings) -> Rules:
    """What becomes a record, as the refiner takes it."""
    chosen = settings.refine
    return Rules(
        min_chars=chosen.min_chars,
        max_chars=chosen.max_chars,
        near_duplicate_ppm=chosen.near_duplicate_ppm,
        redact=chosen.redact,
    )

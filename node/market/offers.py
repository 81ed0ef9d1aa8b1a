"""Own offers: from records in the shard to a signed offer that every node of the domain has heard.

    records ─ choose ─ seal ─ pin ─┐ journalled: content key, draft           state `sealed`
      DataRegistry.register ───────┤ dataset id                               state `registered`
      PriceOracle.quote, bond,     │
      KeySale.offer ───────────────┤ offer number, price, block               state `offered`
      sign, gossip ────────────────┘ item id                                  state `announced`

Every chain step goes through the wallet's journalled outbox under a key made of the publication's id, so `resume`
after a crash repeats none of them. The content key stands in the journal before anybody can hear of the ciphertext.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import structlog
import trio

from contracts.chain import Chain
from node.blocks import Blocks
from node.journal.publications import Publication, Publications
from node.market.catalog.catalog import Catalog, Listed
from node.market.draft import Draft, Filter, choose, describe, seal_records
from node.market.errors import Erased, NotFound, NothingToSell, NotMine
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.ports import Events
from node.shard import Filter as ShardFilter
from node.shard import Shard, ShardRecord
from node.wallet.transact import Transactor
from protocols.codec import encode
from protocols.ids import domain_bytes, parse_domain
from protocols.offers import offer as offers
from protocols.offers import withdrawal as withdrawals
from protocols.offers.offer import Offer

log = structlog.get_logger(__name__)

PAGE = 1_000
MAX_RECORDS = 100_000  # what one payload may hold; more is a second offer


class OfferPolicy(msgspec.Struct, frozen=True):
    """The seller's settings. `open_sales` is how many sales the bond covers at once."""

    ttl_s: int
    open_sales: int


class Offers:
    """Publish, list and withdraw own offers; answer which record stands in which offer."""

    def __init__(
        self,
        *,
        shard: Shard,
        blocks: Blocks,
        chain: Chain,
        transactor: Transactor,
        store: Publications,
        catalog: Catalog,
        gossip: Gossip,
        context: Context,
        policy: OfferPolicy,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._blocks = blocks
        self._chain = chain
        self._transactor = transactor
        self._store = store
        self._catalog = catalog
        self._gossip = gossip
        self._context = context
        self._policy = policy
        self._events = events
        self._clock = clock
        self._offered_records: dict[str, str] = {}
        self._under_way: dict[str, trio.Event] = {}
        self.choosing = (
            trio.Lock()
        )  # from the choice of records to the journalled key: erasure must see them or the row

    async def publish(
        self,
        domain: str,
        title: str,
        *,
        kind: str = "records",
        wanted: Filter = Filter(),  # noqa: B008 - frozen
        floor_wei: int = 0,
        licence: str | None = None,
    ) -> Listed[Offer]:
        """Offer the own records of a domain for sale. Raises NothingToSell, WalletLocked, InsufficientFunds."""
        parse_domain(domain)
        self._transactor.require_unlocked()
        async with self.choosing:
            row = await self._seal(domain, title, kind, wanted, floor_wei, licence)
        return await self._advance(row)

    async def _seal(
        self, domain: str, title: str, kind: str, wanted: Filter, floor_wei: int, licence: str | None
    ) -> Publication:
        """Records sealed and pinned, their key journalled."""
        records = choose(await self._own(domain), wanted, licence)
        content_key = os.urandom(32)
        sealed, cell_bytes = await trio.to_thread.run_sync(seal_records, records, content_key)
        cid = await self._blocks.add(sealed.payload)
        draft = describe(
            records,
            sealed,
            cell_bytes=cell_bytes,
            title=title,
            domain=domain,
            kind=kind,
            cid=cid,
            floor_wei=floor_wei,
            expires_at=self._clock() + self._policy.ttl_s,
        )
        row = Publication(
            publication=os.urandom(16).hex(),
            state="sealed",
            content_key=content_key,
            draft=msgspec.json.encode(draft),
            record_ids=msgspec.json.encode([r.id for r in records]),
            dataset=0,
            offer_no=0,
            block=0,
            price_wei="0",
            offer="",
            created_at=self._clock(),
        )
        await self._store.begin(row)
        return row

    async def _own(self, domain: str) -> list[ShardRecord]:
        found: list[ShardRecord] = []
        where = ShardFilter(domain=domain, origin="own")
        while page := await self._shard.list(where, limit=PAGE, after=found[-1].id if found else ""):
            found += page
            if len(found) > MAX_RECORDS:
                raise NothingToSell(f"more than {MAX_RECORDS} records fit: sell them in parts, by filter")
        return found

    async def load(self) -> None:
        """Remember which records stand in which open offer."""
        for row in await self._store.all():
            if row.state == "announced":
                self._index(row)

    async def resume(self) -> None:
        """Finish publications that a crash cut off. Raises as `publish`."""
        for row in await self._store.all():
            if row.state in ("sealed", "registered", "offered") and row.publication not in self._under_way:
                log.info("publication resumes", publication=row.publication, state=row.state)
                await self._advance(row)

    async def withdraw(self, offer: str) -> None:
        """Close an own offer on chain and tell everybody. Sales that are locked still finish."""
        row = await self._store.by_offer(offer)
        if row is None:
            raise NotMine(f"offer {offer} was not published by this node")
        listed = self._catalog.get(offer, Offer)
        await self._transactor.once(f"publication:{row.publication}:close", self._chain.sale.close(row.offer_no))
        await self._store.advance(row.publication, "withdrawn")
        self.unindex(row)
        if listed is not None:
            await self.tell_withdrawn(listed)

    def get(self, offer: str) -> Listed[Offer]:
        """A known open offer. Raises NotFound."""
        listed = self._catalog.get(offer, Offer)
        if listed is None:
            raise NotFound(f"offer {offer} is not known here, or is over")
        return listed

    def offer_of(self, record: str) -> str | None:
        """The own open offer that contains a record."""
        return self._offered_records.get(record)

    async def quote(self, offer: str) -> int:
        """What the oracle asks for the offer's dataset now, in base units."""
        return await self._chain.oracle.quote(self.get(offer).body.dataset)

    async def rest(self, publication: str) -> None:
        """Wait until nothing is being done for a publication."""
        if (under_way := self._under_way.get(publication)) is not None:
            await under_way.wait()

    async def _advance(self, row: Publication) -> Listed[Offer]:
        """Go on with a publication to its end. Raises Erased when its key was destroyed meanwhile."""
        over = self._under_way[row.publication] = trio.Event()
        try:
            return await self._go_on(row)
        finally:
            self._under_way.pop(row.publication, None)
            over.set()

    async def _go_on(self, row: Publication) -> Listed[Offer]:
        draft = msgspec.json.decode(row.draft, type=Draft)
        if row.state == "sealed":
            row = await self._register(row, draft)
        if row.state == "registered":
            row = await self._offer(row, draft)
        return await self._announce(row, draft)

    async def _register(self, row: Publication, draft: Draft) -> Publication:
        call = self._chain.registry.register(
            root=draft.root,
            cells=draft.cells,
            records=draft.records,
            domain=domain_bytes(draft.domain),
            licence=domain_bytes(draft.licence),
            consent_root=draft.consent_root,
            quality_ppm=draft.quality.overall,
            parents=[],
            cid=draft.cid.encode(),
        )
        receipt = await self._transactor.once(f"publication:{row.publication}:register", call)
        return await self._moved(row, "registered", dataset=self._chain.registry.registered(receipt))

    async def _offer(self, row: Publication, draft: Draft) -> Publication:
        quote = await self._chain.oracle.quote(row.dataset)
        price = max(quote, int(draft.floor_wei), 1)
        bond = max(price * self._policy.open_sales, await self._chain.sale.min_bond())
        await self._transactor.allow(self._chain.sale.address, bond)
        call = self._chain.sale.offer(row.dataset, price, bond)
        receipt = await self._transactor.once(f"publication:{row.publication}:offer", call)
        number = self._chain.sale.offered(receipt)
        terms = await self._chain.sale.offer_terms(number)  # a resumed step reads back what was really offered
        return await self._moved(row, "offered", offer_no=number, block=receipt.block, price_wei=str(terms.price_wei))

    async def _announce(self, row: Publication, draft: Draft) -> Listed[Offer]:
        row = await self._moved(row, "offered")  # what was forgotten since is not told
        offer = Offer(
            network=self._context.network,
            chain_id=self._context.chain_id,
            title=draft.title,
            domain=draft.domain,
            kind=draft.kind,
            licence=draft.licence,
            cid=draft.cid,
            root=draft.root,
            cells=draft.cells,
            cell_bytes=draft.cell_bytes,
            records=draft.records,
            size_bytes=draft.size_bytes,
            languages=draft.languages,
            quality=draft.quality,
            model_id=draft.model_id,
            sketch=draft.sketch,
            dataset=row.dataset,
            offer_no=row.offer_no,
            block=row.block,
            price_wei=row.price_wei,
            created_at=row.created_at,
            expires_at=draft.expires_at,
        )
        item = await self._gossip.announce(offers.KIND, encode(offer), draft.domain)
        row = await self._moved(row, "announced", offer=item.id)
        self._index(row)
        self._events.publish("offers", {"offer": item.id, "state": "announced", "cid": draft.cid})
        return Listed(item=item, body=offer)

    async def _moved(self, row: Publication, state: str, **fields: int | str) -> Publication:
        moved = msgspec.structs.replace(row, state=state, **fields)
        if not await self._store.advance(row.publication, moved.state, **fields):
            raise Erased(f"publication {row.publication} ends here: a record in it was forgotten")
        return moved

    async def tell_withdrawn(self, listed: Listed[Offer]) -> None:
        """Take an own offer back from everybody's catalogue. Raises WalletLocked."""
        notice = withdrawals.Withdrawal(
            network=self._context.network,
            chain_id=self._context.chain_id,
            domain=listed.body.domain,
            target=listed.item.id,
            at=self._clock(),
        )
        await self._gossip.announce(withdrawals.KIND, encode(notice), listed.body.domain)
        self._events.publish("offers", {"offer": listed.item.id, "state": "withdrawn"})

    def _index(self, row: Publication) -> None:
        for record in msgspec.json.decode(row.record_ids, type=list[str]):
            self._offered_records[record] = row.offer

    def unindex(self, row: Publication) -> None:
        """Its records are no longer on offer."""
        for record in msgspec.json.decode(row.record_ids, type=list[str]):
            if self._offered_records.get(record) == row.offer:
                del self._offered_records[record]

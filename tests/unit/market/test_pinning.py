"""Which payloads stay pinned: while an offer is open, while a sale is not over, and not longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from node.blocks import open_embedded
from node.blocks.embedded import EmbeddedBlocks
from node.journal import Journal, open_journal
from node.journal.deals import Deal, Deals
from node.journal.publications import Publication, Publications, State
from node.market.draft import Draft
from node.market.pinning import Pinning
from node.observe.events import EventBus
from protocols.ids import Cid
from protocols.quality import Quality

PAYLOAD, FOREIGN = b"sealed", b"pinned by another program at the same daemon"


class Shop:
    """A journal, a store, and the service between them."""

    def __init__(self, journal: Journal, blocks: EmbeddedBlocks) -> None:
        self.now = 1_000
        self.blocks = blocks
        self.publications, self.deals = Publications(journal), Deals(journal)
        self.pinning = Pinning(
            blocks=blocks,
            publications=self.publications,
            deals=self.deals,
            events=EventBus(),
            clock=lambda: self.now,
        )

    async def publish(self, state: State, *, key: bytes | None = b"k" * 32) -> Cid:
        cid = await self.blocks.add(PAYLOAD)
        draft = Draft(
            title="Dresses", domain="fashion", kind="records", licence="CC0-1.0", consent_root=bytes(32), cid=cid,
            root=bytes(32), cells=1, cell_bytes=512, records=1, size_bytes=len(PAYLOAD), languages={}, model_id="m",
            quality=Quality(**dict.fromkeys(Quality.__struct_fields__, 0)), sketch=[], floor_wei="0", expires_at=2_000,
        )  # fmt: skip
        row = Publication(
            publication="p", state=state, content_key=key, draft=msgspec.json.encode(draft), record_ids=b"[]",
            dataset=1, offer_no=1, block=1, price_wei="1", offer="o", created_at=1,
        )  # fmt: skip
        await self.publications.begin(row)
        return cid

    async def sell(self, *, over: bool) -> None:
        await self.deals.save(
            Deal(
                deal="sale-1", role="seller", offer="o", sale="1", state="locked", over=int(over), reason="",
                machine=b"", created_at=1, updated_at=1,
            )
        )  # fmt: skip

    async def pinned(self) -> list[Cid]:
        await self.pinning.tidy()
        return await self.blocks.pins()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_journal(tmp_path / "journal.db") as journal, open_embedded(tmp_path / "store", None) as blocks:
        yield Shop(journal, blocks)


@pytest.mark.parametrize("state", ["sealed", "registered", "offered", "announced"])
async def test_what_is_on_its_way_or_on_offer_stays(shop: Shop, state: State) -> None:
    cid = await shop.publish(state)
    assert await shop.pinned() == [cid]


@pytest.mark.parametrize("state", ["withdrawn", "failed"])
async def test_what_is_over_goes_and_what_others_pinned_stays(shop: Shop, state: State) -> None:
    foreign = await shop.blocks.add(FOREIGN)
    await shop.publish(state)
    assert await shop.pinned() == [foreign]


async def test_a_withdrawn_offer_stays_pinned_until_its_last_sale_is_over(shop: Shop) -> None:
    cid = await shop.publish("withdrawn")
    await shop.sell(over=False)
    assert await shop.pinned() == [cid]
    await shop.sell(over=True)
    assert await shop.pinned() == []


async def test_an_offer_that_has_expired_is_over(shop: Shop) -> None:
    cid = await shop.publish("announced")
    shop.now = 1_999
    assert await shop.pinned() == [cid]
    shop.now = 2_000
    assert await shop.pinned() == []


async def test_a_pin_that_was_lost_comes_back_while_the_payload_is_there(shop: Shop) -> None:
    cid = await shop.publish("announced")
    await shop.blocks.unpin(cid)
    assert await shop.pinned() == [cid]
    await shop.blocks.drop(cid)
    assert await shop.pinned() == []


async def test_an_erased_payload_is_not_pinned_again(shop: Shop) -> None:
    cid = await shop.publish("announced", key=None)
    await shop.blocks.unpin(cid)
    assert await shop.pinned() == []

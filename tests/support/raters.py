"""People who rate models, on a real chain without a network: what one tells, all hear at their borders.

Everything but the talking is the product: journals, outboxes, the reading of the chain, proposals, refutations, claims.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from contracts.bindings.bank import Item as BankItem
from contracts.bindings.models import Terms
from node.feedback.border import Border
from node.feedback.distributor import Distributor
from node.feedback.epochs import Epochs
from node.feedback.rewards import Rewards
from node.feedback.service import Feedback
from node.feedback.stakes import Stakes
from node.feedback.tickets import Tickets
from node.feedback.watch import Watch
from node.journal.catalog import CatalogStore
from node.journal.cursors import Cursors
from node.journal.deals import Deals
from node.journal.epochs import Epochs as EpochStore
from node.journal.epochs import Proposals
from node.journal.feedback import FeedbackStore
from node.journal.publications import Publications
from node.market.catalog.catalog import Catalog
from node.market.kinds import Context
from protocols.codec import encode
from protocols.envelope import Item, sign_item
from protocols.ids import Address, PeerId
from protocols.inference import card as cards
from protocols.inference.card import lane
from protocols.voucher import sign_voucher, voucher_domain
from tests.support.accounts import TOKEN, wallet_of
from tests.support.cards import a_card
from tests.support.items import ALICE, NETWORK
from tests.support.money import Purse, Quiet, open_purse
from tests.support.suite import Suite
from tests.support.trader import NoModels

LEAST_WEI = TOKEN // 1_000


class NoSales:
    """Nobody here sells data."""

    async def count_sales(self) -> int:
        return 0


class Rater:
    """One participant; `told` is whom his items reach."""

    def __init__(self, purse: Purse, suite: Suite, told: list[Rater]) -> None:
        chain, journal, wallet, outbox = purse.chain, purse.journal, purse.wallet, purse.transactor
        context = Context(NETWORK, chain.chain_id)
        self.purse, self.chain, self.told, self.events = purse, chain, told, Quiet()
        self.catalog = Catalog(CatalogStore(journal), context, suite.now)
        self.tickets = Tickets(chain, self.catalog)
        self.border = Border(self.tickets, self.hear)
        self.stakes = Stakes(wallet=wallet, chain=chain, transactor=outbox)
        self.epochs = Epochs(
            chain, EpochStore(journal), Cursors(journal), first_block=suite.deployment.block, confirmations=0
        )
        self.proposals = Proposals(journal)
        self.distributor = Distributor(
            wallet=wallet, chain=chain, transactor=outbox, stakes=self.stakes, catalog=self.catalog,
            tickets=self.tickets, epochs=self.epochs, store=self.proposals, events=self.events, least_wei=LEAST_WEI,
            clock=suite.now,
        )  # fmt: skip
        self.watch = Watch(
            wallet=wallet, chain=chain, transactor=outbox, tickets=self.tickets, epochs=self.epochs,
            events=self.events,
        )  # fmt: skip
        self.rewards = Rewards(
            wallet=wallet, chain=chain, transactor=outbox, publications=Publications(journal), models=NoModels(),
            epochs=self.epochs, stakes=self.stakes, standing=NoSales(),
        )  # fmt: skip
        self.feedback = Feedback(
            wallet=wallet, chain=chain, transactor=outbox, store=FeedbackStore(journal), deals=Deals(journal),
            catalog=self.catalog, tickets=self.tickets, gossip=self,  # type: ignore[arg-type]
            context=context, clock=suite.now,
        )  # fmt: skip

    async def announce(self, kind: str, body: bytes, domain: str) -> Item:
        """Sign, keep, tell everybody."""
        wallet = self.purse.wallet
        item = sign_item(
            kind, body, peer=PeerId(ALICE), signer=wallet.address, chain_id=self.chain.chain_id, sign=wallet.sign
        )
        await self.catalog.admit(item.raw, None)
        for other in self.told:
            if other is not self:
                await other.hear(item.raw)
        return item

    async def hear(self, raw: bytes) -> None:
        if await self.border.lets_in(self.catalog.examine(raw, None)):
            await self.catalog.admit(raw, None)

    async def proposes(self) -> int:
        """One turn as a distributor; the newest epoch."""
        await self.epochs.read()
        await self.distributor.turn()
        await self.epochs.read()
        return await self.chain.rewards.epoch_count()

    async def looks(self) -> None:
        await self.epochs.read()
        await self.watch.look()
        await self.epochs.read()


@asynccontextmanager
async def raters(suite: Suite, folder: Path, *names: str) -> AsyncIterator[list[Rater]]:
    """Participants by name; opened again over the same folder they are restarted."""
    found: list[Rater] = []
    async with AsyncExitStack() as stack:
        for name in names:
            purse = await stack.enter_async_context(open_purse(suite, folder / name, name))
            rater = Rater(purse, suite, found)
            await rater.catalog.load()
            found.append(rater)
        yield found


async def publish(publisher: Rater, model: str) -> None:
    """A model on chain, of own data only, and its card at everybody's."""
    terms = Terms(model_id=bytes.fromhex(model), publisher_bps=4_000, price_per_unit_wei=1_000)
    call = publisher.chain.models.publish(terms, [0], [1_000_000], b"cid")
    await publisher.purse.transactor.once(f"test:publish:{model}", call)
    card = a_card(((0, publisher.purse.address, 1_000_000),), model=model, chain_id=publisher.chain.chain_id)
    now = await publisher.chain.timestamp()
    card = msgspec.structs.replace(card, created_at=now, expires_at=now + 3_600)
    await publisher.announce(cards.KIND, encode(card), card.domain)


def pay(suite: Suite, name: str, model: str, total_wei: int) -> None:
    """Somebody's vouchers on a model's lane are settled up to a sum."""
    wallet, models = wallet_of(name), suite.addresses["models"]
    suite.anvil.call("anvil_impersonateAccount", wallet.address)
    if suite.view("bank", "accounts", wallet.address)[0] < total_wei:
        suite.send(wallet.address, "token", "approve", suite.addresses["bank"], 2**256 - 1)
        suite.send(wallet.address, "bank", "deposit", wallet.address, total_wei)
    domain = voucher_domain(suite.deployment.chain_id, Address(suite.addresses["bank"]))
    signed = sign_voucher(wallet.key, domain, wallet.address, Address(models), lane(model), total_wei)
    item = BankItem(wallet.address, lane(model), total_wei, signed.signature)
    suite.send(suite.admin, "models", "settle", bytes.fromhex(model), [item.encoded()])


def accounts(rows: Sequence[tuple[str, int, int, list[tuple[str, int]]]]) -> list[object]:
    """Accounts of a hostile proposal as the contract takes them: payer, cumulative, delta, lines."""
    return [(payer, whole, new, [(bytes.fromhex(model), up_to) for model, up_to in lines])
            for payer, whole, new, lines in rows]  # fmt: skip

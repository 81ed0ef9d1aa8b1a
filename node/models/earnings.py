"""What models earn: a builder brings in the vouchers, the contract splits, contributors and builder claim.

A contributor needs nothing but the card: it lists every weight, so he finds his datasets and makes his own proofs. The
part of a parent is first moved to it (`parent:<child>`), where it is split by the parent's own terms. Each claim's
journal key names how much was claimed before, so a claim that a crash cut off is taken up and the next one is a new
step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from contracts.bindings.models import Share
from contracts.values import Receipt
from node.feedback.rewards import Owed
from node.journal.models import Models as ModelStore
from node.market.catalog.catalog import Listed
from node.models.attribution import fact_shares
from node.models.directory import Directory
from node.models.errors import UnknownModel
from node.models.facts import Facts
from node.models.ports import Events, Registry, Settler, Transactor, Wallet
from node.wallet.errors import VoucherRefused
from node.wallet.settle import Settlement
from protocols.ids import Address
from protocols.inference.card import ModelCard, Weight, datasets, lane
from protocols.inference.weights import OWN, WeightsTree

log = structlog.get_logger(__name__)


class Part(msgspec.Struct, frozen=True):
    """A dataset of ours in a model: its weight, what facts alone would give it (ppm of all weights), and what is due.

    `fact_ppm` is 0 for the publisher's own unregistered records, of which there are no facts.
    """

    dataset: int
    index: int
    weight_ppm: int
    fact_ppm: int
    due_wei: int
    share: Share


class DatasetEarnings(msgspec.Struct, frozen=True):
    """A part as it is shown."""

    dataset: int
    weight_ppm: int
    fact_ppm: int
    due_wei: int


class ModelEarnings(msgspec.Struct, frozen=True, kw_only=True):
    """A model that this wallet has a part in. `received_wei` is its revenue after fees, ever; the others are due now:

    as its publisher, for the datasets, and what models made from it still have to hand on to it (before its own split).
    """

    model: str
    title: str
    received_wei: int
    publisher_wei: int
    contributor_wei: int
    children_wei: int
    datasets: list[DatasetEarnings]


class Earnings:
    """Settles and claims."""

    def __init__(
        self,
        *,
        store: ModelStore,
        directory: Directory,
        registry: Registry,
        facts: Facts,
        settler: Settler,
        transactor: Transactor,
        wallet: Wallet,
        events: Events,
        chain_time: Callable[[], Awaitable[int]],
    ) -> None:
        self._store = store
        self._directory = directory
        self._registry = registry
        self._facts = facts
        self._settler = settler
        self._transactor = transactor
        self._wallet = wallet
        self._events = events
        self._chain_time = chain_time

    async def settle(self, model: str | None = None) -> list[Settlement]:
        """Bring in the open vouchers of one own model, or of all. Raises WalletLocked, UnknownModel,
        InsufficientFunds.
        """
        self._transactor.require_unlocked()
        rows = [row for row in await self._store.all() if row.state == "published" and model in (None, row.model)]
        if model is not None and not rows:
            raise UnknownModel(f"model {model[:80]} was not published by this node")
        done: list[Settlement] = []
        for row in rows:
            try:
                done += await self._settler.settle(Address(self._registry.address), lane(row.model))
            except VoucherRefused:
                continue  # nothing is open on this lane
        return done

    async def claimable(self) -> list[Owed]:
        """What this wallet may claim now: `model:<id>` for all its datasets in a model, `publisher:<id>` as builder,
        `parent:<id>` for what that model owes to a parent of ours; this last becomes the parent's revenue first.
        """
        listings = await self._directory.cards()
        parents = {listed.body.model for listed in listings if await self.has_part(listed)}
        owed: list[Owed] = []
        for listed in listings:
            card, model_id = listed.body, bytes.fromhex(listed.body.model)
            if card.parent in parents:
                owed.append(Owed(f"parent:{card.model}", str(await self._registry.parent_due(model_id))))
            if parts := await self.parts(listed):
                owed.append(Owed(f"model:{card.model}", str(sum(part.due_wei for part in parts))))
            if listed.item.signer == self._wallet.address:
                owed.append(Owed(f"publisher:{card.model}", str(await self._registry.publisher_due(model_id))))
        return owed

    async def claim(self, source: str) -> Receipt:
        """Claim from one source of `claimable`. Raises UnknownModel, WalletLocked, Reverted."""
        self._transactor.require_unlocked()
        role, _, model = source.partition(":")
        listed = next((one for one in await self._directory.cards() if one.body.model == model), None)
        if listed is not None and role == "parent" and listed.body.parent:
            receipt = await self._for_parent(model)
        elif listed is not None and role == "publisher" and listed.item.signer == self._wallet.address:
            receipt = await self._as_publisher(model)
        elif listed is not None and role == "model" and (parts := await self.parts(listed)):
            receipt = await self._as_contributor(listed.body, parts)
        else:
            raise UnknownModel(f"this wallet has no part in {source[:90]}", hint="`schwung rewards list`")
        amount = self._registry.claimed_amount(receipt)
        log.info("model revenue claimed", source=source, amount_wei=amount, transaction=receipt.hash)
        self._events.publish("models", {"model": model, "state": "claimed", "wei": str(amount)})
        return receipt

    async def parts(self, listed: Listed[ModelCard]) -> list[Part]:
        """This wallet's datasets in a model, with weight, share by facts and what is due now; the publisher's own
        unregistered records count as one when the model is ours.
        """
        card, mine, model_id = listed.body, self._wallet.address, bytes.fromhex(listed.body.model)
        owned = set(await self._facts.owned(datasets(card), mine))
        if listed.item.signer == mine:
            owned.add(OWN)
        if not owned & {weight.dataset for weight in card.weights}:
            return []
        model = await self._registry.model(model_id)
        weights = await self._directory.weights(card, model)
        sizes = {number: fact.size for number, fact in (await self._facts.of(datasets(card))).items()}
        by_fact = fact_shares(sizes, {weight.dataset: weight.weight_ppm for weight in weights})
        # until the time in which the weights can be doubted is over, and while they are, the contract refuses claims
        is_open = model.claims_open(await self._chain_time())
        found = []
        for index, weight in enumerate(weights):
            if weight.dataset in owned:
                due = await self._registry.contributor_due(model_id, index, weight.weight_ppm) if is_open else 0
                fact_ppm = by_fact.get(weight.dataset, 0)
                found.append(
                    Part(weight.dataset, index, weight.weight_ppm, fact_ppm, due, share_of(card, weights, index))
                )
        return found

    async def report(self) -> list[ModelEarnings]:
        """What each model that this wallet has a part in owes it now, by role."""
        found = []
        listings = await self._directory.cards()
        for listed in listings:
            if not await self.has_part(listed):
                continue
            model_id, parts = bytes.fromhex(listed.body.model), await self.parts(listed)
            is_mine = listed.item.signer == self._wallet.address
            children = [one.body.model for one in listings if one.body.parent == listed.body.model]
            found.append(
                ModelEarnings(
                    model=listed.body.model,
                    title=listed.body.title,
                    received_wei=(await self._registry.model(model_id)).received_wei,
                    publisher_wei=await self._registry.publisher_due(model_id) if is_mine else 0,
                    contributor_wei=sum(part.due_wei for part in parts),
                    children_wei=sum([await self._registry.parent_due(bytes.fromhex(child)) for child in children]),
                    datasets=[
                        DatasetEarnings(part.dataset, part.weight_ppm, part.fact_ppm, part.due_wei) for part in parts
                    ],
                )
            )
        return found

    async def has_part(self, listed: Listed[ModelCard]) -> bool:
        """Whether this wallet published a model or owns a dataset in it."""
        mine = self._wallet.address
        return listed.item.signer == mine or bool(await self._facts.owned(datasets(listed.body), mine))

    async def _as_contributor(self, card: ModelCard, parts: Sequence[Part]) -> Receipt:
        model_id = bytes.fromhex(card.model)
        before = sum([await self._registry.claimed(model_id, part.index) for part in parts])
        call = self._registry.claim_many([part.share for part in parts])
        return await self._transactor.once(f"model:{card.model}:claim:{before}", call)

    async def _as_publisher(self, model: str) -> Receipt:
        before = (await self._registry.model(bytes.fromhex(model))).publisher_paid_wei
        call = self._registry.claim_publisher(bytes.fromhex(model))
        return await self._transactor.once(f"model:{model}:claim:publisher:{before}", call)

    async def _for_parent(self, model: str) -> Receipt:
        before = (await self._registry.model(bytes.fromhex(model))).parent_paid_wei
        call = self._registry.claim_parent(bytes.fromhex(model))
        return await self._transactor.once(f"model:{model}:claim:parent:{before}", call)


def share_of(card: ModelCard, weights: Sequence[Weight], index: int) -> Share:
    """A dataset's leaf with its proof, as the contract takes it."""
    tree = WeightsTree([(weight.dataset, weight.weight_ppm) for weight in weights])
    return Share(
        model_id=bytes.fromhex(card.model),
        index=index,
        dataset=weights[index].dataset,
        weight_ppm=weights[index].weight_ppm,
        proof=tuple(tree.proof(index)),
    )

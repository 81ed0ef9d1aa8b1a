"""What models earn: a builder brings in the vouchers, the contract splits, contributors and builder claim.

A contributor needs nothing but the card: it lists every weight, so he finds his index and makes his own proof. Each
claim's journal key names how much was claimed before, so a claim that a crash cut off is taken up and the next one is
a new step.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from contracts.bindings.models import Share
from contracts.values import Receipt
from node.feedback.rewards import Owed
from node.journal.models import Models as ModelStore
from node.models.directory import Directory
from node.models.errors import UnknownModel
from node.models.ports import Events, Registry, Settler, Transactor, Wallet
from node.wallet.errors import VoucherRefused
from node.wallet.settle import Settlement
from protocols.ids import Address
from protocols.inference.card import ModelCard, lane, weights_tree

log = structlog.get_logger(__name__)


class Earnings:
    """Settles and claims."""

    def __init__(
        self,
        *,
        store: ModelStore,
        directory: Directory,
        registry: Registry,
        settler: Settler,
        transactor: Transactor,
        wallet: Wallet,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._directory = directory
        self._registry = registry
        self._settler = settler
        self._transactor = transactor
        self._wallet = wallet
        self._events = events
        self._clock = clock

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
        """What this wallet may claim now, `model:<id>` as a contributor, `publisher:<id>` as its builder."""
        mine = self._wallet.address
        owed = []
        for listed in await self._directory.cards():
            index = _index(listed.body, mine)
            if index is not None:
                owed.append(Owed(f"model:{listed.body.model}", str(await self._contributor_due(listed.body, index))))
            if listed.item.signer == mine:
                due = await self._registry.publisher_due(bytes.fromhex(listed.body.model))
                owed.append(Owed(f"publisher:{listed.body.model}", str(due)))
        return owed

    async def claim(self, source: str) -> Receipt:
        """Claim from one source of `claimable`. Raises UnknownModel, WalletLocked, Reverted."""
        self._transactor.require_unlocked()
        role, _, model = source.partition(":")
        listed = next((one for one in await self._directory.cards() if one.body.model == model), None)
        mine = self._wallet.address
        if listed is not None and role == "publisher" and listed.item.signer == mine:
            receipt = await self._as_publisher(model)
        elif listed is not None and role == "model" and (index := _index(listed.body, mine)) is not None:
            receipt = await self._as_contributor(listed.body, index)
        else:
            raise UnknownModel(f"this wallet has no part in {source[:90]}", hint="`schwung rewards list`")
        amount = self._registry.claimed_amount(receipt)
        log.info("model revenue claimed", source=source, amount_wei=amount, transaction=receipt.hash)
        self._events.publish("models", {"model": model, "state": "claimed", "wei": str(amount)})
        return receipt

    async def _contributor_due(self, card: ModelCard, index: int) -> int:
        """0 until the time in which the split can be challenged is over: the contract would refuse the claim."""
        model_id = bytes.fromhex(card.model)
        if (await self._registry.model(model_id)).active_at > self._clock():
            return 0
        return await self._registry.contributor_due(model_id, index, card.weights[index].weight_ppm)

    async def _as_contributor(self, card: ModelCard, index: int) -> Receipt:
        before = await self._registry.claimed(bytes.fromhex(card.model), index)
        call = self._registry.claim(share_of(card, index))
        return await self._transactor.once(f"model:{card.model}:claim:{index}:{before}", call)

    async def _as_publisher(self, model: str) -> Receipt:
        before = (await self._registry.model(bytes.fromhex(model))).publisher_paid_wei
        call = self._registry.claim_publisher(bytes.fromhex(model))
        return await self._transactor.once(f"model:{model}:claim:publisher:{before}", call)


def share_of(card: ModelCard, index: int) -> Share:
    """A contributor's leaf with its proof, as the contract takes it."""
    weight = card.weights[index]
    return Share(
        model_id=bytes.fromhex(card.model),
        index=index,
        dataset=weight.dataset,
        weight_ppm=weight.weight_ppm,
        proof=tuple(weights_tree(card).proof(index)),
    )


def _index(card: ModelCard, address: Address) -> int | None:
    return next((at for at, weight in enumerate(card.weights) if weight.address == address), None)

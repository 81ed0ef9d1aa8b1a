"""Models as the rest of the node uses them: one object over the workshop, publishing, serving, calling and earnings.

    models = Models(workshop=…, publishing=…, serving=…, calling=…, earnings=…, directory=…)
    models.serve()                                             # answer /schwung/inference/1
    view = await models.train("fashion", "retrieval", progress=progress)
    await models.publish(view.model, price_wei)
    answer = await models.call(model, ["a warm coat"])

What is returned is ready for JSON: `…_wei` whole numbers, `…_at` UTC seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from contracts.values import Receipt
from node.feedback.rewards import Owed
from node.market.catalog.catalog import Listed
from node.models.attribution import fact_shares
from node.models.calling import Answer, Calling
from node.models.challenges import Challenged, Challenges
from node.models.directory import Directory
from node.models.earnings import Earnings, ModelEarnings
from node.models.errors import UnknownModel
from node.models.facts import Facts
from node.models.ports import Progress, Registry, Standings
from node.models.publishing import Publishing
from node.models.serving import Serving
from node.models.views import ModelView, WeightView, answer_view, card_view, detail, evaluation_view, own_view
from node.models.workshop import Workshop
from node.wallet.settle import Settlement
from protocols.inference.card import ModelCard, datasets
from protocols.inference.messages import QUERY


class Models:
    """The models of a node."""

    def __init__(
        self,
        *,
        workshop: Workshop,
        publishing: Publishing,
        serving: Serving,
        calling: Calling,
        earnings: Earnings,
        challenges: Challenges,
        directory: Directory,
        registry: Registry,
        facts: Facts,
        standings: Standings,
    ) -> None:
        self._workshop = workshop
        self._publishing = publishing
        self._serving = serving
        self._calling = calling
        self._earnings = earnings
        self._challenges = challenges
        self._directory = directory
        self._registry = registry
        self._facts = facts
        self._standings = standings

    def serve(self) -> None:
        """Answer peers from now on."""
        self._serving.serve()

    async def resume(self) -> None:
        """Finish publications that a crash cut off; call it when the wallet is unlocked."""
        await self._publishing.resume()

    async def train(
        self,
        domain: str,
        task: str,
        *,
        base: str | None = None,
        filter: Mapping[str, Any] | None = None,
        progress: Progress,
    ) -> dict[str, Any]:
        """Train on the shard; the model with its evaluation. See `Workshop.train`."""
        trained = await self._workshop.train(domain, task, base=base, filter=filter, progress=progress)
        return {**detail(trained), "seconds": trained.manifest.seconds}

    async def list(self, limit: int = 100) -> Sequence[ModelView]:
        """Own models, newest first, then those that others serve, best rated first."""
        await self._standings.read()
        own = [own_view(trained, self._standings.of(trained.row.model)) for trained in await self._workshop.all()]
        known = {view.model for view in own}
        others = [listed for listed in await self._by_standing() if listed.body.model not in known]
        return [*own, *[card_view(listed, self._standings.of(listed.body.model)) for listed in others]][:limit]

    async def _by_standing(self) -> Sequence[Listed[ModelCard]]:
        """Every model that can be called, the best rated first, of equals the one heard of first."""
        cards = await self._directory.cards()
        return sorted(cards, key=lambda listed: -self._standings.of(listed.body.model).score)

    async def get(self, model: str) -> dict[str, Any]:
        """One model, own or another's, with evaluation and attribution; a published one with its shares as the chain
        has them, and whether anybody doubts them. Raises UnknownModel.
        """
        await self._standings.read()
        try:
            own = await self._workshop.get(model)
        except UnknownModel:
            listed = await self._directory.find(model)
            standing = self._standings.of(listed.body.model)
            plain = {**msgspec.structs.asdict(card_view(listed, standing)), "classes": listed.body.classes}
            return {**plain, **await self._on_chain(listed)}
        if own.row.state != "published":
            return detail(own)
        return {**detail(own, self._standings.of(model)), **await self._on_chain(await self._directory.find(model))}

    async def _on_chain(self, listed: Listed[ModelCard]) -> dict[str, Any]:
        """Who gets what of a published model's revenue: the terms, and each dataset's weight beside what facts alone
        would give it.
        """
        card = listed.body
        weights = await self._directory.weights(card, await self._registry.model(bytes.fromhex(card.model)))
        facts = await self._facts.of(datasets(card))
        by_fact = fact_shares(
            {number: fact.size for number, fact in facts.items()},
            {weight.dataset: weight.weight_ppm for weight in weights},
        )
        return {
            "publisher_bps": card.publisher_bps,
            "parent": card.parent,
            "parent_bps": card.parent_bps,
            "child_bps": card.child_bps,
            "datasets": datasets(card),
            "weights": [
                WeightView(
                    dataset=weight.dataset,
                    address=facts[weight.dataset].owner if weight.dataset else listed.item.signer,
                    weight_ppm=weight.weight_ppm,
                    fact_ppm=by_fact.get(weight.dataset, 0),
                )
                for weight in weights
            ],
            "challenge": await self._challenges.state(card.model),
        }

    async def evaluate(self, model: str) -> dict[str, Any]:
        """An own model judged again, from its files and today's shard, on the held-out records. See
        `Workshop.evaluate`.
        """
        trained, again = await self._workshop.evaluate(model)
        return {"model": model, **evaluation_view(again), "at_training": evaluation_view(trained.report.evaluation)}

    async def publish(
        self,
        model: str,
        price_wei: int | None = None,
        *,
        parent: str = "",
        parent_bps: int | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Publish an own model at a price for one input. See `Publishing.publish`."""
        await self._publishing.publish(model, price_wei, parent=parent, parent_bps=parent_bps, force=force)
        return await self.get(model)

    async def challenge(self, model: str) -> Challenged:
        """Doubt a model's weights. See `Challenges.challenge`."""
        return await self._challenges.challenge(model)

    async def earnings(self) -> Sequence[ModelEarnings]:
        """What each model that this wallet has a part in owes it. See `Earnings.report`."""
        return await self._earnings.report()

    async def tend(self) -> None:
        """Watch over published weights until cancelled. See `Challenges.tend`."""
        await self._challenges.tend()

    async def call(self, model: str, inputs: Sequence[str], *, side: str = QUERY) -> dict[str, Any]:
        """Run texts through a model, here or at its provider, paid by voucher. See `Calling.call`."""
        return answer_view(await self._calling.call(model, inputs, side=side))

    async def ask(self, model: str, inputs: Sequence[str], *, side: str = QUERY) -> Answer:
        """The same, with the numbers as an array."""
        return await self._calling.call(model, inputs, side=side)

    async def settle(self, model: str | None = None) -> Sequence[Settlement]:
        """Bring open vouchers of own models to the chain. See `Earnings.settle`."""
        return await self._earnings.settle(model)

    async def claimable(self) -> Sequence[Owed]:
        """What this wallet may claim from models it helped to train, or published."""
        return await self._earnings.claimable()

    async def claim(self, source: str) -> Receipt:
        """Claim what is due from one source of `claimable`."""
        return await self._earnings.claim(source)

    async def card(self, model: str) -> ModelCard:
        """The newest card of a model, by its id or its title. Raises UnknownModel, BadCall."""
        return (await self._directory.find(model)).body

    async def cards(self) -> Sequence[ModelCard]:
        """The newest card of every model that can be called from here, the best rated first."""
        await self._standings.read()
        return [listed.body for listed in await self._by_standing()]

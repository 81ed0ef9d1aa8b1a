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
from node.feedback.standing import Standing
from node.market.catalog import Listed
from node.models.attribution import fact_shares
from node.models.calling import Answer, Calling
from node.models.challenges import Challenged, Challenges
from node.models.directory import Directory
from node.models.earnings import Earnings, ModelEarnings
from node.models.errors import UnknownModel
from node.models.evaluate import Evaluation
from node.models.facts import Facts
from node.models.ports import Progress, Registry, Standings
from node.models.publishing import Publishing
from node.models.serving import Serving
from node.models.workshop import TrainedModel, Workshop
from node.wallet.settle import Settlement
from protocols.inference.card import ModelCard, datasets
from protocols.inference.messages import QUERY
from protocols.inference.weights import WHOLE_PPM


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a listing, own or another's. `before` and `after` are the held-out metric, 0…1.

    `stars` (1…5) is the mean of the confirmed ratings, drawn towards 3 while they are few.
    """

    model: str
    title: str
    domain: str
    task: str
    mine: bool
    state: str
    provider: str
    publisher: str
    price_wei: int
    metric: str
    held_out: int
    trained_on: int
    before: float
    after: float
    gain_low: float
    stars: float
    ratings: int
    created_at: int


class WeightView(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset's weight in a model, beside its share by facts alone (0 for dataset 0: there are none)."""

    dataset: int
    address: str
    weight_ppm: int
    fact_ppm: int


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


def own_view(trained: TrainedModel, standing: Standing = Standing()) -> ModelView:  # noqa: B008 (frozen)
    """An own model in a listing."""
    row, manifest, evaluation = trained.row, trained.manifest, trained.report.evaluation
    return ModelView(
        model=row.model,
        title=manifest.title,
        domain=row.domain,
        task=row.task,
        mine=True,
        state=row.state,
        provider="",
        publisher=manifest.builder,
        price_wei=int(row.price_wei),
        metric=evaluation.metric,
        held_out=evaluation.held_out,
        trained_on=manifest.trained_on,
        before=round(evaluation.before.mean, 6),
        after=round(evaluation.after.mean, 6),
        gain_low=round(evaluation.gain.low, 6),
        stars=standing.stars,
        ratings=standing.ratings,
        created_at=row.created_at,
    )


def card_view(listed: Listed[ModelCard], standing: Standing = Standing()) -> ModelView:  # noqa: B008 (frozen)
    """Another's model in a listing: what its card claims."""
    card = listed.body
    return ModelView(
        model=card.model,
        title=card.title,
        domain=card.domain,
        task=card.task,
        mine=False,
        state="published",
        provider=listed.item.peer,
        publisher=listed.item.signer,
        price_wei=int(card.price_wei),
        metric=card.claim.metric,
        held_out=card.claim.held_out,
        trained_on=card.claim.trained_on,
        before=card.claim.before / WHOLE_PPM,
        after=card.claim.after / WHOLE_PPM,
        gain_low=card.claim.gain_low / WHOLE_PPM,
        stars=standing.stars,
        ratings=standing.ratings,
        created_at=card.created_at,
    )


def detail(trained: TrainedModel, standing: Standing = Standing()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """An own model whole."""
    manifest, report = trained.manifest, trained.report
    return {
        **msgspec.structs.asdict(own_view(trained, standing)),
        "base": manifest.base,
        "made_from": manifest.parent,
        "method": manifest.method,
        "settings": manifest.settings,
        "classes": manifest.classes,
        "artifact": manifest.artifact,
        "excluded": manifest.excluded,
        "left_out": manifest.left_out,
        "datasets": manifest.datasets,
        "weights": manifest.shares,
        "evaluation": evaluation_view(report.evaluation),
        "own_only": report.own_only,
        "validation": report.validation,
        "cid": trained.row.cid,
        "item": trained.row.item,
        "published_at": trained.row.published_at,
    }


def evaluation_view(evaluation: Evaluation) -> dict[str, Any]:
    """The held-out metric with its intervals."""
    return {
        "metric": evaluation.metric,
        "held_out": evaluation.held_out,
        "before": msgspec.structs.asdict(evaluation.before),
        "after": msgspec.structs.asdict(evaluation.after),
        "gain": msgspec.structs.asdict(evaluation.gain),
        "better": evaluation.better,
        "extra": {name: {"before": old, "after": new} for name, (old, new) in evaluation.extra.items()},
    }


def answer_view(answer: Answer) -> dict[str, Any]:
    """An answer as JSON: vectors for a retriever, the best class and all probabilities for a classifier."""
    rows = [[round(float(value), 7) for value in row] for row in answer.outputs]
    plain: dict[str, Any] = {
        "model": answer.model,
        "task": answer.task,
        "provider": answer.provider,
        "paid_wei": answer.paid_wei,
        "receipts": list(answer.receipts),
        "outputs": rows,
    }
    if answer.classes:
        best = answer.outputs.argmax(axis=1)
        plain["labels"] = [answer.classes[number] for number in best]
        plain["classes"] = list(answer.classes)
    return plain

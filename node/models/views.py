"""Models as they are shown: plain structs and mappings, ready for JSON. `…_wei` whole numbers, `…_at` UTC seconds."""

from __future__ import annotations

from typing import Any

import msgspec

from node.feedback.standing import Standing
from node.market.catalog.catalog import Listed
from node.models.calling import Answer
from node.models.evaluate import Evaluation
from node.models.workshop import TrainedModel
from protocols.inference.card import ModelCard
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

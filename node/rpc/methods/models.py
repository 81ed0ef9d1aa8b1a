"""models: train on the shard, publish with attribution, call and pay per use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from node.models.service import Models
from node.rpc.jobs import JobRunner, Progress
from node.rpc.method import Method
from node.rpc.values import Amount, Domain, Limit, Name, Result, Text, items, shown

Task = Literal["retrieval", "classification"]
Inputs = Text | Annotated[list[Text], Meta(min_length=1, max_length=64)]
Side = Literal["query", "document"]
Bps = Annotated[int, Meta(ge=0, le=5_000)]


def methods(models: Models, jobs: JobRunner) -> list[Method]:
    """Train, list, get, evaluate, publish, call, settle, challenge."""

    async def train(
        domain: Domain, task: Task, base: Name | None = None, filter: dict[str, Any] | None = None
    ) -> Result:
        """Train a vertical model on this node's records, own and bought. Answers with a job.

        `base` may be an own retrieval model: the new one is made from it, judged against it, and names it as parent.
        """

        async def work(progress: Progress) -> Mapping[str, Any]:
            report = await models.train(domain, task, base=base, filter=filter or {}, progress=progress)
            return dict(shown(report))

        return await jobs.start("train", work)

    async def listed(limit: Limit = 100) -> Result:
        """Own models and those that others serve."""
        return items(await models.list(limit))

    async def get(model: Name) -> Result:
        """One model with its evaluation, price and attribution.

        A published one shows each dataset's weight beside its share by the registry's facts, and whether the weights
        can be challenged or are.
        """
        return dict(shown(await models.get(model)))

    async def evaluate(model: Name) -> Result:
        """Evaluate an own model again on its held-out part, before and after training."""
        return dict(shown(await models.evaluate(model)))

    async def publish(
        model: Name, price: Amount, parent: Name | None = None, parent_bps: Bps | None = None, force: bool = False
    ) -> Result:
        """Register an own model with its contributors' shares, announce and serve it; `price` is for one input.

        `parent` names the published model it was made from: that one gets `parent_bps` of what this one earns, by
        default what it asks for. A model that is no better on its held-out part than its base is refused, unless
        `force` says otherwise.
        """
        done = await models.publish(model, int(price), parent=parent or "", parent_bps=parent_bps, force=force)
        return dict(shown(done))

    async def challenge(model: Name) -> Result:
        """Doubt the weights of a model that an own dataset trained; binds a stake until the arbiter has ruled.

        If he finds them wrong, all weights become those by the registry's facts, and half of the publisher's stake is
        yours; if he finds them right, you lose yours. Safe to repeat.
        """
        return dict(shown(await models.challenge(model)))

    async def call(model: Name, input: Inputs, side: Side = "query") -> Result:
        """Call a model, here or at its provider, and pay by voucher; `side` is what a retriever embeds."""
        return dict(shown(await models.call(model, [input] if isinstance(input, str) else input, side=side)))

    async def settle(model: Name | None = None) -> Result:
        """Bring the vouchers for one own model, or for all, to the chain now; the node also does it by itself."""
        return items(await models.settle(model))

    return [
        Method("models.train", train),
        Method("models.list", listed),
        Method("models.get", get),
        Method("models.evaluate", evaluate, deadline_s=600),
        Method("models.publish", publish, deadline_s=300),
        Method("models.call", call, deadline_s=120),
        Method("models.settle", settle, deadline_s=300),
        Method("models.challenge", challenge, deadline_s=300),
    ]

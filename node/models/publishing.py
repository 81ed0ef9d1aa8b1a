"""From a trained model to one that earns: on chain with its weights, its card signed and told.

    held-out gate ─ card fixed in the journal ─┐   state `publishing`
      card's bytes pinned ─────────────────────┤
      ModelRegistry.publish ───────────────────┤
      card signed and announced ───────────────┘   state `published`

Every step may be repeated: the card is fixed first, the chain step goes through the wallet's outbox under the model's
id.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from contracts.bindings.models import NO_PARENT, Terms
from contracts.errors import Reverted
from node.journal.models import ModelRow
from node.journal.models import Models as ModelStore
from node.models.errors import BadCall, NotBetter
from node.models.ports import Announcer, Blocks, Events, Registry, Transactor
from node.models.workshop import TrainedModel, Workshop
from protocols.codec import decode, encode
from protocols.envelope import MAX_BODY_BYTES
from protocols.ids import Address
from protocols.inference.card import (
    KIND,
    MAX_PUBLISHER_BPS,
    Claim,
    ModelCard,
    Weight,
)
from protocols.inference.weights import MAX_DATASETS, WHOLE_PPM, WeightsTree
from protocols.offers.offer import MAX_LIFETIME_S
from protocols.wei import MAX_WEI

RENEW_S = 30 * 86_400  # before a card ends: a node that is started once a month keeps its models known

log = structlog.get_logger(__name__)


class PublishPolicy(msgspec.Struct, frozen=True):
    """`publisher_bps` is the builder's part of the revenue; the rest goes by the weights. `network` and `chain_id`
    bind the card.
    """

    network: str
    chain_id: int
    publisher_bps: int
    default_price_wei: int


class Publishing:
    """Publishes own models."""

    def __init__(
        self,
        *,
        workshop: Workshop,
        store: ModelStore,
        registry: Registry,
        transactor: Transactor,
        blocks: Blocks,
        announcer: Announcer,
        events: Events,
        policy: PublishPolicy,
        clock: Callable[[], int],
    ) -> None:
        self._workshop = workshop
        self._store = store
        self._registry = registry
        self._transactor = transactor
        self._blocks = blocks
        self._announcer = announcer
        self._events = events
        self._policy = policy
        self._clock = clock

    async def publish(self, model: str, price_wei: int | None = None, *, force: bool = False) -> ModelRow:
        """Publish a trained model at a price for one input. Safe to repeat; the first card counts.

        Raises UnknownModel, NotBetter (unless `force`), WalletLocked, InsufficientFunds, Reverted.
        """
        found = await self._workshop.get(model)
        if found.row.state == "published":
            return found.row
        self._transactor.require_unlocked()
        row = found.row
        if row.state == "trained":
            check_gate(found, force=force)
            price = self._policy.default_price_wei if price_wei is None else price_wei
            row = await self._store.publishing(model, encode(self._card(found, price)), price)
        return await self._advance(row)

    async def resume(self) -> None:
        """Finish publications that a crash cut off, renew cards that end soon; call it when the wallet is unlocked."""
        for row in await self._store.all():
            if row.state == "publishing":
                await self._take_up(row)
            elif row.state == "published":
                await self._renew(row)

    async def _take_up(self, row: ModelRow) -> None:
        log.info("publication resumes", model=row.model)
        try:
            await self._advance(row)
        except Reverted as err:  # a dataset was revoked: nothing that trying again could mend
            log.warning("the chain refuses a model", model=row.model, reason=str(err))

    async def _renew(self, row: ModelRow) -> None:
        """Tell the same card with a new date while its model is still served; the chain knows it already."""
        assert row.card is not None
        card, now = decode(row.card, ModelCard, max_bytes=MAX_BODY_BYTES), self._clock()
        if card.expires_at > now + RENEW_S:
            return
        body = encode(msgspec.structs.replace(card, created_at=now, expires_at=now + MAX_LIFETIME_S))
        item = await self._announcer.announce(KIND, body, card.domain)
        await self._store.renewed(row.model, body, item.id)
        log.info("model card renewed", model=row.model, domain=card.domain)

    async def _advance(self, row: ModelRow) -> ModelRow:
        assert row.card is not None
        card = decode(row.card, ModelCard, max_bytes=MAX_BODY_BYTES)
        cid = await self._blocks.add(row.card)
        await self._transactor.once(
            f"model:{row.model}:publish",
            self._registry.publish(
                terms_of(card),
                [weight.dataset for weight in card.weights],
                [weight.weight_ppm for weight in card.weights],
                cid.encode(),
            ),
        )
        item = await self._announcer.announce(KIND, row.card, card.domain)
        done = await self._store.published(row.model, cid, item.id, self._clock())
        log.info("model published", model=row.model, domain=card.domain, price_wei=card.price_wei, cid=cid)
        self._events.publish("models", {"model": row.model, "state": "published", "domain": card.domain})
        return done

    def _card(self, found: TrainedModel, price_wei: int) -> ModelCard:
        if not 0 < price_wei <= MAX_WEI:
            raise BadCall(f"a price of {price_wei} wei: it must be above 0 and at most 2^96 - 1")
        manifest, now = found.manifest, self._clock()
        if len(manifest.shares) > MAX_DATASETS:
            raise BadCall(
                f"{len(manifest.shares)} datasets: a card holds {MAX_DATASETS}",
                hint="train with a filter, so that fewer datasets take part",
            )
        if self._policy.publisher_bps > MAX_PUBLISHER_BPS:
            raise BadCall(
                f"models.publisher_bps is {self._policy.publisher_bps}, at most {MAX_PUBLISHER_BPS} is taken: "
                "whose data trained a model gets a part of what it earns",
            )
        return ModelCard(
            network=self._policy.network,
            chain_id=self._policy.chain_id,
            model=manifest.model,
            title=manifest.title,
            domain=manifest.domain,
            task=manifest.task,
            base=manifest.base,
            dim=manifest.dim,
            classes=list(manifest.classes),
            artifact=manifest.artifact,
            claim=_claim(found),
            price_wei=str(price_wei),
            payee=Address(self._registry.address),
            publisher_bps=self._policy.publisher_bps,
            weights=[
                Weight(dataset=share.dataset, address=share.address, weight_ppm=share.weight_ppm)
                for share in manifest.shares
            ],
            weights_root=WeightsTree([(share.dataset, share.weight_ppm) for share in manifest.shares]).root,
            created_at=now,
            expires_at=now + MAX_LIFETIME_S,
        )


def terms_of(card: ModelCard) -> Terms:
    """What the chain is told beside the weights."""
    return Terms(
        model_id=bytes.fromhex(card.model),
        publisher_bps=card.publisher_bps,
        price_per_unit_wei=int(card.price_wei),
        parent=bytes.fromhex(card.parent) or NO_PARENT,
        parent_bps=card.parent_bps,
        child_bps=card.child_bps,
    )


def check_gate(found: TrainedModel, *, force: bool) -> None:
    """A model that is not surely better than what it stands on is not sold as one. Raises NotBetter."""
    evaluation = found.report.evaluation
    if evaluation.better or force:
        return
    gain = evaluation.gain
    raise NotBetter(
        f"{evaluation.metric} went from {evaluation.before.mean:.3f} to {evaluation.after.mean:.3f} on "
        f"{evaluation.held_out} held-out records; the 95 % interval of the gain, {gain.low:+.3f} to {gain.high:+.3f}, "
        "is not above zero"
    )


def _claim(found: TrainedModel) -> Claim:
    evaluation = found.report.evaluation
    return Claim(
        metric=evaluation.metric,
        held_out=evaluation.held_out,
        trained_on=found.manifest.trained_on,
        before=round(evaluation.before.mean * WHOLE_PPM),
        after=round(evaluation.after.mean * WHOLE_PPM),
        gain_low=round(evaluation.gain.low * WHOLE_PPM),
    )

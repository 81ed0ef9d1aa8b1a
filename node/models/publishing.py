"""From a trained model to one that earns: on chain with its weights, its card signed and told.

    held-out gate ─ weights by the registry's facts ─ card fixed in the journal ─┐   state `publishing`
      card's bytes pinned ───────────────────────────────────────────────────────┤
      stake, where data of others took part and weights can be challenged ───────┤
      ModelRegistry.publish ─────────────────────────────────────────────────────┤
      card signed and announced ─────────────────────────────────────────────────┘   state `published`

Every step may be repeated: the card is fixed first, the chain step goes through the wallet's outbox under the model's
id.

The weights are the training's (`node.models.attribution`), with the floor that the contract checks. The publisher's own
records, which nobody else can count, get what the training says they are worth, at most `models.own_data_ppm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import structlog

from contracts.bindings.models import Terms
from contracts.errors import Reverted
from node.journal.models import ModelRow
from node.journal.models import Models as ModelStore
from node.models.artifacts import Manifest
from node.models.attribution import weigh
from node.models.errors import BadCall, NotBetter, UnknownModel
from node.models.facts import Facts
from node.models.ports import Announcer, Blocks, Events, Registry, Surety, Transactor
from node.models.workshop import TrainedModel, Workshop
from protocols.codec import decode, encode
from protocols.envelope import MAX_BODY_BYTES
from protocols.ids import Address, Cid
from protocols.inference.card import (
    KIND,
    MAX_PARENT_BPS,
    MAX_PUBLISHER_BPS,
    Claim,
    ModelCard,
    Weight,
    datasets,
)
from protocols.inference.weights import MAX_DATASETS, MAX_OWN_PPM, OWN, WHOLE_PPM, WeightsTree
from protocols.offers.offer import MAX_LIFETIME_S
from protocols.wei import MAX_WEI

RENEW_S = 30 * 86_400  # before a card ends: a node that is started once a month keeps its models known

log = structlog.get_logger(__name__)


class PublishPolicy(msgspec.Struct, frozen=True):
    """`publisher_bps` is the builder's part of the revenue; the rest goes by the weights, of which his own records take
    at most `own_ppm`. `child_bps` is asked of models made from ours. `network` and `chain_id` bind the card.
    """

    network: str
    chain_id: int
    publisher_bps: int
    default_price_wei: int
    child_bps: int = 0
    own_ppm: int = MAX_OWN_PPM


class Parent(msgspec.Struct, frozen=True):
    """The published model that one was made from, and its part of what this one earns; no `model`: none."""

    model: str = ""
    bps: int = 0


class Publishing:
    """Publishes own models."""

    def __init__(
        self,
        *,
        workshop: Workshop,
        store: ModelStore,
        registry: Registry,
        facts: Facts,
        surety: Surety,
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
        self._facts = facts
        self._surety = surety
        self._transactor = transactor
        self._blocks = blocks
        self._announcer = announcer
        self._events = events
        self._policy = policy
        self._clock = clock

    async def publish(
        self,
        model: str,
        price_wei: int | None = None,
        *,
        parent: str = "",
        parent_bps: int | None = None,
        force: bool = False,
    ) -> ModelRow:
        """Publish a trained model at a price for one input. Safe to repeat; the first card counts.

        `parent` is the published model it was made from (known by itself when it was trained on an own one); without
        `parent_bps` it gets what it asks for.

        Raises UnknownModel, BadCall, NotBetter (unless `force`), WalletLocked, InsufficientFunds, Reverted.
        """
        found = await self._workshop.get(model)
        if found.row.state == "published":
            return found.row
        self._transactor.require_unlocked()
        row = found.row
        if row.state == "trained":
            check_gate(found, force=force)
            price = self._policy.default_price_wei if price_wei is None else price_wei
            above = await self._parent(await self._maker(found.manifest, parent), parent_bps)
            row = await self._store.publishing(model, encode(await self._card(found, price, above)), price)
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
        await self._put_on_chain(card, cid)
        item = await self._announcer.announce(KIND, row.card, card.domain)
        done = await self._store.published(row.model, cid, item.id, self._clock())
        log.info("model published", model=row.model, domain=card.domain, price_wei=card.price_wei, cid=cid)
        self._events.publish("models", {"model": row.model, "state": "published", "domain": card.domain})
        return done

    async def _put_on_chain(self, card: ModelCard, cid: Cid) -> None:
        model_id = bytes.fromhex(card.model)
        if (await self._registry.model(model_id)).publisher != self._workshop.builder:
            await self._surety.cover(await self._stake_wei(card))
        await self._transactor.once(
            f"model:{card.model}:publish",
            self._registry.publish(
                terms=Terms(
                    model_id=model_id,
                    publisher_bps=card.publisher_bps,
                    price_per_unit_wei=int(card.price_wei),
                    parent=bytes.fromhex(card.parent) or bytes(32),
                    parent_bps=card.parent_bps,
                    child_bps=card.child_bps,
                ),
                datasets=[weight.dataset for weight in card.weights],
                weights_ppm=[weight.weight_ppm for weight in card.weights],
                cid=cid.encode(),
            ),
        )

    async def _stake_wei(self, card: ModelCard) -> int:
        """What publishing binds: nothing where weights cannot be challenged, or where nobody else's data took part."""
        numbers = datasets(card)
        if await self._facts.owned(numbers, self._workshop.builder) == numbers:
            return 0
        if int(await self._registry.arbiter(), 16) == 0 or not await self._registry.challenge_window():
            return 0
        return await self._registry.challenge_stake()

    async def _maker(self, manifest: Manifest, named: str) -> str:
        """The parent to name: the own model it was made from, if that is published. Raises BadCall for another."""
        made_from = manifest.parent
        if not made_from or not (await self._registry.model(bytes.fromhex(made_from))).exists:
            return named
        if named not in ("", made_from):
            raise BadCall(f"this model was made from {made_from[:12]}…, its parent cannot be another")
        return made_from

    async def _parent(self, parent: str, bps: int | None) -> Parent:
        """Raises UnknownModel, BadCall."""
        if not parent:
            if bps:
                raise BadCall("parent_bps is a share for a parent", hint="name the model with parent=…")
            return Parent()
        if not re.fullmatch("[0-9a-f]{64}", parent):
            raise BadCall(f"parent {parent[:80]!r} is no model id: 64 hexadecimal digits", hint=UnknownModel.hint)
        on_chain = await self._registry.model(bytes.fromhex(parent))
        if not on_chain.exists:
            raise UnknownModel(f"no model {parent} is published on this chain")
        if bps is not None and not on_chain.child_bps <= bps <= MAX_PARENT_BPS:
            raise BadCall(
                f"parent_bps is {bps}: model {parent[:12]}… asks for {on_chain.child_bps} of whoever builds on it, and "
                f"{MAX_PARENT_BPS} is the most"
            )
        return Parent(parent, on_chain.child_bps if bps is None else bps)

    async def _card(self, found: TrainedModel, price_wei: int, parent: Parent) -> ModelCard:
        if not 0 < price_wei <= MAX_WEI:
            raise BadCall(f"a price of {price_wei} wei: it must be above 0 and at most 2^96 - 1")
        manifest, policy, now = found.manifest, self._policy, self._clock()
        if policy.publisher_bps > MAX_PUBLISHER_BPS:
            raise BadCall(
                f"models.publisher_bps is {policy.publisher_bps}, at most {MAX_PUBLISHER_BPS} is taken: "
                "whose data trained a model gets a part of what it earns",
            )
        weights = await self._weights(manifest)
        return ModelCard(
            network=policy.network,
            chain_id=policy.chain_id,
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
            publisher_bps=policy.publisher_bps,
            parent=parent.model,
            parent_bps=parent.bps,
            child_bps=policy.child_bps,
            weights=weights,
            weights_root=WeightsTree([(weight.dataset, weight.weight_ppm) for weight in weights]).root,
            created_at=now,
            expires_at=now + MAX_LIFETIME_S,
        )

    async def _weights(self, manifest: Manifest) -> list[Weight]:
        """The training's shares over the registry's facts. Raises BadCall when the registry does not know a dataset."""
        numbers = [share.dataset for share in manifest.shares if share.dataset != OWN]
        if len(manifest.shares) > MAX_DATASETS:
            raise BadCall(
                f"{len(manifest.shares)} datasets trained this model: a card holds {MAX_DATASETS}",
                hint="train with a filter, so that fewer datasets take part",
            )
        facts = await self._facts.of(numbers)
        if strangers := sorted(set(numbers) - set(facts)):
            raise BadCall(f"dataset {strangers[0]} is not registered on this chain", hint="train with a filter")
        sizes = {number: fact.size for number, fact in facts.items()}
        shares = weigh(manifest.shares, sizes, self._policy.own_ppm)
        return [
            Weight(
                dataset=share.dataset,
                address=facts[share.dataset].owner if share.dataset != OWN else manifest.builder,
                weight_ppm=share.weight_ppm,
            )
            for share in shares
            if share.dataset != OWN or share.weight_ppm
        ]


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

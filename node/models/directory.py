"""The models that can be called, from the catalogue's cards and the chain.

Anybody may sign a card that names somebody else's model: with a newer date it would draw the calls to a stranger's
node, with other weights it would spoil the contributors' proofs. So a card counts only when the chain says the same:
its signer published the model, at this price, with these weights and these shares. After a ruling against its
publisher the weights are those by the registry's facts: then the card counts as long as its own were the ones ruled on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog

from contracts.bindings.models import Model
from node.market.catalog.catalog import Catalog, Listed
from node.models.errors import BadCall, UnknownModel
from node.models.facts import Facts
from node.models.ports import Registry
from protocols.inference.card import ModelCard, Weight, datasets
from protocols.inference.weights import WeightsTree, by_facts

V = TypeVar("V")

log = structlog.get_logger(__name__)

RECHECK_S = 15  # how soon a card is compared again that the chain did not know: blocks take seconds
REMEMBERED = 10_000


class Directory:
    """Cards that the chain confirms; the newest of each model."""

    def __init__(self, catalog: Catalog, registry: Registry, facts: Facts, clock: Callable[[], int]) -> None:
        self._catalog = catalog
        self._registry = registry
        self._facts = facts
        self._clock = clock
        self._good: dict[str, None] = {}
        self._bad: dict[str, int] = {}

    async def cards(self) -> list[Listed[ModelCard]]:
        """Every model, in the order in which they were heard of."""
        newest: dict[str, Listed[ModelCard]] = {}
        for listed in self._catalog.every(ModelCard):
            known = newest.get(listed.body.model)
            if (known is None or listed.body.created_at > known.body.created_at) and await self._confirmed(listed):
                newest[listed.body.model] = listed
        return list(newest.values())

    async def find(self, name: str) -> Listed[ModelCard]:
        """A model by its id, or by its title when only one has it. Raises UnknownModel, BadCall."""
        found = [listed for listed in self._catalog.every(ModelCard) if name in (listed.body.model, listed.body.title)]
        good = [listed for listed in found if await self._confirmed(listed)]
        if not good:
            raise UnknownModel(f"no provider of model {name[:80]!r} is known")
        if len({listed.body.model for listed in good}) > 1:
            raise BadCall(f"{len(good)} models are called {name[:80]!r}", hint="name it by its id")
        return max(good, key=lambda listed: listed.body.created_at)

    async def weights(self, card: ModelCard, model: Model) -> tuple[Weight, ...]:
        """The weights that count now: the card's, or those that a ruling put in their place. Raises UnknownModel."""
        standing = await self._standing(card, model)
        if standing is None:
            raise UnknownModel(f"the card of model {card.model} is not what the chain says")
        return standing

    async def _standing(self, card: ModelCard, model: Model) -> tuple[Weight, ...] | None:
        if card.weights_root == model.weights_root:
            return tuple(card.weights)
        sizes = {number: fact.size for number, fact in (await self._facts.of(datasets(card))).items()}
        if len(sizes) < len(datasets(card)):  # a card made up, of datasets that nobody registered
            return None
        ruled = by_facts([(weight.dataset, weight.weight_ppm) for weight in card.weights], sizes)
        if WeightsTree(ruled).root != model.weights_root:
            return None
        changed = zip(card.weights, ruled, strict=True)
        return tuple(msgspec.structs.replace(weight, weight_ppm=ppm) for weight, (_, ppm) in changed)

    async def _confirmed(self, listed: Listed[ModelCard]) -> bool:
        id, card, now = listed.item.id, listed.body, self._clock()
        if id in self._good:
            return True
        if card.payee != self._registry.address or now < self._bad.get(id, 0) + RECHECK_S:
            return False
        model = await self._registry.model(bytes.fromhex(card.model))
        if agrees(listed, model) and await self._standing(card, model) is not None:
            _remember(self._good, id, None)
            self._bad.pop(id, None)
            return True
        log.debug("card is not what the chain says", item=id, model=card.model, signer=listed.item.signer)
        _remember(self._bad, id, now)
        return False


def agrees(listed: Listed[ModelCard], model: Model) -> bool:
    """Whether a card says of its model's terms what the chain says. A model that is not on chain has no publisher."""
    card = listed.body
    parent = bytes.fromhex(card.parent) or bytes(32)
    shares = (card.publisher_bps, parent, card.parent_bps, card.child_bps)
    told = (listed.item.signer, int(card.price_wei), *shares)
    on_chain = (model.publisher_bps, model.parent, model.parent_bps, model.child_bps)
    return told == (model.publisher, model.price_per_unit_wei, *on_chain)


def _remember(into: dict[str, V], id: str, value: V) -> None:
    into[id] = value
    while len(into) > REMEMBERED:
        del into[next(iter(into))]

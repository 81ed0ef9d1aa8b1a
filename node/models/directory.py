"""The models that can be called, from the catalogue's cards and the chain.

Anybody may sign a card that names somebody else's model: with a newer date it would draw the calls to a stranger's
node, with other weights it would spoil the contributors' proofs. So a card counts only when the chain says the same:
its signer published the model, at this price, with these weights and this share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from contracts.bindings.models import Model
from node.market.catalog import Catalog, Listed
from node.models.errors import BadCall, UnknownModel
from node.models.ports import Registry
from protocols.inference.card import ModelCard

V = TypeVar("V")

log = structlog.get_logger(__name__)

RECHECK_S = 15  # how soon a card is compared again that the chain did not know: blocks take seconds
REMEMBERED = 10_000


class Directory:
    """Cards that the chain confirms; the newest of each model."""

    def __init__(self, catalog: Catalog, registry: Registry, clock: Callable[[], int]) -> None:
        self._catalog = catalog
        self._registry = registry
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

    async def _confirmed(self, listed: Listed[ModelCard]) -> bool:
        id, card, now = listed.item.id, listed.body, self._clock()
        if id in self._good:
            return True
        if card.payee != self._registry.address or now < self._bad.get(id, 0) + RECHECK_S:
            return False
        if agrees(listed, await self._registry.model(bytes.fromhex(card.model))):
            _remember(self._good, id, None)
            self._bad.pop(id, None)
            return True
        log.debug("card is not what the chain says", item=id, model=card.model, signer=listed.item.signer)
        _remember(self._bad, id, now)
        return False


def agrees(listed: Listed[ModelCard], model: Model) -> bool:
    """Whether a card says of its model what the chain says. A model that is not on chain has no publisher."""
    card = listed.body
    told = (listed.item.signer, int(card.price_wei), card.weights_root, card.publisher_bps)
    return told == (model.publisher, model.price_per_unit_wei, model.weights_root, model.publisher_bps)


def _remember(into: dict[str, V], id: str, value: V) -> None:
    into[id] = value
    while len(into) > REMEMBERED:
        del into[next(iter(into))]

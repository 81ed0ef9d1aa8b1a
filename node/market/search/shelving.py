"""The shelves a search looks at: others' offers of a domain, by their outlines where those have come.

Arranged anew only when an offer or an outline has come or gone. A catalogue of more than CROWDED offers is not arranged
as a whole: for every query the CANDIDATES nearest by their means are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from node.market.catalog.catalog import Catalog, Listed, Wanted
from node.market.search.outlining import Outlines
from node.market.search.routing import Shelves, shelve
from node.market.search.sketch import Vectors
from protocols.ids import PeerId
from protocols.offers.offer import Offer

KEPT = 8  # domains
CROWDED = 4_096  # offers: 100 MB of centroids
CANDIDATES = 256  # offers; their peers are far more than one search asks
OUTLINED = 32  # peers that promise most: their outlines are fetched for the searches that follow
OUTLINED_OFFERS = 8  # of one peer


class Arranged(msgspec.Struct, frozen=True):
    """Shelves, and the offers on them of which no outline is known."""

    shelves: Shelves
    bare: dict[PeerId, list[Listed[Offer]]]


class Shelving:
    """Keeps the shelves of the domains that are searched."""

    def __init__(self, catalog: Catalog, outlines: Outlines, *, own: PeerId, model_id: str, dim: int) -> None:
        self._catalog = catalog
        self._outlines = outlines
        self._own = own
        self._model_id = model_id
        self._dim = dim
        self._kept: dict[str, tuple[tuple[int, int], Arranged]] = {}

    async def of(self, domain: str, query: Vectors) -> Arranged:
        """What is on offer in a domain ("" for all) as far as it matters for a query."""
        wanted = Wanted(domain=domain or None, model_id=self._model_id)
        if self._catalog.count(wanted) > CROWDED:
            nearest = await self._catalog.nearest(query, self._model_id, CANDIDATES, wanted)
            return self._arrange(await self._catalog.whole([listed.item.id for listed, _ in nearest], Offer))
        state = (self._catalog.changes, self._outlines.changes)
        known = self._kept.pop(domain, None)
        if known is None or known[0] != state:
            if known is None or known[0][0] != state[0]:
                self._outlines.keep_only({listed.item.id for listed in self._catalog.every(Offer)})
            known = (state, self._arrange([listed async for listed in self._catalog.offers(wanted)]))
        self._kept[domain] = known
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return known[1]

    def outline(self, arranged: Arranged, expected: Mapping[PeerId, float]) -> None:
        """Have the outlines of the most promising peers fetched."""
        for peer in sorted(expected, key=lambda peer: -expected[peer])[:OUTLINED]:
            largest = sorted(arranged.bare.get(peer, []), key=lambda one: -one.body.records)
            self._outlines.want(largest[:OUTLINED_OFFERS])

    def _arrange(self, offers: Iterable[Listed[Offer]]) -> Arranged:
        bare: dict[PeerId, list[Listed[Offer]]] = {}
        rows = []
        for one in offers:
            if one.item.peer == self._own:
                continue
            known = self._outlines.of(one.item.id)
            rows.append((one.item.peer, one.body, known))
            if known is None:
                bare.setdefault(one.item.peer, []).append(one)
        return Arranged(shelve(rows, self._dim), bare)

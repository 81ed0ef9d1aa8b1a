"""What the registry says of the datasets that trained a model: whose each is, and how much there is of what quality.

None of it can ever change once a dataset is registered, so it is read once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from contracts.bindings.registry import Dataset
from protocols.inference.weights import OWN, fact

REMEMBERED = 20_000  # datasets: 3 MB


class Datasets(Protocol):
    """`DataRegistry`."""

    async def dataset(self, dataset: int) -> Dataset: ...


class Fact(msgspec.Struct, frozen=True):
    """A registered dataset: its owner, and `size` = records × quality (ppm, at least 1).

    The floor of a split goes by the size.
    """

    owner: str
    size: int


class Facts:
    """Facts by dataset number, remembered."""

    def __init__(self, registry: Datasets) -> None:
        self._registry = registry
        self._known: dict[int, Fact] = {}

    async def of(self, numbers: Iterable[int]) -> dict[int, Fact]:
        """The facts of the registered among `numbers`; a number nobody has registered is not in the answer."""
        found = {}
        for number in numbers:
            if number != OWN and (known := await self._one(number)) is not None:
                found[number] = known
        return found

    async def owned(self, numbers: Iterable[int], owner: str) -> list[int]:
        """Those of `numbers` that belong to `owner`."""
        return [number for number, fact in (await self.of(numbers)).items() if fact.owner == owner]

    async def _one(self, number: int) -> Fact | None:
        known = self._known.get(number)
        if known is None:
            row = await self._registry.dataset(number)
            if not row.registered_at:
                return None
            known = self._known[number] = Fact(row.owner, fact(row.records, row.quality_ppm))
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
        return known

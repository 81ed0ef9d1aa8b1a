"""DataRegistry: commitments to datasets, who owns them, under which licence and consent."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt


class Dataset(View, frozen=True):
    """A registered dataset; hashes are 32 bytes, `domain` and `licence` zero-padded text, times UTC seconds."""

    owner: str
    cells: int
    records: int
    quality_ppm: int
    revoked: bool
    root: bytes
    domain: bytes
    licence: bytes
    consent_root: bytes
    registered_at: int
    revoked_at: int
    parent_count: int
    parents_hash: bytes


class DataRegistry(Binding):
    """Holds no money and no personal data."""

    def register(
        self,
        *,
        root: bytes,
        cells: int,
        records: int,
        domain: bytes,
        licence: bytes,
        consent_root: bytes,
        quality_ppm: int,
        parents: Sequence[int],
        cid: bytes,
    ) -> Call:
        """Commit to a dataset; parents must be active."""
        return self._call(
            "register", root, cells, records, domain, licence, consent_root, quality_ppm, list(parents), cid
        )

    def registered(self, receipt: Receipt) -> int:
        """The id that a `register` transaction made."""
        return int(self._emitted(receipt, "Registered")["id"])

    def revoke(self, dataset: int) -> Call:
        """Consent withdrawn or data erased: nothing may bind to it any more. Not reversible."""
        return self._call("revoke", dataset)

    async def dataset(self, dataset: int) -> Dataset:
        return await self._struct(Dataset, "dataset", dataset)

    async def owner(self, dataset: int) -> str:
        return await self._account("owner", dataset)

    async def is_active(self, dataset: int) -> bool:
        return await self._flag("isActive", dataset)

    async def count(self) -> int:
        return await self._whole("datasetCount")

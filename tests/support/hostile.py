"""Cheats, as pure functions: payloads that lie, keys that open nothing. Each says which defence is meant to stop it.

The unit tests play them against the machines, and a daemon under test can be made to use them in place of the honest
function of the same shape.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256

from protocols.exchange.handover import MaskedKey, mask_key
from protocols.sealed import Record, Sealed, pack_cells, parse, root_of, seal, seal_cells
from protocols.sealed.keys import cell_key
from protocols.sealed.payload import ENTRY_BYTES, HEADER_BYTES


def seal_junk(records: Sequence[Record], content_key: bytes, cell_bytes: int, junk: Collection[int]) -> Sealed:
    """A payload that commits honestly to noise in the cells `junk`: only a sampled opening can see it."""
    cells = pack_cells(records, cell_bytes)
    noisy = [_noise(i, len(cell)) if i in junk else cell for i, cell in enumerate(cells)]
    return _count(seal_cells(noisy, content_key), records)


def seal_false_cell(records: Sequence[Record], content_key: bytes, cell_bytes: int, index: int) -> Sealed:
    """A payload whose index promises another plaintext for one cell than its key opens: a cell dispute shows it."""
    return _overwrite(seal(records, content_key, cell_bytes), index, offset=2)


def seal_false_key(records: Sequence[Record], content_key: bytes, cell_bytes: int, index: int) -> Sealed:
    """A payload whose index commits one cell to a key that no content key gives: a key dispute shows it."""
    return _overwrite(seal(records, content_key, cell_bytes), index, offset=34)


def wrong_key(buyer_public: tuple[bytes, bytes], sale: int, e: bytes) -> MaskedKey:
    """A hand-over of a key that never sealed anything: a key dispute shows it once it is posted."""
    return mask_key(sha256(b"never sealed anything").digest(), buyer_public, sale, e)


def off_curve_key() -> MaskedKey:
    """A hand-over whose E is no point of secp256k1 (x = 5 has no y): the seller's fault by itself."""
    return MaskedKey(bytes(31) + b"\5", 0, bytes(32))


def replayed_key(content_key: bytes, buyer_public: tuple[bytes, bytes], other_sale: int, e: bytes) -> MaskedKey:
    """A right key, masked for another sale: opens nothing here."""
    return mask_key(content_key, buyer_public, other_sale, e)


def stolen_sample(content_key: bytes, asked: Sequence[int]) -> list[tuple[int, bytes]]:
    """Openings of other cells than the ones asked for: the seller shows his best cells."""
    return [(index + 1, cell_key(content_key, index + 1)) for index in asked]


def _noise(seed: int, size: int) -> bytes:
    return b"".join(sha256(bytes([seed & 255, n & 255, n >> 8])).digest() for n in range(size // 32 + 1))[:size]


def _overwrite(sealed: Sealed, index: int, offset: int) -> Sealed:
    at = HEADER_BYTES + index * ENTRY_BYTES + offset
    data = sealed.payload[:at] + sha256(b"false commitment").digest() + sealed.payload[at + 32 :]
    return Sealed(root_of(parse(data)), sealed.cells, sealed.records, data)


def _count(sealed: Sealed, records: Sequence[Record]) -> Sealed:
    return Sealed(sealed.root, sealed.cells, len(records), sealed.payload)

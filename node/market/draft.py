"""From records to a draft offer: choose what may be sold, seal it, describe it. Pure but for the key it is given."""

from __future__ import annotations

import hashlib
import mmap
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from node.market.errors import NothingToSell
from node.market.search.sketch import sketch
from node.shard.record import ShardRecord
from protocols.offers.offer import Centroid
from protocols.quality import PPM, Quality, mean_quality
from protocols.sealed.cells import cells_of, choose_cell_bytes
from protocols.sealed.payload import Sealed, seal_index
from protocols.sealed.records import Record

MIN_PRIVACY_PPM = 600_000  # what redaction left behind may cost one weak hit, no more: below, a record is not sold
MAX_LANGUAGES = 16
ROOMY = Path("/var/tmp")  # noqa: S108 - for large temporary files (file-hierarchy(7)); /tmp is memory on many systems
COPY_BYTES = 1 << 20


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which own records to sell; an empty filter takes all of the domain."""

    language: str = ""
    labels: dict[str, str] = {}
    min_quality: int = 0


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about an offer that is fixed before the chain has seen it; journalled as JSON."""

    title: str
    domain: str
    kind: str
    licence: str
    consent_root: bytes
    cid: str
    root: bytes
    cells: int
    cell_bytes: int
    records: int
    size_bytes: int
    languages: dict[str, int]
    quality: Quality
    model_id: str
    sketch: list[Centroid]
    floor_wei: str
    expires_at: int


def choose(records: Sequence[ShardRecord], wanted: Filter, licence: str | None) -> list[ShardRecord]:
    """The records that may be sold: own, private enough, of one licence. Raises NothingToSell with the reason."""
    own = [r for r in records if r.origin == "own" and _fits(r, wanted)]
    clean = [r for r in own if r.quality.privacy >= MIN_PRIVACY_PPM]
    if not clean:
        held = f"{len(own)} match but hold too much personal data" if own else "no own record matches"
        raise NothingToSell(f"nothing to sell: {held}")
    licences = Counter(r.licence for r in clean)
    chosen = licence or licences.most_common(1)[0][0]
    if chosen not in licences:
        raise NothingToSell(f"no record under licence {chosen!r}; here are {', '.join(sorted(licences))}")
    return [r for r in clean if r.licence == chosen]


def seal_records(records: Sequence[ShardRecord], content_key: bytes) -> tuple[Sealed, int]:
    """The records as a sealed payload, and the cell size that was chosen for it.

    Its bytes are a mapped file of no name, gone with its last user: a payload may be larger than what memory is left.
    """
    goods = [
        Record(id=r.id, text=r.text, title=r.title, language=r.language, labels=r.labels, created_at=r.created_at)
        for r in records
    ]
    cell_bytes = choose_cell_bytes(goods)
    folder = ROOMY if ROOMY.is_dir() else None
    with tempfile.TemporaryFile(dir=folder) as payload, tempfile.TemporaryFile(dir=folder) as ciphertexts:
        index = seal_index(cells_of(goods, cell_bytes), content_key, ciphertexts.write)
        payload.write(index.head)
        ciphertexts.seek(0)
        shutil.copyfileobj(ciphertexts, payload, COPY_BYTES)
        payload.flush()
        data = mmap.mmap(payload.fileno(), 0, access=mmap.ACCESS_READ)
    # a mapped file gives bytes where it is sliced, and nothing else is done with it
    return Sealed(index.root, index.cells, len(goods), cast(bytes, data)), cell_bytes


def consent_root(records: Sequence[ShardRecord]) -> bytes:
    """SHA-256 over the sorted distinct consent hashes: what the owner can later open, statement by statement."""
    return hashlib.sha256("\n".join(sorted({r.consent for r in records})).encode()).digest()


def describe(
    records: Sequence[ShardRecord], sealed: Sealed, *, cell_bytes: int, title: str, domain: str, kind: str,
    cid: str, floor_wei: int, expires_at: int,
) -> Draft:  # fmt: skip
    """What the offer will claim about `records`."""
    shares = Counter(r.language or "un" for r in records)
    return Draft(
        title=title,
        domain=domain,
        kind=kind,
        licence=records[0].licence,
        consent_root=consent_root(records),
        cid=cid,
        root=sealed.root,
        cells=sealed.cells,
        cell_bytes=cell_bytes,
        records=len(records),
        size_bytes=len(sealed.payload),
        languages={lang: n * PPM // len(records) for lang, n in shares.most_common(MAX_LANGUAGES)},
        quality=mean_quality([r.quality for r in records]),
        model_id=records[0].model_id,
        sketch=sketch(np.stack([r.vector for r in records])),
        floor_wei=str(floor_wei),
        expires_at=expires_at,
    )


def _fits(record: ShardRecord, wanted: Filter) -> bool:
    return (
        (not wanted.language or record.language == wanted.language)
        and record.quality.overall >= wanted.min_quality
        and all(record.labels.get(k) == v for k, v in wanted.labels.items())
    )

"""What may go when room is needed, and what must stay. Blocks; its callers let nobody store meanwhile.

A pinned or shared root keeps every block below it. What a transfer holds stays too. The rest goes, longest unused
first: block files one by one, payloads whole. A leaf that stands only in a payload that goes, and that a pin reaches by
another root, is written to a file of its own first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from node.blocks.cids import DAG_PB, codec_of
from node.blocks.dag import decode_block
from node.blocks.payloads import Payload
from node.blocks.store import BlockStore
from protocols.ids import Cid


def sweep(store: BlockStore, held: Collection[Cid], target_bytes: int) -> None:
    """Remove what nothing keeps until at most `target_bytes` are stored."""
    kept = reachable(store, [*store.roots(), *held])
    payloads = {payload.root for payload in store.payloads.all()}
    for stored in sorted([*store.blocks(), *store.payloads.stored()], key=lambda stored: stored.touched):
        if store.size_bytes <= target_bytes:
            return
        if stored.cid in kept:
            continue
        if stored.cid in payloads:
            _remove_payload(store, stored.cid, kept)
        else:
            store.remove(stored.cid)


def drop(store: BlockStore, held: Collection[Cid], root: Cid) -> None:
    """Remove what only this root, which is pinned no more, needs."""
    kept = reachable(store, [*store.roots(), *held])
    if root in kept:
        return
    for cid in reachable(store, [root]) - kept:
        store.remove(cid)
    _remove_payload(store, root, kept)


def reachable(store: BlockStore, roots: Iterable[Cid]) -> set[Cid]:
    """The roots and all that is stored below them; leaves are not read."""
    seen: set[Cid] = set()
    stack = list(roots)
    while stack:
        cid = stack.pop()
        if cid in seen:
            continue
        seen.add(cid)
        block = store.get(cid) if codec_of(cid) == DAG_PB else None
        if block is not None:
            stack.extend(decode_block(cid, block).children)
    return seen


def _remove_payload(store: BlockStore, root: Cid, kept: set[Cid]) -> None:
    payload = store.payloads.find(root)
    if payload is None:
        return
    _save(store, payload, kept)
    store.payloads.remove(root)


def _save(store: BlockStore, payload: Payload, kept: set[Cid]) -> None:
    others = [other for other in store.payloads.all() if other is not payload]
    elsewhere = {cid for other in others if other.complete for cid in other.outline.leaf_cids()}
    cids = {*payload.outline.leaf_cids(), *(cid for cid, _ in payload.outline.nodes)}
    for cid in (cids & kept) - elsewhere:
        block = store.get(cid)
        if block is not None:
            store.put_loose([(cid, block)])

"""Comparing a domain with one neighbour: down his tree where it differs from ours, and what is missing fetched.

    root digest as ours, or as when all below was dealt with ──▶ done, one small request
    digests of 16 nodes ──▶ those that differ, the same way
    ids of a leaf ──▶ those we miss: claimed, so that nobody else is asked for them, fetched, examined, kept

A leaf is dealt with when everything in it is known, or was refused by rule. What still differs then (we have more, or
keep something out) is remembered by its digest, so that it costs nothing until the neighbour's digest changes or a
refused item is worth another look.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import trio

from node.market.catalog.catalog import Catalog
from node.market.catalog.tree import DIGITS, EMPTY, inner_digest, leaf_digest
from node.market.ports import Wire
from node.network.errors import NetworkError
from protocols.catalog.messages import (
    FANOUT,
    ITEMS,
    MAX_ITEMS,
    MAX_PREFIXES,
    MAX_REPLY_BYTES,
    MAX_TREE_BYTES,
    PROTOCOL,
    Items,
    ItemsRequest,
    Node,
    TreeReply,
    TreeRequest,
)
from protocols.codec import decode, encode
from protocols.envelope import MAX_ENVELOPE_BYTES, Envelope
from protocols.errors import ProtocolError
from protocols.ids import Address, PeerId, item_id

TIMEOUT_S = 15.0
MAX_NODES = 32_768  # of one visit: a domain of 500,000 ids, or what one peer can make us read in one go
MAX_DEALT_WITH = 512  # digests remembered of a neighbour and domain, those of the largest parts: 100 kB
WASTED_PAGES = 3  # with less than half of what was listed
UNFIT_PAGES = 3  # of which more than half may not be kept here: there is no room, or the chain is behind
SOON_S = 5.0  # when others were just asked for what is missing

Admit = Callable[[Sequence[bytes], str], Awaitable[None]]  # of a domain


class WastesTime(Exception):
    """A neighbour listed what he does not have, or a tree that is none."""


class NoneFit(Exception):
    """Next to nothing of what a neighbour lists may be kept here now."""


class Stock:
    """What all comparisons share: the own catalogue, the way to others, and who is asked for what."""

    def __init__(self, catalog: Catalog, wire: Wire, admit: Admit) -> None:
        self.catalog = catalog
        self.wire = wire
        self.admit = admit
        self.claimed: set[str] = set()


class Reading:
    """One domain as one neighbour has it."""

    def __init__(self, stock: Stock, peer: PeerId, domain: str) -> None:
        self._stock = stock
        self._peer = peer
        self._domain = domain
        self._dealt_with: dict[str, tuple[bytes, float]] = {}  # prefix -> his digest, until when it is good (UTC)
        self._nodes = 0
        self._wasted = 0
        self._unfit = 0
        self._one_page = trio.Semaphore(1)  # is examined, one more may be on its way

    async def read(self) -> float:
        """Fetch what is missing here. Seconds until something is worth another look (inf: until he has news).

        Raises NetworkError, ProtocolError, WastesTime, NoneFit.
        """
        self._nodes = self._unfit = 0
        wasted = self._wasted
        seen: dict[str, tuple[bytes, float]] = {}
        levels: list[list[str]] = [[""]]
        while levels and self._unfit < UNFIT_PAGES:
            prefixes, levels[-1] = levels[-1][:MAX_PREFIXES], levels[-1][MAX_PREFIXES:]
            if not levels[-1]:
                levels.pop()
            if prefixes:
                below = await self._compare(prefixes, seen)
                levels.append(below) if below else None
        if self._wasted == wasted:
            self._wasted = 0
        if self._unfit >= UNFIT_PAGES:
            raise NoneFit
        return self._note(seen)

    async def _compare(self, prefixes: list[str], seen: dict[str, tuple[bytes, float]]) -> list[str]:
        """Ask for some nodes and fetch what leaves among them have; the prefixes below that differ."""
        tree = self._stock.catalog.tree(self._domain)
        below: list[str] = []
        leaves: dict[str, list[str]] = {}
        for prefix, node in zip(prefixes, await self._ask(prefixes), strict=True):
            _check(prefix, node)
            seen[prefix] = (node.digest, math.inf)
            for digit, digest in zip(DIGITS, node.children, strict=False):
                child = prefix + digit
                if digest not in (tree.digest(child), EMPTY) and not self._is_dealt_with(child, digest):
                    below.append(child)
            if node.ids:
                leaves[prefix] = [id.hex() for id in node.ids]
        await self._fetch([id for ids in leaves.values() for id in ids])
        for prefix, ids in leaves.items():
            seen[prefix] = (seen[prefix][0], self._good_until(ids))
        return below

    async def _ask(self, prefixes: Sequence[str]) -> list[Node]:
        self._nodes += len(prefixes)
        if self._nodes > MAX_NODES:
            raise WastesTime(f"a tree of more than {MAX_NODES} nodes")
        unless = []
        if list(prefixes) == [""]:
            unless.append(self._stock.catalog.tree(self._domain).digest(""))
            if (known := self._dealt_with.get("")) is not None and self._is_dealt_with("", known[0]):
                unless.append(known[0])
        request = encode(TreeRequest(domain=self._domain, prefixes=list(prefixes), unless=unless))
        raw = await self._request(PROTOCOL, request, MAX_TREE_BYTES)
        nodes = decode(raw, TreeReply, max_bytes=MAX_TREE_BYTES).nodes
        if len(nodes) != len(prefixes):
            raise WastesTime(f"{len(nodes)} nodes, {len(prefixes)} were asked for")
        if unless and nodes[0].digest in unless:
            return [Node(digest=EMPTY)]
        return nodes

    async def _fetch(self, ids: Sequence[str]) -> None:
        """The envelopes of those that are missing, some hundred at a time; others may take their share meanwhile.

        While some are examined and kept, the next are on their way.
        """
        broken: Exception | None = None
        async with trio.open_nursery() as nursery:
            missing = [id for id in ids if self._stock.catalog.misses(id)]
            try:
                while missing and self._unfit < UNFIT_PAGES:
                    free = [id for id in missing if id not in self._stock.claimed and self._stock.catalog.misses(id)]
                    mine, missing = free[:MAX_ITEMS], free[MAX_ITEMS:]
                    if mine:
                        self._stock.claimed.update(mine)
                        await self._fetch_claimed(mine, nursery)
            except (NetworkError, ProtocolError, WastesTime) as err:
                broken = err
        if broken is not None:
            raise broken

    async def _fetch_claimed(self, ids: list[str], nursery: trio.Nursery) -> None:
        left = set(ids)
        try:
            while ids:
                request = encode(ItemsRequest(ids=[bytes.fromhex(id) for id in ids]))
                reply = decode(await self._request(ITEMS, request, MAX_REPLY_BYTES), Items, max_bytes=MAX_REPLY_BYTES)
                asked, ids = ids[: reply.looked_at], ids[reply.looked_at :]
                found = {_id_of(raw): raw for raw in reply.envelopes}
                found.pop("", None)  # of a version that is not ours
                if not found.keys() <= set(asked):
                    raise WastesTime("items that nobody asked for")
                await self._one_page.acquire()
                left -= set(asked)
                nursery.start_soon(self._take, asked, list(found.values()))
                if self._wasted >= WASTED_PAGES:
                    raise WastesTime("items are listed and not delivered")
        finally:
            self._stock.claimed.difference_update(left)

    async def _take(self, asked: list[str], found: list[bytes]) -> None:
        """Keep a page. Some may have gone or be unfit since it was listed; most of it, and often, is a lie."""
        try:
            await self._stock.admit(found, self._domain)
            left = sum(self._stock.catalog.misses(id) for id in asked)
            unfit = sum(not self._stock.catalog.knows(id) for id in asked) - left
            self._wasted += 2 * left > len(asked)
            self._unfit += 2 * unfit > len(asked)
        finally:
            self._stock.claimed.difference_update(asked)
            self._one_page.release()

    async def _request(self, protocol: str, body: bytes, most: int) -> bytes:
        return await self._stock.wire.request(self._peer, protocol, body, timeout_s=TIMEOUT_S, max_reply_bytes=most)

    # --- what is dealt with ---

    def _is_dealt_with(self, prefix: str, digest: bytes) -> bool:
        known = self._dealt_with.get(prefix)
        return known is not None and known[0] == digest and self._stock.catalog.now < known[1]

    def _good_until(self, ids: Sequence[str]) -> float:
        """Until when a leaf needs no look: -inf when some of its ids are with others now, else by what was put off."""
        catalog = self._stock.catalog
        if any(catalog.misses(id) for id in ids):
            return -math.inf
        return min((catalog.missed_at(id) for id in ids if not catalog.knows(id)), default=math.inf)

    def _note(self, seen: dict[str, tuple[bytes, float]]) -> float:
        """Remember what still differs; seconds until something below is worth another look."""
        tree, now = self._stock.catalog.tree(self._domain), self._stock.catalog.now
        is_soon = any(until < now for _, until in seen.values())
        kept = {prefix: known for prefix, known in self._dealt_with.items() if now < known[1]}
        for prefix in sorted(seen, key=len, reverse=True):
            digest, until = seen[prefix]
            below = [kept[prefix + digit][1] for digit in DIGITS if prefix + digit in kept]
            if digest == EMPTY:
                continue
            if digest == tree.digest(prefix):
                kept.pop(prefix, None)
            else:
                kept[prefix] = (digest, min([until, *below]))
        self._dealt_with = {prefix: kept[prefix] for prefix in sorted(kept, key=len)[:MAX_DEALT_WITH]}
        return SOON_S if is_soon else max(min((until for _, until in kept.values()), default=math.inf) - now, SOON_S)


def _check(prefix: str, node: Node) -> None:
    """Whether a node is what it says. Raises WastesTime."""
    ids = [id.hex() for id in node.ids]
    if ids and not (not node.children and ids == sorted(set(ids)) and all(id.startswith(prefix) for id in ids)):
        raise WastesTime("a leaf that is none")
    if node.children and len(node.children) != FANOUT:
        raise WastesTime("a node with too few below it")
    if node.digest != (inner_digest(node.children) if node.children else leaf_digest(node.ids)):
        raise WastesTime("a digest of something else")


def _id_of(raw: bytes) -> str:
    """The id that an envelope claims; "" for none."""
    try:
        envelope = decode(raw, Envelope, max_bytes=MAX_ENVELOPE_BYTES)
    except ProtocolError:
        return ""
    return item_id(envelope.kind, PeerId(envelope.peer), Address(envelope.signer), envelope.body)

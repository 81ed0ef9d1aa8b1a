"""Who takes how much of the catalogue, and who makes room when it is full.

One author has at most so many items and bytes; what goes beyond is refused. When everybody together has too much, those
who hold the most are cut to one length, the same for all of them, and of theirs what expires first goes first; whoever
holds less than that loses nothing. So an author, or many under new names, can take what nobody else uses and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import msgspec

ROOM = 200  # one part in so many is made free at once, because it takes a look at all items


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one catalogue. Bytes are those of the envelopes, as they lie in the journal."""

    # about 1.4 GB as offers usually are; memory follows the items, disk the bytes
    items: int = 200_000
    size_bytes: int = 2 << 30
    items_a_signer: int = 5_000
    bytes_a_signer: int = 64 << 20


class Quota:
    """What each signer holds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.items: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self._count = 0
        self._bytes = 0

    def take(self, signer: str, size_bytes: int) -> None:
        """One item more."""
        self._move(signer, 1, size_bytes)

    def release(self, signer: str, size_bytes: int) -> None:
        """One item less."""
        self._move(signer, -1, -size_bytes)
        if not self.items[signer]:
            del self.items[signer], self.sizes[signer]

    def has_room(self, signer: str, size_bytes: int) -> bool:
        """Whether a signer may have one more of this size."""
        items, size = self.items[signer] + 1, self.sizes[signer] + size_bytes
        return items <= self.limits.items_a_signer and size <= self.limits.bytes_a_signer

    def is_full(self, size_bytes: int) -> bool:
        """Whether one more of this size is too much for all together."""
        return self._count >= self.limits.items or self._bytes + size_bytes > self.limits.size_bytes

    def too_greedy(self, size_bytes: int) -> tuple[Counter[str], int]:
        """When it is full: by which measure, and the most of it that a signer may keep for some room to be made."""
        limits = self.limits
        if self._count >= limits.items:
            return self.items, cut(self.items, self._count - limits.items + max(1, limits.items // ROOM))
        return self.sizes, cut(self.sizes, self._bytes + size_bytes - limits.size_bytes + limits.size_bytes // ROOM)

    def _move(self, signer: str, items: int, size_bytes: int) -> None:
        self.items[signer] += items
        self.sizes[signer] += size_bytes
        self._count += items
        self._bytes += size_bytes


def cut(held: Mapping[str, int], wanted: int) -> int:
    """The greatest length for all such that `wanted` leaves when those who hold more are cut to it; 0 when all must."""
    sizes = [*sorted(held.values(), reverse=True), 0]
    total = 0
    for first, (size, below) in enumerate(pairwise(sizes), start=1):
        total += size
        if total - first * below >= wanted:
            return max((total - wanted) // first, 0)
    return 0

"""The shape of a content's CID tree, from its size alone: balanced, full groups first, a lone tail wrapped like every
other group (as `ipfs add --cid-version=1 --raw-leaves` builds it)."""

from __future__ import annotations

from collections.abc import Iterator

LEAF_BYTES = 262_144
LINKS_PER_NODE = 174
MAX_NODE_BYTES = 16_384  # a full node has some 9,500
MAX_PAYLOAD_LEAVES = 1 << 22  # 1 TiB


class Shape:
    """How many leaves and nodes a content of `size_bytes` has, and which node stands over what."""

    def __init__(self, size_bytes: int) -> None:
        if not 0 <= size_bytes <= MAX_PAYLOAD_LEAVES * LEAF_BYTES:
            raise ValueError(f"a content of {size_bytes} bytes, the limit is {MAX_PAYLOAD_LEAVES * LEAF_BYTES}")
        self.size_bytes = size_bytes
        widths = [max(1, -(-size_bytes // LEAF_BYTES))]
        while widths[-1] > 1:
            widths.append(-(-widths[-1] // LINKS_PER_NODE))
        self.widths = tuple(reversed(widths))  # from the root down; the last are the leaves

    @property
    def leaves(self) -> int:
        return self.widths[-1]

    @property
    def nodes(self) -> int:
        """Inner nodes; none when the content is one leaf."""
        return sum(self.widths[:-1])

    def leaf_bytes(self, place: int) -> int:
        """The size of one leaf: the last one's is the rest."""
        if not 0 <= place < self.leaves:
            raise IndexError(f"leaf {place} of {self.leaves}")
        return min(LEAF_BYTES, self.size_bytes - place * LEAF_BYTES)

    def children(self) -> Iterator[int]:
        """How many children each inner node has, from the root down, left to right."""
        for below in self.widths[1:]:
            for start in range(0, below, LINKS_PER_NODE):
                yield min(LINKS_PER_NODE, below - start)

"""What the node needs of a block store, embedded or external."""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from typing import Protocol

from protocols.ids import Cid, PeerId


class Blocks(Protocol):
    """Content in, CID out, and back."""

    async def add(self, data: bytes) -> Cid:
        """Chunk, store and pin. Raises StoreFull, DaemonUnreachable."""

    async def fetch(self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float) -> bytes:
        """The content, verified against its CID. Raises NotFound, TooLarge, BadBlock, DaemonUnreachable."""

    async def add_file(self, path: Path) -> Cid:
        """As `add`, for a file that need not fit into memory. Raises BadBlock when it changes meanwhile."""

    async def fetch_mapped(
        self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float
    ) -> bytes | mmap:
        """As `fetch`; a large content is a mapped file that costs no memory and stays readable until it is let go."""

    async def has(self, cid: Cid) -> bool:
        """Whether all of the content is here."""

    async def pin(self, cid: Cid) -> None:
        """Keep content that is here, whatever the quota says. Raises NotFound when it is not here."""

    async def share(self, cid: Cid) -> bool:
        """Keep content that was bought for others too, if there is room meant for that; whether it is kept so."""

    async def unpin(self, cid: Cid) -> None:
        """Let a later collection remove it; no error when it was not pinned."""

    async def drop(self, cid: Cid) -> bool:
        """Unpin, and remove at once what no other pin needs; False when others decide when it goes."""

    async def pins(self) -> list[Cid]:
        """The pinned roots."""

    def figures(self) -> dict[str, str | int]:
        """For the home screen: the mode, what is stored, and of how many contents others keep our record."""

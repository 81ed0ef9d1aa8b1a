"""What is stored: small blocks as a file each, payloads as a file each (`payloads`), and the pins.

Block files lie in folders by two characters of the CID (as Kubo's flatfs shards them). A block is written beside its
place, synced, and renamed, so that a name never stands for half a block; what is read is checked against its CID, and
a block that went bad on the disk is removed and counts as missing. A pin is a file too (`marks`), and so is a share: a
root that is kept for others as long as there is room. Everything here blocks and runs in worker threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from node.blocks.cids import RAW, canonical, cid_bytes, matches
from node.blocks.disk import TEMPORARY, Stored, sync_folder, write_durably
from node.blocks.marks import Marks
from node.blocks.payloads import Payloads
from protocols.ids import Cid

_SUFFIX = ".block"


class BlockStore:
    """Canonical CIDs to bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folder = folder / "blocks"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.pinned, self.shared = Marks(folder / "pins"), Marks(folder / "shared")
        self._sweep()
        self.payloads = Payloads(folder / "payloads")
        self._loose_bytes = 0
        self._loose_leaves: set[bytes] = set()  # the digests of raw blocks, so that thousands are quickly seen missing
        for block in self.blocks():
            self._count(block.cid, block.size_bytes)

    @property
    def size_bytes(self) -> int:
        """What all of it takes on the disk."""
        return self._loose_bytes + self.payloads.size_bytes

    def put(self, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        """Store blocks whose bytes are known to be right, unless a payload holds them or lacks just them."""
        loose = [(cid, block) for cid, block in blocks if not self.payloads.take(cid, block)]
        self.put_loose((cid, block) for cid, block in loose if not self.payloads.has(cid))

    def put_loose(self, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        """Store blocks in files of their own; on the disk when this returns."""
        folders: set[Path] = set()
        for cid, data in blocks:
            path = self._path(cid)
            if path.exists():
                os.utime(path)
                continue
            path.parent.mkdir(exist_ok=True)
            write_durably(path, data)
            self._count(cid, len(data))
            folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)
        if folders:
            sync_folder(self._folder)

    def get(self, cid: Cid) -> bytes | None:
        """The bytes, or None when we do not have them."""
        path = self._path(cid)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return self.payloads.get(cid)
        if not matches(cid, data):
            self.remove(cid)
            return self.payloads.get(cid)
        return data

    def has_leaf(self, digest: bytes) -> bool:
        """Whether a raw block with that digest is here, as `has` but without a look at the disk."""
        return digest in self._loose_leaves or self.payloads.has_leaf(digest)

    def has(self, cid: Cid) -> bool:
        return self._path(cid).exists() or self.payloads.has(cid)

    def remove(self, cid: Cid) -> None:
        """Forget a block that has a file of its own; no error when it has none."""
        path = self._path(cid)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return
        self._loose_bytes -= size
        self._loose_leaves.discard(cid_bytes(cid)[4:])

    def blocks(self) -> Iterator[Stored]:
        """Every block that has a file of its own."""
        for path in self._folder.glob(f"*/*{_SUFFIX}"):
            stat = path.stat()
            yield Stored(Cid(path.stem), stat.st_size, stat.st_mtime)

    def offered(self, cid: Cid) -> bool:
        """Whether it is a root that peers may have."""
        return cid in self.pinned or cid in self.shared

    def roots(self) -> list[Cid]:
        """What must be kept and may be had: pins and shares."""
        return [*self.pinned.all(), *self.shared.all()]

    def _count(self, cid: Cid, size: int) -> None:
        self._loose_bytes += size
        raw = cid_bytes(cid)
        if raw[1] == RAW:
            self._loose_leaves.add(raw[4:])

    def _path(self, cid: Cid) -> Path:
        name = canonical(cid)  # also keeps path separators out
        return self._folder / name[-3:-1] / f"{name}{_SUFFIX}"

    def _sweep(self) -> None:
        for path in self._folder.glob(f"*/*{TEMPORARY}"):
            path.unlink()

"""Blocks on disk: one file each, in folders by two characters of the CID (as Kubo's flatfs shards them).

A block is written beside its place, synced, and renamed, so that a name never stands for half a block; what is read
is checked against its CID, and a block that went bad on the disk is removed and counts as missing. Everything here
blocks and runs in worker threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from node.blocks.cids import canonical, matches
from protocols.errors import BadIdentifier
from protocols.ids import Cid

_SUFFIX = ".block"
_TEMPORARY = ".writing"


class Stored(NamedTuple):
    """A block as the disk knows it; `touched` is when it was last stored or asked for (UTC seconds)."""

    cid: Cid
    size_bytes: int
    touched: float


class BlockStore:
    """Canonical CIDs to bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "blocks"
        self._pins = folder / "pins"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._pins.mkdir(exist_ok=True, mode=0o700)
        self._sweep()
        self.size_bytes = sum(block.size_bytes for block in self.all())

    def put(self, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        """Store blocks whose bytes are known to be right; on the disk when this returns."""
        folders: set[Path] = set()
        for cid, data in blocks:
            path = self._path(cid)
            if path.exists():
                os.utime(path)
                continue
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(_TEMPORARY)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            self.size_bytes += len(data)
            folders.add(path.parent)
        for folder in folders:
            _sync(folder)
        if folders:
            _sync(self._folder)

    def get(self, cid: Cid) -> bytes | None:
        """The bytes, or None when we do not have them."""
        path = self._path(cid)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if not matches(cid, data):
            self.remove(cid)
            return None
        return data

    def has(self, cid: Cid) -> bool:
        return self._path(cid).exists()

    def remove(self, cid: Cid) -> None:
        """Forget a block; no error when it is not there."""
        path = self._path(cid)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return
        self.size_bytes -= size

    def all(self) -> Iterator[Stored]:
        """Every stored block."""
        for path in self._folder.glob(f"*/*{_SUFFIX}"):
            stat = path.stat()
            yield Stored(Cid(path.stem), stat.st_size, stat.st_mtime)

    # -- pins: an empty file each, named by the root

    def pin(self, cid: Cid) -> None:
        (self._pins / canonical(cid)).touch(mode=0o600)
        _sync(self._pins)

    def unpin(self, cid: Cid) -> bool:
        """Whether it was pinned."""
        try:
            (self._pins / canonical(cid)).unlink()
        except FileNotFoundError:
            return False
        _sync(self._pins)
        return True

    def pins(self) -> list[Cid]:
        """The pinned roots in order of their CIDs."""
        return sorted(Cid(path.name) for path in self._pins.iterdir() if _is_cid(path.name))

    def _path(self, cid: Cid) -> Path:
        name = canonical(cid)  # also keeps path separators out
        return self._folder / name[-3:-1] / f"{name}{_SUFFIX}"

    def _sweep(self) -> None:
        for path in self._folder.glob(f"*/*{_TEMPORARY}"):
            path.unlink()


def _is_cid(name: str) -> bool:
    try:
        return canonical(Cid(name)) == name
    except BadIdentifier:
        return False


def _sync(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

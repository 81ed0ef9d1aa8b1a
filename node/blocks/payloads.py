"""Payloads on disk: one file of content each, beside it the digests of its leaves; nothing else is needed of its tree.

`ROOT.leaves` holds the size (8 bytes) and the digests, and must give ROOT: one that a power cut tore goes, and its part
with it. `ROOT.part` is being written, in any order; `ROOT.data` is whole and durable, and so are its leaves. A restart
looks at no journal: a leaf of a part is there when its bytes have its digest. Everything here blocks and runs in worker
threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from node.blocks.cids import RAW, cid_bytes
from node.blocks.disk import Stored, is_cid, sync_file, sync_folder
from node.blocks.errors import BadBlock
from node.blocks.outline import Outline
from protocols.ids import Cid
from protocols.payload import LEAF_BYTES

_DATA, _PART, _LEAVES = ".data", ".part", ".leaves"
_SIZE_BYTES = 8
DIRECT_BYTES = 64 << 20  # from here on the page cache is left to those who read: it would be full of one payload
RUN_LEAVES = 4  # leaves that are read, hashed or written at a time
SYNC_BYTES = 8 << 20  # written between two syncs of a part, beside the writing: the last one then is short


class Payload:
    """One content: its outline, its file, and which leaves are there."""

    def __init__(self, folder: Path, outline: Outline, *, complete: bool) -> None:
        self.outline = outline
        self.shape = outline.shape
        self.root = outline.root
        self._stem = folder / outline.root
        self.complete = complete
        self.checked = False  # since the start: a file may have gone bad on the disk
        self.have = bytearray(b"\1" if complete else b"\0") * self.shape.leaves
        self._unsynced = 0
        self._outline_synced = complete
        self._direct = outline.shape.size_bytes >= DIRECT_BYTES
        self._places: dict[bytes, list[int]] | None = None

    @property
    def path(self) -> Path:
        return self._stem.with_name(self.root + (_DATA if self.complete else _PART))

    @property
    def leaves_path(self) -> Path:
        return self._stem.with_name(self.root + _LEAVES)

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk, a part too: its room is reserved."""
        return self.shape.size_bytes + _SIZE_BYTES + len(self.outline.digests)

    def missing(self) -> list[int]:
        """The leaves that are not there, in order."""
        return [place for place, there in enumerate(self.have) if not there]

    def places(self, digest: bytes) -> Sequence[int]:
        """Where a leaf with that digest stands."""
        if self._places is None:
            self._places = {}
            for place in range(self.shape.leaves):
                self._places.setdefault(self.outline.digest(place), []).append(place)
        return self._places.get(digest, ())

    def read(self, first: int, buffers: Sequence[memoryview]) -> bool:
        """Leaves from `first` on into buffers of their sizes, unchecked; False when they cannot be read."""
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return os.preadv(handle, buffers, first * LEAF_BYTES) == sum(map(len, buffers))
        finally:
            os.close(handle)

    def leaf(self, place: int) -> bytes | None:
        """One leaf, checked."""
        buffer = bytearray(self.shape.leaf_bytes(place))
        if self.read(place, [memoryview(buffer)]) and self._is(place, buffer):
            return bytes(buffer)
        return None

    def write(self, first: int, leaves: Sequence[memoryview]) -> None:
        """Store leaves that have their digests. Raises BadBlock, and stores none, when one has not."""
        for place, leaf in enumerate(leaves, first):
            if not self._is(place, leaf):
                raise BadBlock(f"leaf {place} of {self.root} has other bytes than its digest says")
        if not self._write_direct(first, leaves):
            self._write_cached(first, leaves)
        self._unsynced += sum(map(len, leaves))
        if self._unsynced >= SYNC_BYTES:
            self.sync()
        for place in range(first, first + len(leaves)):
            self.have[place] = 1

    def _write_direct(self, first: int, leaves: Sequence[memoryview]) -> bool:
        """Past the page cache, where the file system and the buffers allow it."""
        if not self._direct or any(len(leaf) != LEAF_BYTES for leaf in leaves):
            return False
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_DIRECT)
            try:
                return os.pwritev(handle, leaves, first * LEAF_BYTES) == len(leaves) * LEAF_BYTES
            finally:
                os.close(handle)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
            self._direct = False
            return False

    def _write_cached(self, first: int, leaves: Sequence[memoryview]) -> None:
        handle = os.open(self.path, os.O_WRONLY)
        try:
            _write_all(handle, leaves, first * LEAF_BYTES)
        finally:
            os.close(handle)

    def sync(self) -> None:
        """Make what is written durable, and what says which content it is."""
        self._unsynced = 0
        sync_file(self.path)
        if not self._outline_synced:
            sync_file(self.leaves_path)
            sync_folder(self._stem.parent)
            self._outline_synced = True

    def check(self) -> bool:
        """Hash what stands in the file and note which leaves are there; whether all are."""
        buffer = memoryview(bytearray(RUN_LEAVES * LEAF_BYTES))
        with self.path.open("rb", buffering=0) as file:
            for first in range(0, self.shape.leaves, RUN_LEAVES):
                got = file.readinto(buffer) or 0
                for place in range(first, min(first + RUN_LEAVES, self.shape.leaves)):
                    at = (place - first) * LEAF_BYTES
                    leaf = buffer[at : min(got, at + self.shape.leaf_bytes(place))]
                    self.have[place] = self._is(place, leaf)
        self.checked = True
        return all(self.have)

    def _is(self, place: int, leaf: memoryview | bytearray) -> bool:
        right = len(leaf) == self.shape.leaf_bytes(place)
        return right and hashlib.sha256(leaf).digest() == self.outline.digest(place)


class Payloads:
    """The payloads of a folder, by root, by leaf and by node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._all: dict[Cid, Payload] = {}
        self._nodes: dict[Cid, bytes] = {}
        self._leaves: dict[bytes, tuple[Payload, int]] = {}
        for payload in list(_load(folder)):
            self._enter(payload)
        self._sweep()

    @property
    def size_bytes(self) -> int:
        return sum(payload.size_bytes for payload in self._all.values())

    def all(self) -> list[Payload]:
        return list(self._all.values())

    def stored(self) -> Iterator[Stored]:
        """Every payload as a collection sees it."""
        for payload in self.all():
            yield Stored(payload.root, payload.size_bytes, payload.path.stat().st_mtime)

    def find(self, root: Cid) -> Payload | None:
        return self._all.get(root)

    def begin(self, outline: Outline) -> Payload:
        """A payload to be written; the one that is here already, if any."""
        payload = self._all.get(outline.root)
        if payload is not None:
            return payload
        payload = Payload(self._folder, outline, complete=False)
        payload.checked = True  # nothing in it
        payload.leaves_path.write_bytes(outline.shape.size_bytes.to_bytes(_SIZE_BYTES, "big") + outline.digests)
        with payload.path.open("wb") as file:
            file.truncate(outline.shape.size_bytes)
        self._enter(payload)
        return payload

    def write(self, payload: Payload, first: int, leaves: Sequence[memoryview]) -> None:
        """Store leaves of a part. Raises BadBlock."""
        payload.write(first, leaves)
        for place in range(first, first + len(leaves)):
            self._leaves.setdefault(payload.outline.digest(place), (payload, place))

    def fill(self, payload: Payload, leaves: Iterable[memoryview]) -> None:
        """Write a whole content, and make it durable. Raises BadBlock when it is not the outline's."""
        waiting, first = iter(leaves), 0
        while run := list(islice(waiting, RUN_LEAVES)):
            self.write(payload, first, run)
            first += len(run)
        self.finish(payload)

    def finish(self, payload: Payload) -> None:
        """Make a part whole and durable when all of its leaves are there."""
        if payload.complete or not all(payload.have):
            return
        part = payload.path
        payload.sync()
        payload.complete = True
        part.rename(payload.path)
        sync_folder(self._folder)
        self._index_leaves(payload)

    def check(self, payload: Payload) -> bool:
        """Hash all of it once a start; whether it is whole. What has gone bad is missing from then on."""
        if payload.checked:
            return payload.complete
        whole = payload.check()
        if payload.complete and not whole:
            data = payload.path
            payload.complete = False
            data.rename(payload.path)
        self._index()
        self.finish(payload)
        return payload.complete

    def remove(self, root: Cid) -> None:
        """Forget a payload; no error when it is not here."""
        payload = self._all.pop(root, None)
        if payload is None:
            return
        payload.path.unlink(missing_ok=True)
        payload.leaves_path.unlink(missing_ok=True)
        self._index()

    # -- as blocks

    def has(self, cid: Cid) -> bool:
        raw = cid_bytes(cid)
        return raw[4:] in self._leaves if raw[1] == RAW else cid in self._nodes

    def has_leaf(self, digest: bytes) -> bool:
        return digest in self._leaves

    def get(self, cid: Cid) -> bytes | None:
        """A leaf, checked, or an inner node."""
        raw = cid_bytes(cid)
        if raw[1] != RAW:
            return self._nodes.get(cid)
        found = self._leaves.get(raw[4:])
        return found[0].leaf(found[1]) if found else None

    def take(self, cid: Cid, block: bytes) -> bool:
        """Put a block where a part misses it; whether one did."""
        raw, taken = cid_bytes(cid), False
        if raw[1] == RAW:
            for part in [payload for payload in self._all.values() if not payload.complete]:
                for place in part.places(raw[4:]):
                    if not part.have[place]:
                        self.write(part, place, [memoryview(block)])
                        taken = True
        return taken

    def _enter(self, payload: Payload) -> None:
        self._all[payload.root] = payload
        self._nodes.update(payload.outline.nodes)
        if payload.complete:
            self._index_leaves(payload)

    def _index(self) -> None:
        self._nodes, self._leaves = {}, {}
        for payload in self._all.values():
            self._nodes.update(payload.outline.nodes)
            self._index_leaves(payload)

    def _index_leaves(self, payload: Payload) -> None:
        for place, there in enumerate(payload.have):
            if there:
                self._leaves.setdefault(payload.outline.digest(place), (payload, place))

    def _sweep(self) -> None:
        """Remove what a crash left half made."""
        for path in self._folder.iterdir():
            if path.suffix not in (_DATA, _PART, _LEAVES) or path.stem not in self._all:
                path.unlink()


def _load(folder: Path) -> Iterator[Payload]:
    for path in folder.glob(f"*{_LEAVES}"):
        raw = path.read_bytes()
        complete = path.with_suffix(_DATA).exists()
        if not is_cid(path.stem) or (not complete and not path.with_suffix(_PART).exists()):
            continue
        try:
            outline = Outline(int.from_bytes(raw[:_SIZE_BYTES], "big"), raw[_SIZE_BYTES:])
        except ValueError:
            continue
        if outline.root == path.stem:
            yield Payload(folder, outline, complete=complete)


def _write_all(handle: int, pieces: Sequence[memoryview], at: int) -> None:
    if os.pwritev(handle, pieces, at) != sum(map(len, pieces)):  # a full disk, a signal: once more, piece by piece
        for piece in pieces:
            done = 0
            while done < len(piece):
                done += os.pwrite(handle, piece[done:], at + done)
            at += len(piece)

"""The public file of a sealed payload: an index that commits to every cell, then the ciphertexts.

    magic "SWSEALED" | version be32 | cells be32
    cells x ( length be16 | plaintext hash 32 | key hash 32 )
    cells x ciphertext

Nothing in it is secret and nothing in it is trusted: `parse` checks every length before it is used, and the root over
the index and the ciphertexts must be the one that stands in the offer and on chain before anybody pays. Whoever holds
the content key opens everything, whoever holds one cell's key opens that cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from itertools import accumulate
from typing import Literal

import msgspec

from protocols.errors import Malformed, ProtocolError, RuleBroken
from protocols.sealed import tree
from protocols.sealed.cells import MAX_CELL_BYTES, pack_cells
from protocols.sealed.keys import apply_stream, cell_key, key_hash, plain_hash, require_key
from protocols.sealed.records import Record

MAGIC = b"SWSEALED"
VERSION = 1
MAX_CELLS = 1 << 18  # 1 GiB of the largest cells
HEADER_BYTES = 16
ENTRY_BYTES = 66
MIN_PAYLOAD_BYTES = HEADER_BYTES + ENTRY_BYTES + 1
MAX_PAYLOAD_BYTES = HEADER_BYTES + MAX_CELLS * (ENTRY_BYTES + MAX_CELL_BYTES)


class WrongKey(ProtocolError):
    """A cell key that is not the committed one, or a cell that does not hold what was committed."""

    kind = "wrong_key"


class Sealed(msgspec.Struct, frozen=True):
    """What sealing made: the commitment (root, cells) for offer and chain, and the public file."""

    root: bytes
    cells: int
    records: int
    payload: bytes


class Index(msgspec.Struct, frozen=True):
    """The commitment, and the beginning of the public file: all that stands before the ciphertexts."""

    root: bytes
    cells: int
    head: bytes


class Payload(msgspec.Struct, frozen=True):
    """A parsed public file. `offsets[i]:offsets[i + 1]` of `data` is the ciphertext of cell i."""

    data: bytes
    offsets: tuple[int, ...]

    @property
    def cells(self) -> int:
        return len(self.offsets) - 1

    def ciphertext(self, index: int) -> bytes:
        return self.data[self.offsets[index] : self.offsets[index + 1]]

    def hashes(self, index: int) -> tuple[bytes, bytes]:
        """(plaintext hash, key hash) of a cell, as the index states them."""
        at = HEADER_BYTES + index * ENTRY_BYTES + 2
        return self.data[at : at + 32], self.data[at + 32 : at + 64]

    def leaf(self, index: int) -> bytes:
        at = HEADER_BYTES + index * ENTRY_BYTES + 2
        cipher_hash = sha256(self.ciphertext(index)).digest()
        return sha256(cipher_hash + self.data[at : at + 64]).digest()


class Fault(msgspec.Struct, frozen=True):
    """A cell that the content key does not open: its key is another one, or its plaintext is."""

    index: int
    kind: Literal["key", "cell"]


class Proof(msgspec.Struct, frozen=True):
    """One leaf of a payload and its path: shows anybody, the contract too, what was committed for a cell."""

    index: int
    cipher_hash: bytes
    plain_hash: bytes
    key_hash: bytes
    path: tuple[bytes, ...]


def seal(records: Sequence[Record], content_key: bytes, cell_bytes: int) -> Sealed:
    """Pack and encrypt records. `content_key` is 32 random bytes that have sealed nothing else.

    Raises RuleBroken when there is nothing to seal, too much, or a record that cannot be packed.
    """
    sealed = seal_cells(pack_cells(records, cell_bytes), content_key)
    return msgspec.structs.replace(sealed, records=len(records))


def seal_cells(cells: Iterable[bytes], content_key: bytes) -> Sealed:
    """Encrypt plaintext cells that are packed already; `records` of the result is 0."""
    ciphertexts = BytesIO()
    index = seal_index(cells, content_key, ciphertexts.write)
    return Sealed(index.root, index.cells, 0, index.head + ciphertexts.getvalue())


def seal_index(cells: Iterable[bytes], content_key: bytes, write: Callable[[bytes], object]) -> Index:
    """Encrypt plaintext cells one by one into `write`; what has to stand before them is known when all have gone.

    Raises RuleBroken when there are none, or too many.
    """
    require_key(content_key)
    entries, leaves = bytearray(), []
    for i, plaintext in enumerate(cells):
        if i == MAX_CELLS:
            raise RuleBroken(f"more than {MAX_CELLS} cells: split the dataset")
        key = cell_key(content_key, i)
        ciphertext = apply_stream(key, plaintext)
        hashes = plain_hash(key, plaintext) + key_hash(key)
        entries += len(ciphertext).to_bytes(2, "big") + hashes
        leaves.append(sha256(sha256(ciphertext).digest() + hashes).digest())
        write(ciphertext)
    if not leaves:
        raise RuleBroken(f"no cells: a payload has 1 to {MAX_CELLS}")
    header = MAGIC + VERSION.to_bytes(4, "big") + len(leaves).to_bytes(4, "big")
    return Index(tree.root(leaves), len(leaves), header + bytes(entries))


def parse(data: bytes, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> Payload:
    """A public file from a stranger. Raises Malformed; what it returns is well-formed, not yet the right one."""
    if not MIN_PAYLOAD_BYTES <= len(data) <= max_bytes:
        raise Malformed(f"a payload of {len(data)} bytes, allowed are {MIN_PAYLOAD_BYTES} to {max_bytes}")
    if data[:8] != MAGIC:
        raise Malformed("not a sealed payload: the first bytes are wrong")
    version, cells = int.from_bytes(data[8:12], "big"), int.from_bytes(data[12:16], "big")
    if version != VERSION:
        raise Malformed(f"sealed payload of version {version}; this node reads version {VERSION}")
    start = HEADER_BYTES + cells * ENTRY_BYTES
    if not 0 < cells <= MAX_CELLS or start > len(data):
        raise Malformed(f"an index of {cells} cells does not fit a payload of {len(data)} bytes")
    high, low = data[HEADER_BYTES:start:ENTRY_BYTES], data[HEADER_BYTES + 1 : start : ENTRY_BYTES]
    lengths = [a << 8 | b for a, b in zip(high, low, strict=True)]
    if min(lengths) < 1 or max(lengths) > MAX_CELL_BYTES:
        raise Malformed(f"cells of {min(lengths)} to {max(lengths)} bytes, allowed are 1 to {MAX_CELL_BYTES}")
    if start + sum(lengths) != len(data):
        raise Malformed(f"cells end at byte {start + sum(lengths)} of {len(data)}")
    return Payload(data, tuple(accumulate(lengths, initial=start)))


def root_of(payload: Payload) -> bytes:
    """The root that this payload commits to; compare it with the offer's and the chain's before paying."""
    return tree.root([payload.leaf(i) for i in range(payload.cells)])


def prove(payload: Payload, index: int) -> Proof:
    """The leaf of a cell with its path, for a dispute or for somebody who does not hold the payload."""
    levels = tree.levels([payload.leaf(i) for i in range(payload.cells)])
    cipher_hash = sha256(payload.ciphertext(index)).digest()
    return Proof(index, cipher_hash, *payload.hashes(index), tuple(tree.path(levels, index)))


def proven(proof: Proof, root: bytes, cells: int) -> bool:
    """Whether the proof's leaf stands in the tree of that root and width."""
    leaf = tree.leaf(proof.cipher_hash, proof.plain_hash, proof.key_hash)
    return tree.verify(root, cells, proof.index, leaf, proof.path)


def open_cell(payload: Payload, index: int, key: bytes) -> bytes:
    """The plaintext of one cell. Raises WrongKey when the key or what it opens is not what was committed."""
    require_key(key)
    if not 0 <= index < payload.cells:
        raise IndexError(f"cell {index} of {payload.cells}")
    wanted_plain, wanted_key = payload.hashes(index)
    if key_hash(key) != wanted_key:
        raise WrongKey(f"the key of cell {index} is not the committed one")
    plaintext = apply_stream(key, payload.ciphertext(index))
    if plain_hash(key, plaintext) != wanted_plain:
        raise WrongKey(f"cell {index} does not hold what its seller committed to")
    return plaintext


def check(payload: Payload, content_key: bytes, start: int = 0, stop: int | None = None) -> Fault | None:
    """The first cell of start..stop that the content key does not open as committed, or None.

    A range lets a caller check a large payload in slices. Kind "key" wins over "cell": its dispute is cheaper.
    """
    require_key(content_key)
    for index in range(start, payload.cells if stop is None else min(stop, payload.cells)):
        wanted_plain, wanted_key = payload.hashes(index)
        key = cell_key(content_key, index)
        if key_hash(key) != wanted_key:
            return Fault(index, "key")
        if plain_hash(key, apply_stream(key, payload.ciphertext(index))) != wanted_plain:
            return Fault(index, "cell")
    return None

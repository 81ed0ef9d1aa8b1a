"""CIDs: version 1, SHA-256, of raw blocks and dag-pb nodes (https://github.com/multiformats/cid).

We write base32 version 1. Version 0 (`Qm…`, dag-pb) and version 1 in base58 (`z…`, as js-ipfs prints it) are read, and
turned into that.
"""

from __future__ import annotations

import hashlib

from protocols.errors import BadIdentifier
from protocols.ids import Cid

RAW = 0x55
DAG_PB = 0x70
_SHA256 = b"\x12\x20"  # multihash: function 0x12, 32 bytes
_BYTES = 36
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

# base32 of RFC 4648, in lower case and without padding; the library's is written in Python and ten times as slow, and a
# gigabyte has thousands of leaves
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [high + low for high in _BASE32 for low in _BASE32]
_STRAY_BITS = -8 * _BYTES % 5  # of the last character
_SHIFTS = range((8 * _BYTES + _STRAY_BITS) - 10, -1, -10)
_AS_INT = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_BASE32.find(chr(n))] if chr(n) in _BASE32 else 33 for n in range(256)
)


def cid_of(block: bytes, codec: int) -> Cid:
    """The CID of a block's bytes."""
    return cid_text(bytes((1, codec)) + _SHA256 + hashlib.sha256(block).digest())


def cid_raw(raw: bytes) -> bytes:
    """Binary CID to the 36 bytes of version 1; a bare multihash is version 0 and means dag-pb. Raises BadIdentifier."""
    if len(raw) == 34 and raw.startswith(_SHA256):
        raw = bytes((1, DAG_PB)) + raw
    if len(raw) != _BYTES or raw[0] != 1 or raw[1] not in (RAW, DAG_PB) or raw[2:4] != _SHA256:
        raise BadIdentifier("only CIDs of raw or dag-pb blocks with SHA-256 are supported")
    return raw


def cid_text(raw: bytes) -> Cid:
    """A binary CID to its base32. Raises BadIdentifier."""
    number = int.from_bytes(cid_raw(raw), "big") << _STRAY_BITS
    return Cid("b" + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS]))


def cid_bytes(cid: Cid) -> bytes:
    """The 36 bytes of a CID. Raises BadIdentifier for other hashes and codecs."""
    if cid.startswith("Qm") and len(cid) == 46:
        return cid_raw(_base58(cid))
    if cid.startswith("z") and len(cid) <= 51:
        return cid_raw(_base58(cid[1:]))
    if len(cid) != 59 or not cid.startswith("b"):
        raise BadIdentifier(f"{cid[:80]!r} is not a CID that is supported here")
    try:
        number = int(cid[1:].encode("ascii").translate(_AS_INT), 32)
    except ValueError as err:
        raise BadIdentifier(f"{cid[:80]!r} is not a CID") from err
    if number & ((1 << _STRAY_BITS) - 1):
        raise BadIdentifier(f"{cid[:80]!r} is not the canonical spelling of a CID")
    return cid_raw((number >> _STRAY_BITS).to_bytes(_BYTES, "big"))


def canonical(cid: Cid) -> Cid:
    """The version 1 spelling of any supported CID."""
    return cid_text(cid_bytes(cid))


def codec_of(cid: Cid) -> int:
    """`RAW` or `DAG_PB`."""
    return cid_bytes(cid)[1]


def matches(cid: Cid, block: bytes) -> bool:
    """Whether these are the bytes the CID names."""
    return hashlib.sha256(block).digest() == cid_bytes(cid)[4:]


def _base58(text: str) -> bytes:
    number = 0
    for char in text:
        digit = _ALPHABET.find(char)
        if digit < 0:
            raise BadIdentifier(f"{text[:80]!r} is not a CID")
        number = number * 58 + digit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
